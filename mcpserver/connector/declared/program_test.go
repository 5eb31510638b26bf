package declared

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/mcpserver/router"
)

// script writes a shell script that everybody may run, in a folder that
// everybody may enter.
func script(t *testing.T, text string) (path, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "hearth-declared")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path = filepath.Join(dir, "script")
	if err := errors.Join(os.Chmod(dir, 0o777), os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755)); err != nil {
		t.Fatal(err)
	}
	return path, dir
}

// as is the key user where it is needed.
func as() string {
	if os.Geteuid() == 0 {
		return ", user: nobody"
	}
	return ""
}

func TestProgramArguments(t *testing.T) {
	path, dir := script(t, `for a in "$@"; do printf '<%s>' "$a"; done; echo; cat; echo; env; pwd`)
	if err := os.Remove(filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	t.Setenv("HEARTH_TEST_SECRET", "hunter2")
	t.Setenv("HEARTH_TEST_LEAK", "leaked")
	work, err := os.MkdirTemp("", "hearth-work")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o777); err != nil {
		t.Fatal(err)
	}
	c := tools(t, `
  - name: show
    description: Show.
    effect: read
    input: {properties: {name: {type: string}, n: {type: number}}, required: [name, n]}
    program: {argv: [`+path+`, fixed, "{name}", "{n}"], stdin: json, dir: `+work+`, env: {PATH: /usr/bin:/bin, A: b}, secrets: {S: env:HEARTH_TEST_SECRET}`+as()+`}
  - name: after
    description: Show.
    effect: read
    input: {properties: {name: {type: string}}, required: [name]}
    program: {argv: [`+path+`, --, "{name}"], env: {PATH: /usr/bin:/bin}`+as()+`}
`, nil)
	for _, evil := range injections {
		got := call(t, c, "show", obj{"name": evil, "n": 1.5})
		if evil == "-" {
			if !strings.Contains(got, "begins with -") {
				t.Errorf("%q: %s", evil, got)
			}
			continue
		}
		argv, rest, _ := strings.Cut(got, "<1.5>\n")
		if argv != "<fixed><"+evil+">" {
			t.Errorf("%q: argv %s", evil, argv)
		}
		stdin, rest, _ := strings.Cut(rest, "\n")
		var in obj
		if json.Unmarshal([]byte(stdin), &in) != nil || in["name"] != evil {
			t.Errorf("%q: stdin %s", evil, stdin)
		}
		if !strings.Contains(rest, "A=b\n") || !strings.Contains(rest, "S=hunter2\n") || strings.Contains(rest, "HEARTH_TEST") || !strings.HasSuffix(rest, work) {
			t.Errorf("environment and folder: %s", rest)
		}
	}
	noFile(t, work)
	for _, evil := range []string{"-rf", "--output=/etc/passwd", "-"} {
		if got := call(t, c, "show", obj{"name": evil, "n": 1}); !strings.Contains(got, "begins with -, which the program could take as an option") {
			t.Errorf("%q: %s", evil, got)
		}
		if got := call(t, c, "after", obj{"name": evil}); !strings.HasPrefix(got, "<--><"+evil+">") {
			t.Errorf("%q behind --: %s", evil, got)
		}
	}
	if got := call(t, c, "show", obj{"name": "a\x00b", "n": 1}); !strings.Contains(got, "NUL") {
		t.Error(got)
	}
	if got := call(t, c, "show", obj{"name": strings.Repeat("a", 200_000), "n": 1}); !strings.Contains(got, "at most 131071") {
		t.Error(got)
	}
}

func TestProgramEnds(t *testing.T) {
	path, dir := script(t, `PATH=/usr/bin:/bin
case "$1" in
fail) echo out; echo wrong >&2; exit 3;;
flood) yes;;
privileges) grep NoNewPrivs /proc/self/status; ls /proc/self/fd | wc -l;;
hang) sleep 1000 & echo $! >pid.tmp; mv pid.tmp pid; sleep 1000;;
leave) sleep 1000 >/dev/null 2>&1 & echo $! ;;
esac`)
	c := tools(t, `
  - name: run
    description: Run.
    effect: read
    input: {properties: {what: {type: string}}, required: [what]}
    program: {argv: [`+path+`, "{what}"], max_bytes: 1KiB, dir: `+dir+as()+`}
`, nil)
	if got := call(t, c, "run", obj{"what": "fail"}); got != "error: the program failed (exit status 3): wrong\n\nout" {
		t.Errorf("%q", got)
	}
	if got := call(t, c, "run", obj{"what": "nothing"}); got != "(the program ended without output)" {
		t.Errorf("%q", got)
	}
	// A file that is open without the mark which keeps programs from it.
	fd, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if got := strings.Fields(call(t, c, "run", obj{"what": "privileges"})); len(got) != 3 || got[1] != "1" || got[2] != "4" { // 0, 1, 2 and that of ls
		t.Errorf("privileges and files: %q", got)
	}
	left := call(t, c, "run", obj{"what": "leave"})
	wantGone(t, left)

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, &router.Call{Tool: "run", Arguments: []byte(`{"what":"hang"}`)})
		ended <- err
	}()
	var pid []byte
	for end := time.Now().Add(10 * time.Second); len(pid) == 0; {
		if pid, _ = os.ReadFile(filepath.Join(dir, "pid")); time.Now().After(end) {
			t.Fatal("the program does not start")
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who is gone: %v", err)
	}
	wantGone(t, string(pid))

	ctx, cancel = context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err = c.Run(ctx, &router.Call{Tool: "run", Arguments: []byte(`{"what":"flood"}`)})
	var own *router.ToolError
	if !errors.As(err, &own) || !strings.Contains(own.Message, "took too long") {
		t.Errorf("flood: %v", err)
	}
}

// wantGone waits until a process that was killed is no longer there, or is only
// waited for.
func wantGone(t *testing.T, pid string) {
	t.Helper()
	pid = strings.TrimSpace(pid)
	for end := time.Now().Add(10 * time.Second); ; {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %s is still there: %s", pid, stat)
		}
	}
}

func TestProgramIsRefused(t *testing.T) {
	for argv, want := range map[string]string{"/does/not/exist": "cannot be run", "/etc/passwd": "is no program", "/tmp": "is no program"} {
		_, err := New(parse(t, "  - {name: x, description: y, effect: read, program: {argv: ["+argv+"]"+as()+"}}\n"), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", argv, err)
		}
	}
	if os.Geteuid() == 0 {
		if _, err := New(parse(t, "  - {name: x, description: y, effect: read, program: {argv: [/bin/true]}}\n"), nil); err == nil || !strings.Contains(err.Error(), "would run as root") {
			t.Errorf("root: %v", err)
		}
	}
}
