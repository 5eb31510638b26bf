package tests

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
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
	"time"

	"hearth/internal/testkit"
)

// patience bounds waits for another process on a machine that is busy. No
// assertion is about time: a wait that ends here is a failure whatever the load.
const patience = 4 * time.Minute

// client opens a connection for each request, so that idle ones hold nothing open.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

// process is a server under test.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	output *lockedBuffer
	exited chan error
}

func hearthBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(testkit.Root(t), "build", "out", "bin", "hearth")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the program is not at %s: run make build first", path)
	}
	return path
}

// start runs a program; the test ends it, at the latest, and wants exit status 0.
func start(t *testing.T, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), output: &lockedBuffer{}, exited: make(chan error, 1)}
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); name != "HEARTH_CONFIG" && name != "HEARTH_URL" && name != "HEARTH_MODEL" {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	return p
}

// oneThread is the number of compute threads of every server here: two that wait
// for each other on cores that other tests use too are many times slower.
const oneThread = "1"

// startHearth serves the default model with more flags and waits until it answers.
func startHearth(t *testing.T, args ...string) *process {
	t.Helper()
	return startServing(t, append([]string{"--model", testkit.Model(t)}, args...)...)
}

// startServing serves what the flags say and waits until it answers.
func startServing(t *testing.T, args ...string) *process {
	t.Helper()
	p := start(t, hearthBinary(t), append([]string{"serve", "--listen", "127.0.0.1:0", "--threads", oneThread}, args...)...)
	t.Cleanup(func() { p.stop() })
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	p.eventually("it prints its address", func() bool {
		p.url = address.FindString(p.output.String())
		return p.url != ""
	})
	p.eventually("it is ready", func() bool { return p.status("/readyz") == http.StatusOK })
	return p
}

// startLlamaServer serves the default model with llama-server of the same build.
func startLlamaServer(t *testing.T, args ...string) *process {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	p := start(t, testkit.Yardstick(t, "llama-server"), append([]string{"-m", testkit.Model(t), "--host", "127.0.0.1", "--port", port, "-t", oneThread}, args...)...)
	t.Cleanup(func() { p.stop() })
	p.url = "http://127.0.0.1:" + port
	p.eventually("it is ready", func() bool { return p.status("/health") == http.StatusOK })
	return p
}

// stop sends SIGTERM and wants a clean end. Stopping twice does nothing.
func (p *process) stop() {
	p.t.Helper()
	select {
	case err := <-p.exited: // it ended already, or was stopped
		p.exited <- err
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // if it is gone, wait tells
	p.wait()
}

// wait wants the process to end with status 0.
func (p *process) wait() {
	p.t.Helper()
	if err := p.end(); err != nil {
		p.t.Errorf("%s ended: %v\n%s", p.cmd.Path, err, p.output.tail())
	}
}

// end waits for the end of the process and returns how it ended.
func (p *process) end() error {
	p.t.Helper()
	select {
	case err := <-p.exited:
		p.exited <- err
		return err
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("it did not end within %s and was killed", patience)
	}
}

// eventually waits until what holds, and fails when the process ends first.
func (p *process) eventually(what string, holds func() bool) {
	p.t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	end := time.After(patience)
	for !holds() {
		select {
		case err := <-p.exited:
			p.exited <- err
			p.t.Fatalf("%s ended before %s: %v\n%s", p.cmd.Path, what, err, p.output.tail())
		case <-end:
			p.t.Fatalf("%s: not within %s that %s\n%s", p.cmd.Path, patience, what, p.output.tail())
		case <-poll.C:
		}
	}
}

// status returns the status of a GET, 0 if there was no answer.
func (p *process) status(path string) int {
	res, err := client.Get(p.url + path)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// post sends body as JSON and decodes the answer, which must be 200, into out.
func (p *process) post(path string, body, out any) {
	p.t.Helper()
	res := p.send(p.t.Context(), path, body)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		p.t.Fatalf("POST %s: %s, %v\n%s", path, res.Status, err, raw)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		p.t.Fatalf("POST %s: %v\n%s", path, err, raw)
	}
}

// send posts body as JSON and returns the answer as it begins.
func (p *process) send(ctx context.Context, path string, body any) *http.Response {
	p.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+path, bytes.NewReader(raw))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		p.t.Fatalf("POST %s: %v\n%s", path, err, p.output.tail())
	}
	return res
}

// metrics returns all samples of /metrics by name and labels.
func (p *process) metrics() map[string]float64 {
	p.t.Helper()
	res, err := client.Get(p.url + "/metrics")
	if err != nil {
		p.t.Fatalf("GET /metrics: %v", err)
	}
	defer res.Body.Close()
	samples := map[string]float64{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			samples[line[:at]] = v
		}
	}
	if err := lines.Err(); err != nil {
		p.t.Fatalf("read /metrics: %v", err)
	}
	return samples
}

// metric returns the one sample whose name and labels contain all parts.
func metric(t *testing.T, samples map[string]float64, parts ...string) float64 {
	t.Helper()
	var found []string
	for name := range samples {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(name, part)
		}
		if all {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d metrics match %q: %q", len(found), parts, found)
	}
	return samples[found[0]]
}

// pieces reads a stream of server-sent events and calls each with every data
// line; each returns false to read no further.
func pieces(r io.Reader, each func(data string) bool) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && !each(data) {
			return nil
		}
	}
	return lines.Err()
}

// writeConfig writes a configuration file and returns its path.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hearth.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// lockedBuffer collects the output of a process.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tail returns the end of the output, under a heading.
func (b *lockedBuffer) tail() string {
	s := b.String()
	return fmt.Sprintf("--- the end of its output:\n%s", s[max(len(s)-4000, 0):])
}
