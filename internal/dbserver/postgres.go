package dbserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience bounds each program that is run.
const patience = time.Minute

// Postgres is a PostgreSQL server. Its superuser is "postgres", who needs no
// password, and neither does anybody else.
type Postgres struct {
	// Socket is the folder of the unix socket.
	Socket string
	bin    string
	own    *syscall.SysProcAttr
}

// StartPostgres starts the server that Debian's package brings, without databases
// but its own.
func StartPostgres() (_ *Postgres, err error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		return nil, errors.New("PostgreSQL is not at /usr/lib/postgresql: run make prerequisites-install first")
	}
	dir, own, err := Folder()
	if err != nil {
		return nil, err
	}
	p := &Postgres{Socket: dir, bin: found[len(found)-1], own: own}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if _, err := p.run("initdb", "--pgdata="+p.data(), "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"); err != nil {
		return nil, err
	}
	options := fmt.Sprintf("-c listen_addresses='' -c unix_socket_directories=%s -c fsync=off -c max_connections=40 -c shared_buffers=16MB", dir)
	_, err = p.run("pg_ctl", "start", "-w", "-D", p.data(), "-l", filepath.Join(dir, "log"), "-o", options)
	return p, err
}

func (p *Postgres) data() string { return filepath.Join(p.Socket, "data") }

// Stop ends the server and removes its folder.
func (p *Postgres) Stop() error {
	_, err := p.run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", p.data())
	return errors.Join(err, os.RemoveAll(p.Socket))
}

func (p *Postgres) run(program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, program), args...)
	cmd.SysProcAttr, cmd.Dir = p.own, p.Socket
	// The server that pg_ctl leaves running must not hold our end of a pipe.
	out, err := os.CreateTemp("", program)
	if err != nil {
		return "", fmt.Errorf("%s: %w", program, err)
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	runErr := cmd.Run()
	text, err := os.ReadFile(out.Name())
	if runErr != nil {
		return "", fmt.Errorf("%s: %w\n%s", program, runErr, text)
	}
	return string(text), err
}

// SQL runs statements as the superuser and returns what psql prints.
func (p *Postgres) SQL(database, statements string) (string, error) {
	return p.run("psql", "-h", p.Socket, "-U", "postgres", "-d", database, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statements)
}

// Dump is everything that is in the server: roles, databases, rows.
func (p *Postgres) Dump() (string, error) {
	text, err := p.run("pg_dumpall", "-h", p.Socket, "-U", "postgres")
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, `\restrict`) && !strings.HasPrefix(line, `\unrestrict`) { // random in each dump
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, ""), err
}

// DSN is that of a role.
func (p *Postgres) DSN(role, database string) string {
	return fmt.Sprintf("postgres://%s@/%s?host=%s", role, database, p.Socket)
}

// Folder makes a folder with a short name (a socket's path has at most 107 bytes)
// that belongs to who will run a server in it: this user, or "nobody" where this one
// is root, whom PostgreSQL refuses. The attributes are those of its programs.
func Folder() (string, *syscall.SysProcAttr, error) {
	dir, err := os.MkdirTemp("", "hearth-db")
	if err != nil || os.Geteuid() != 0 {
		return dir, nil, err
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	uid, uidErr := strconv.Atoi(nobody.Uid)
	gid, gidErr := strconv.Atoi(nobody.Gid)
	if err := errors.Join(uidErr, gidErr, os.Chown(dir, uid, gid)); err != nil {
		return "", nil, errors.Join(fmt.Errorf("give %s to nobody (%s, %s): %w", dir, nobody.Uid, nobody.Gid, err), os.RemoveAll(dir))
	}
	return dir, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}
