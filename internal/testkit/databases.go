package testkit

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/internal/dbserver"
)

// startTimeout bounds the start of a database server.
const startTimeout = time.Minute

// Postgres is a PostgreSQL server of this machine ([dbserver.Postgres]) that ends
// with its test.
type Postgres struct{ *dbserver.Postgres }

// StartPostgres starts a server, and stops it after the test.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	p, err := dbserver.StartPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &Postgres{p}
}

// SQL runs statements as the superuser and returns what psql prints.
func (p *Postgres) SQL(t testing.TB, database, statements string) string {
	t.Helper()
	text, err := p.Postgres.SQL(database, statements)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Dump is everything that is in the server: roles, databases, rows.
func (p *Postgres) Dump(t testing.TB) string {
	t.Helper()
	text, err := p.Postgres.Dump()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// MariaDB is a MariaDB server of this machine on a unix socket in a folder of its
// own. Its superuser is "root", without a password.
type MariaDB struct {
	// Socket is the unix socket.
	Socket string
	dir    string
}

// StartMariaDB starts a server and stops it after the test.
func StartMariaDB(t testing.TB) *MariaDB {
	t.Helper()
	server, err := exec.LookPath("mariadbd")
	if err != nil {
		server = existing(t, "MariaDB (make prerequisites-install brings it)", "/usr/sbin/mariadbd")
	}
	dir, own := serverDir(t)
	m := &MariaDB{Socket: filepath.Join(dir, "sock"), dir: dir}
	data := filepath.Join(dir, "data")
	common := []string{"--no-defaults", "--datadir=" + data, "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"}
	install := exec.Command("mariadb-install-db", append(common, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")...)
	install.SysProcAttr, install.Dir = own, dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("mariadb-install-db: %v\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(server, append(common, "--socket="+m.Socket, "--skip-networking", "--innodb-buffer-pool-size=16M", "--pid-file="+filepath.Join(dir, "pid"), "--log-bin=0", "--skip-log-bin")...)
	cmd.SysProcAttr, cmd.Dir, cmd.Stdout, cmd.Stderr = own, dir, log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("mariadbd: %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(startTimeout); ; <-tick.C {
		c, err := net.Dial("unix", m.Socket)
		if err == nil {
			_ = c.Close()
			return m
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("mariadbd does not answer: %v\n%s", err, text)
		}
	}
}

// SQL runs statements as the superuser and returns what the client prints.
func (m *MariaDB) SQL(t testing.TB, statements string) string {
	t.Helper()
	cmd := exec.Command("mariadb", "--no-defaults", "--socket="+m.Socket, "--user=root", "--batch", "--skip-column-names")
	cmd.Stdin = strings.NewReader(statements)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("mariadb: %v\n%s", err, out)
	}
	return string(out)
}

// DSN is that of an account.
func (m *MariaDB) DSN(account, database string) string {
	return fmt.Sprintf("mysql://%s@localhost/%s?socket=%s", account, database, m.Socket)
}

// serverDir makes a folder for a server, and removes it after the test.
func serverDir(t testing.TB) (string, *syscall.SysProcAttr) {
	t.Helper()
	dir, own, err := dbserver.Folder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir, own
}
