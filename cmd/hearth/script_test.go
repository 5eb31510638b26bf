package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"hearth/internal/testkit"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"hearth": func() { main() },
	})
}

// nativeLibraries returns the folder that a program under test, which lies in a
// temporary folder, is told to use.
func nativeLibraries(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("HEARTH_LIB_DIR"); dir != "" {
		return dir
	}
	return filepath.Join(testkit.Root(t), "build", "out", "lib")
}

// TestScripts runs the real commands with the real model, as testdata/*.txtar say.
func TestScripts(t *testing.T) {
	model := testkit.Model(t)
	lib := nativeLibraries(t)
	cache := t.TempDir() // what passed the trial in one script passed it in all
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("LIB", lib)
			e.Setenv("HEARTH_LIB_DIR", lib)
			e.Setenv("HEARTH_MODEL", model)
			e.Setenv("MODEL", model)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_CACHE_HOME", cache)
			// A program would sleep for a second at its end, for races of what still runs.
			e.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
			e.Setenv("HEARTH_BIN", filepath.Join(dirOf(e.Getenv("PATH")), "hearth"))
			e.Values[serversKey{}] = &servers{byName: map[string]*server{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": cmdCode, "serve": cmdServe, "signal": cmdSignal, "awaitlog": cmdAwaitLog,
			"http": cmdHTTP, "hint": cmdHint, "decide": cmdDecide, "cut": cmdCut, "count": cmdCount, "site": cmdSite, "sqlite": cmdSQLite,
		},
	})
}

// hearth returns the command as the script would run it.
func hearth(ts *testscript.TestScript, ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(firstPath(ts), "hearth"), args...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "HEARTH_LIB_DIR", "HEARTH_MODEL", "HEARTH_URL", "HEARTH_CONFIG", "TMPDIR", "GORACE", "XDG_CACHE_HOME", "XDG_STATE_HOME"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

func firstPath(ts *testscript.TestScript) string {
	return dirOf(ts.Getenv("PATH"))
}

// dirOf returns the first folder of a search path.
func dirOf(path string) string {
	dir, _, _ := strings.Cut(path, string(os.PathListSeparator))
	return dir
}

// cmdCode runs hearth and wants the exit code: code N args... Its output goes
// into the files out and err.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: code N args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	cmd := hearth(ts, context.Background(), args[1:]...)
	out, err := os.Create(ts.MkAbs("out"))
	ts.Check(err)
	defer out.Close()
	errOut, err := os.Create(ts.MkAbs("err"))
	ts.Check(err)
	defer errOut.Close()
	cmd.Stdout, cmd.Stderr = out, errOut
	_ = cmd.Run() // the code is what counts
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit code %d, want %d\nout:\n%s\nerr:\n%s", got, want, ts.ReadFile("out"), ts.ReadFile("err"))
	}
}

type serversKey struct{}

// servers are the running servers of a script.
type servers struct{ byName map[string]*server }

func serversOf(ts *testscript.TestScript) *servers {
	s, ok := ts.Value(serversKey{}).(*servers)
	if !ok {
		ts.Fatalf("no servers")
	}
	return s
}

// server is one hearth serve.
type server struct {
	cmd   *exec.Cmd
	hints string
	log   *logLines
	done  chan struct{} // closed when the process has ended
}

// cmdServe starts hearth serve and waits until it answers: serve NAME args...
// It sets NAME_URL.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: serve NAME args...")
	}
	cmd := hearth(ts, context.Background(), append([]string{"serve"}, args[1:]...)...)
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	s := &server{cmd: cmd, log: newLogLines(), done: make(chan struct{})}
	serversOf(ts).byName[args[0]] = s
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		<-s.done
	})
	var readers sync.WaitGroup
	readers.Go(func() { s.log.read(stderr) })
	hints := make(chan string, 1)
	readers.Go(func() { readHints(stdout, hints) })
	go func() {
		readers.Wait()
		_ = cmd.Wait() // its code is asked for later
		close(s.done)
	}()
	s.hints = <-hints
	address := regexp.MustCompile(`(?m)^Hearth .* on (\S+)$`).FindStringSubmatch(s.hints)
	if address == nil {
		<-s.done
		ts.Fatalf("the server said no address: %q\n%s", s.hints, s.log)
	}
	ts.Setenv(args[0]+"_URL", address[1])
	ts.Setenv(args[0]+"_ADDR", strings.TrimPrefix(address[1], "http://"))
}

// readHints delivers what the server prints up to the line with the metrics (or
// all, if it ends before), and reads on so that it never blocks.
func readHints(r io.Reader, hints chan<- string) {
	lines := bufio.NewScanner(r)
	var b strings.Builder
	for lines.Scan() {
		b.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "Metrics:") {
			break
		}
	}
	hints <- b.String()
	_, _ = io.Copy(io.Discard, r)
}

func named(ts *testscript.TestScript, name string) *server {
	s := serversOf(ts).byName[name]
	if s == nil {
		ts.Fatalf("no server %s", name)
	}
	return s
}

// cmdSignal sends a signal to a server: signal NAME TERM|INT|HUP [CODE]. With a
// code it waits for the end and wants that code.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: signal NAME TERM|INT|HUP [CODE]")
	}
	s := named(ts, args[0])
	ts.Check(s.cmd.Process.Signal(map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}[args[1]]))
	if len(args) < 3 {
		return
	}
	<-s.done
	if got := strconv.Itoa(s.cmd.ProcessState.ExitCode()); got != args[2] {
		ts.Fatalf("the server ended with %s, want %s\n%s", got, args[2], s.log)
	}
}

// cmdAwaitLog waits for a line of the server's log: awaitlog NAME REGEXP. With !
// it wants that no line so far matches.
func cmdAwaitLog(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: awaitlog NAME REGEXP")
	}
	s := named(ts, args[0])
	re := regexp.MustCompile(args[1])
	if neg {
		if re.MatchString(s.log.String()) {
			ts.Fatalf("the log has %s:\n%s", args[1], s.log)
		}
		return
	}
	if !s.log.await(re) {
		ts.Fatalf("the server ended without %s in its log:\n%s", args[1], s.log)
	}
}

// cmdHTTP sends a request and wants the status: http STATUS METHOD URL [Header:value...]
// [@body]. The answer goes into the file out. With ! the request may not be answered.
func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: http STATUS METHOD URL [Header:value...] [@body]")
	}
	var body io.Reader
	header := http.Header{}
	for _, a := range args[3:] {
		if text, ok := strings.CutPrefix(a, "@"); ok {
			body = strings.NewReader(text)
			header.Set("Content-Type", "application/json")
			continue
		}
		k, v, _ := strings.Cut(a, ":")
		header.Add(k, v)
	}
	req, err := http.NewRequest(args[1], args[2], body)
	ts.Check(err)
	req.Header = header
	if h := header.Get("Host"); h != "" {
		req.Host = h
	}
	resp, err := http.DefaultClient.Do(req)
	if neg {
		if err == nil {
			_ = resp.Body.Close()
			ts.Fatalf("answered %s", resp.Status)
		}
		return
	}
	ts.Check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("out"), b, 0o600))
	if strconv.Itoa(resp.StatusCode) != args[0] {
		ts.Fatalf("%s, want %s: %s", resp.Status, args[0], b)
	}
}

// cmdHint runs the command line that the server printed after a word, with a
// shell: hint NAME WORD. The output goes into the file out.
func cmdHint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: hint NAME WORD")
	}
	s := named(ts, args[0])
	line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(args[1]) + `: +(.*)$`).FindStringSubmatch(s.hints)
	if line == nil {
		ts.Fatalf("no hint %s in %s", args[1], s.hints)
	}
	out, err := exec.Command("sh", "-c", line[1]).Output()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("out"), out, 0o600))
}

// cmdDecide approves or denies the approval that the file err names: decide WORD.
func cmdDecide(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: decide approve|deny")
	}
	id := regexp.MustCompile(`ap-[A-Z0-9]+`).FindString(ts.ReadFile("err"))
	if id == "" {
		ts.Fatalf("err names no approval: %s", ts.ReadFile("err"))
	}
	cmdCode(ts, false, []string{"0", "approvals", args[0], id})
}

// cmdCut writes the first N bytes of a file into another: cut FROM N TO.
func cmdCut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: cut FROM N TO")
	}
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	from, err := os.Open(args[0])
	ts.Check(err)
	defer from.Close()
	to, err := os.Create(ts.MkAbs(args[2]))
	ts.Check(err)
	defer to.Close()
	_, err = io.CopyN(to, from, n)
	ts.Check(err)
}

// cmdCount wants that a file has so many lines that match: count N REGEXP FILE.
func cmdCount(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: count N REGEXP FILE")
	}
	re := regexp.MustCompile(args[1])
	n := 0
	text := ts.ReadFile(args[2])
	for line := range strings.Lines(text) {
		if re.MatchString(line) {
			n++
		}
	}
	if fmt.Sprint(n) != args[0] {
		ts.Fatalf("%d lines match %s, want %s:\n%s", n, args[1], args[0], text)
	}
}

// logLines collects what a server logs.
type logLines struct {
	mu    sync.Mutex
	grown *sync.Cond
	text  strings.Builder
	ended bool
}

func newLogLines() *logLines {
	l := &logLines{}
	l.grown = sync.NewCond(&l.mu)
	return l
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logLines) read(r io.Reader) {
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		l.mu.Lock()
		l.text.Write(b[:n])
		l.ended = err != nil
		l.grown.Broadcast()
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await waits until the log matches; false: it ended before.
func (l *logLines) await(re *regexp.Regexp) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !re.MatchString(l.text.String()) {
		if l.ended {
			return false
		}
		l.grown.Wait()
	}
	return true
}
