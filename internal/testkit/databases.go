package testkit

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startTimeout bounds the start of a database server.
const startTimeout = time.Minute

// Postgres starts a PostgreSQL server of this machine on a unix socket in a
// folder of its own, and stops it after the test. Its superuser is "postgres",
// who needs no password, and neither does anybody else.
type Postgres struct {
	// Socket is the folder of the unix socket.
	Socket string
	bin    string
	own    *syscall.SysProcAttr
}

// StartPostgres starts a server.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		t.Fatal("PostgreSQL is not at /usr/lib/postgresql: run make prerequisites-install first")
	}
	dir, own := serverDir(t)
	p := &Postgres{Socket: dir, bin: found[len(found)-1], own: own}
	data := filepath.Join(dir, "data")
	p.run(t, "initdb", "--pgdata="+data, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
	options := fmt.Sprintf("-c listen_addresses='' -c unix_socket_directories=%s -c fsync=off -c max_connections=40 -c shared_buffers=16MB", dir)
	p.run(t, "pg_ctl", "start", "-w", "-D", data, "-l", filepath.Join(dir, "log"), "-o", options)
	t.Cleanup(func() { p.run(t, "pg_ctl", "stop", "-w", "-m", "immediate", "-D", data) })
	return p
}

func (p *Postgres) run(t testing.TB, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, program), args...)
	cmd.SysProcAttr, cmd.Dir = p.own, p.Socket
	// The server that pg_ctl leaves running must not hold our end of a pipe.
	out, err := os.CreateTemp(t.TempDir(), program)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	text, _ := os.ReadFile(out.Name())
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, text)
	}
	return string(text)
}

// SQL runs statements as the superuser and returns what psql prints.
func (p *Postgres) SQL(t testing.TB, database, statements string) string {
	t.Helper()
	return p.run(t, "psql", "-h", p.Socket, "-U", "postgres", "-d", database, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statements)
}

// Dump is everything that is in the server: roles, databases, rows.
func (p *Postgres) Dump(t testing.TB) string {
	t.Helper()
	text := p.run(t, "pg_dumpall", "-h", p.Socket, "-U", "postgres")
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, `\restrict`) && !strings.HasPrefix(line, `\unrestrict`) { // random in each dump
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// DSN is that of a role.
func (p *Postgres) DSN(role, database string) string {
	return fmt.Sprintf("postgres://%s@/%s?host=%s", role, database, p.Socket)
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

// serverDir makes a folder with a short name (a socket's path has at most 107
// bytes) that belongs to who will run a server in it: this user, or "nobody"
// where this one is root, whom PostgreSQL refuses.
func serverDir(t testing.TB) (string, *syscall.SysProcAttr) {
	t.Helper()
	dir, err := os.MkdirTemp("", "hearth-db")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Geteuid() != 0 {
		return dir, nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, uidErr := strconv.Atoi(nobody.Uid)
	gid, gidErr := strconv.Atoi(nobody.Gid)
	if uidErr != nil || gidErr != nil || os.Chown(dir, uid, gid) != nil {
		t.Fatalf("give %s to nobody (%s, %s)", dir, nobody.Uid, nobody.Gid)
	}
	return dir, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}
