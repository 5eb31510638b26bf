package testkit

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Nginx starts the machine's nginx for one test, as a user without rights where
// the test has them all, and returns its address, "127.0.0.1:PORT". It serves the
// folder root; inside is what stands in its server block, besides. It is asked to
// end with the test.
func Nginx(t testing.TB, root, inside string) string {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/nginx") // which is not in everybody's PATH
	}
	if err != nil {
		t.Fatalf("nginx is not installed: run make prerequisites first")
	}
	dir := t.TempDir()
	// The socket is open before nginx runs, so that nobody has to wait for it: nginx
	// takes over what its environment names, as when it replaces itself.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  types { text/html html; text/plain txt; application/json json; text/markdown md; application/pdf pdf; image/png png; text/xml xml; text/css css; }
  default_type application/octet-stream;
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server {
    listen %[2]s;
    root %[3]s;
%[4]s
  }
}
`, dir, addr, root, inside)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-e", "stderr", "-p", dir, "-c", conf)
	var out bytes.Buffer
	cmd.Stderr = &out
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = append(os.Environ(), "NGINX=3;")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if os.Geteuid() == 0 {
		const nobody = 65534
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		for _, d := range []string{dir, filepath.Dir(dir)} {
			if err := os.Chown(d, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start nginx: %v", err)
	}
	socket.Close()
	ln.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		_ = cmd.Wait()
		if strings.Contains(out.String(), "[emerg]") || t.Failed() {
			t.Logf("nginx said:\n%s", out.String())
		}
	})
	return addr
}
