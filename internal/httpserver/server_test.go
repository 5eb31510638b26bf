package httpserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"hearth/internal/config"
)

func TestConfigCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		path   string // of the error; "": accepted
		say    string
	}{
		{"defaults", func(*Config) {}, "", ""},
		{"loopback of all kinds", func(c *Config) {
			c.Listen = []string{"localhost:0", "127.3.2.1:1", "[::1]:65535", "unix:/tmp/x"}
		}, "", ""},
		{"every address", func(c *Config) { c.Listen = []string{":8080"} }, "listen[0]", "reverse proxy"},
		{"every IPv4 address", func(c *Config) { c.Listen = []string{"127.0.0.1:1", "0.0.0.0:8080"} }, "listen[1]", "listen on 127.0.0.1:8080"},
		{"every IPv6 address", func(c *Config) { c.Listen = []string{"[::]:8080"} }, "listen[0]", "reached from other machines"},
		{"the LAN", func(c *Config) { c.Listen = []string{"192.168.1.2:8080"} }, "listen[0]", "reached from other machines"},
		{"a name", func(c *Config) { c.Listen = []string{"myhost:8080"} }, "listen[0]", "reached from other machines"},
		{"a name that looks like loopback", func(c *Config) { c.Listen = []string{"localhost.example:80"} }, "listen[0]", "reached from other machines"},
		{"nothing", func(c *Config) { c.Listen = nil }, "listen", "at least one"},
		{"no port", func(c *Config) { c.Listen = []string{"127.0.0.1"} }, "listen[0]", "host and port"},
		{"bad port", func(c *Config) { c.Listen = []string{"127.0.0.1:70000"} }, "listen[0]", "0 to 65535"},
		{"empty socket", func(c *Config) { c.Listen = []string{"unix:"} }, "listen[0]", "path"},
		{"host with path", func(c *Config) { c.AllowedHosts = []string{"a", "b/c"} }, "allowed_hosts[1]", "not a host"},
		{"host with star", func(c *Config) { c.AllowedHosts = []string{"*.example"} }, "allowed_hosts[0]", "not a host"},
		{"origin without scheme", func(c *Config) { c.AllowedOrigins = []string{"chat.example.org"} }, "allowed_origins[0]", "https://"},
		{"origin with path", func(c *Config) { c.AllowedOrigins = []string{"https://a/"} }, "allowed_origins[0]", "not an origin"},
		{"every origin", func(c *Config) { c.AllowedOrigins = []string{"*"} }, "allowed_origins[0]", "not an origin"},
		{"tiny body", func(c *Config) { c.MaxBody = 1 }, "max_body", "between 1KiB and 1GiB"},
		{"no header timeout", func(c *Config) { c.HeaderTimeout = 0 }, "header_timeout", "between 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			c.change(&cfg)
			err := cfg.Check()
			if c.path == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var f *config.FieldError
			if !errors.As(err, &f) || f.Path != c.path || !strings.Contains(f.Reason, c.say) {
				t.Fatalf("got %v, want %s … %q", err, c.path, c.say)
			}
		})
	}
}

func TestListenRefusesWhatCheckRefuses(t *testing.T) {
	if _, err := Listen(t.Context(), []string{"127.0.0.1:0", "0.0.0.0:0"}); err == nil || !strings.Contains(err.Error(), "reverse proxy") {
		t.Fatalf("got %v", err)
	}
}

// running is a server on a port of its own, with a handler that waits.
type running struct {
	url     string
	stop    context.CancelFunc
	done    chan error
	entered chan struct{}
	release chan struct{}
}

func start(t *testing.T, drainTimeout time.Duration, drain func(context.Context)) *running {
	t.Helper()
	cfg := DefaultConfig()
	cfg.DrainTimeout = drainTimeout
	s := New(cfg, Options{Log: zerolog.Nop()})
	r := &running{done: make(chan error, 1), entered: make(chan struct{}, 8), release: make(chan struct{})}
	s.Router().Get("/slow", func(w http.ResponseWriter, req *http.Request) {
		r.entered <- struct{}{}
		select {
		case <-r.release:
			_, _ = io.WriteString(w, "finished")
		case <-req.Context().Done():
		}
	})
	ls, err := Listen(t.Context(), []string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + ls[0].Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() { r.done <- s.Serve(ctx, ls, drain) }()
	return r
}

func (r *running) get(path string) (string, error) {
	resp, err := http.Get(r.url + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func TestServeDrains(t *testing.T) {
	draining := make(chan struct{})
	r := start(t, time.Minute, func(context.Context) { close(draining) })
	got := make(chan string, 1)
	go func() {
		s, err := r.get("/slow")
		got <- fmt.Sprint(s, err)
	}()
	<-r.entered
	r.stop()
	<-draining
	close(r.release)
	if s := <-got; s != "finished<nil>" {
		t.Errorf("the running request got %q", s)
	}
	if err := <-r.done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := r.get("/slow"); err == nil {
		t.Error("the listener is still open")
	}
}

func TestServeCutsWhatDoesNotEnd(t *testing.T) {
	r := start(t, 0, nil)
	got := make(chan error, 1)
	go func() {
		_, err := r.get("/slow")
		got <- err
	}()
	<-r.entered
	r.stop()
	if err := <-r.done; err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("Serve: %v", err)
	}
	if err := <-got; err == nil {
		t.Error("the request that never ends was answered")
	}
}

func TestServeFailsWithItsListener(t *testing.T) {
	ls, err := Listen(t.Context(), []string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	_ = ls[0].Close()
	if err := New(DefaultConfig(), Options{Log: zerolog.Nop()}).Serve(t.Context(), ls, nil); err == nil {
		t.Error("no error")
	}
}

func TestHeadersAreBounded(t *testing.T) {
	r := start(t, 0, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", 2*maxHeaderBytes))
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 431 {
		t.Errorf("got %v, %v", resp, err)
	}
	r.stop()
	<-r.done
}

// TestClientThatStopsReading: the handler's write fails instead of waiting for ever.
func TestClientThatStopsReading(t *testing.T) {
	cfg := DefaultConfig()
	cfg.WriteTimeout = time.Second
	s := New(cfg, Options{Log: zerolog.Nop()})
	failed := make(chan error, 1)
	s.Router().Get("/flood", func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for {
			if _, err := w.Write(chunk); err != nil {
				failed <- err
				return
			}
		}
	})
	ls, err := Listen(t.Context(), []string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ls, nil) }()
	conn, err := net.Dial("tcp", ls[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the write ended with %v", err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ls, err := Listen(t.Context(), []string{"unix:" + path})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := Listen(t.Context(), []string{"unix:" + path}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second server: %v", err)
	}
	ls[0].(*net.UnixListener).SetUnlinkOnClose(false)
	_ = ls[0].Close()
	again, err := Listen(t.Context(), []string{"unix:" + path})
	if err != nil {
		t.Fatalf("over the socket of a killed server: %v", err)
	}
	_ = again[0].Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), []string{"unix:" + path}); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("over a file: %v", err)
	}
}
