package testkit

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// MySQL is a MySQL server on a unix socket in a folder of its own. Its superuser is
// "root", without a password.
type MySQL struct {
	// Socket is the unix socket.
	Socket string
	root   string // of the programs
	loader []string
}

// StartMySQL starts the server whose folder HEARTH_TEST_MYSQL names, and stops it after
// the test.
func StartMySQL(t testing.TB) *MySQL {
	t.Helper()
	root := os.Getenv("HEARTH_TEST_MYSQL")
	if root == "" {
		t.Fatal("HEARTH_TEST_MYSQL names no folder of MySQL: make test-mysql does")
	}
	// The programs run with the libraries that came with them, not with this machine's.
	loaders, err := filepath.Glob(filepath.Join(root, "usr/lib/*/ld-linux*.so.*"))
	if err != nil || len(loaders) != 1 {
		t.Fatalf("%s has %d program loaders, want one", root, len(loaders))
	}
	dir, err := os.MkdirTemp("", "mysql") // a short path: a socket's has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &MySQL{Socket: filepath.Join(dir, "sock"), root: root, loader: []string{loaders[0], "--library-path", filepath.Dir(loaders[0])}}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	common := []string{
		"--no-defaults", "--user=" + me.Username, "--datadir=" + filepath.Join(dir, "data"), "--basedir=" + filepath.Join(root, "usr"),
		"--innodb-flush-log-at-trx-commit=0", "--innodb-redo-log-capacity=8M", "--skip-log-bin", "--secure-file-priv=",
	}
	if out, err := m.command("usr/sbin/mysqld", append(common, "--initialize-insecure")...).CombinedOutput(); err != nil {
		t.Fatalf("mysqld --initialize-insecure: %v\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := m.command("usr/sbin/mysqld", append(common, "--socket="+m.Socket, "--skip-networking", "--mysqlx=OFF", "--pid-file="+filepath.Join(dir, "pid"), "--innodb-buffer-pool-size=16M")...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("mysqld: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how, its log says
		close(ended)
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(startTimeout)
	for {
		c, err := net.Dial("unix", m.Socket)
		if err == nil {
			_ = c.Close()
			return m
		}
		select {
		case <-tick.C:
			continue
		case <-ended:
		case <-late:
		}
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("mysqld does not answer: %v\n%s", err, text)
	}
}

func (m *MySQL) command(program string, args ...string) *exec.Cmd {
	all := append(append([]string{}, m.loader[1:]...), filepath.Join(m.root, program))
	return exec.Command(m.loader[0], append(all, args...)...)
}

// SQL runs statements as the superuser and returns what the client prints.
func (m *MySQL) SQL(t testing.TB, statements string) string {
	t.Helper()
	cmd := m.command("usr/bin/mysql", "--no-defaults", "--socket="+m.Socket, "--user=root", "--batch", "--skip-column-names")
	cmd.Stdin = strings.NewReader(statements)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("mysql: %v\n%s", err, out)
	}
	return string(out)
}

// DSN is that of an account.
func (m *MySQL) DSN(account, database string) string {
	return fmt.Sprintf("mysql://%s@localhost/%s?socket=%s", account, database, m.Socket)
}
