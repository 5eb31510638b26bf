package upstream

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// patience is how long a program gets to end by itself, first when its input
// ended and then when it was asked to.
const patience = 2 * time.Second

// defaultPath is where a command is looked for where env does not say.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// process is a program that was started, with all that it started.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout io.ReadCloser
	gone   chan struct{} // closed when the program has ended
	once   sync.Once
	done   chan struct{} // closed when nothing of it runs
}

// environment is all that the program sees of one.
func (c *Config) environment(home string) ([]string, string, error) {
	env := map[string]string{"PATH": defaultPath, "HOME": home, "LANG": "C.UTF-8"}
	for k, v := range c.Env {
		env[k] = v
	}
	for k, s := range c.SecretEnv {
		v, err := s.Value()
		if err != nil {
			return nil, "", fmt.Errorf("secret_env.%s: %w", k, err)
		}
		env[k] = v
	}
	var out []string
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out, env["PATH"], nil
}

// program finds the command in a PATH that is not this process's.
func program(command, path string) (string, error) {
	if strings.Contains(command, "/") {
		return command, nil
	}
	for _, dir := range filepath.SplitList(path) {
		at := filepath.Join(dir, command)
		if info, err := os.Stat(at); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && filepath.IsAbs(at) {
			return at, nil
		}
	}
	return "", fmt.Errorf("the program %s is not in %s: give command its path, or env a PATH", command, path)
}

// start runs the program in a process group of its own.
func start(ctx context.Context, c *Config, log zerolog.Logger) (*process, error) {
	dir := c.Dir
	if dir == "" {
		dir = filepath.Join(c.State, "work")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the program's folder: %w", err)
		}
	}
	env, path, err := c.environment(dir)
	if err != nil {
		return nil, err
	}
	at, err := program(c.Command, path)
	if err != nil {
		return nil, err
	}
	if err := verify(at, c.SHA256); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Not bound to ctx, which ends when it is connected.
	cmd := exec.Command(at, c.Args...)
	cmd.Env, cmd.Dir = env, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &process{cmd: cmd, gone: make(chan struct{}), done: make(chan struct{})}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// Pipes of our own: Wait does not close them, so nothing that was written last is lost.
	out, outWriter, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	errs, errWriter, err := os.Pipe()
	if err != nil {
		_, _ = out.Close(), outWriter.Close()
		return nil, err
	}
	cmd.Stdout, cmd.Stderr, p.stdout = outWriter, errWriter, out
	err = cmd.Start()
	_, _ = outWriter.Close(), errWriter.Close()
	if err != nil {
		_, _ = out.Close(), errs.Close()
		return nil, fmt.Errorf("start the program: %w", err)
	}
	go logLines(errs, log)
	go func() {
		_ = cmd.Wait()
		close(p.gone)
		p.stop() // what it started goes with it
	}()
	return p, nil
}

// verify reads the program and compares its hash.
func verify(path, want string) error {
	if want == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("read the program: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); !strings.EqualFold(got, want) {
		return fmt.Errorf("the program %s has the sha256 %s, not that of the configuration: if it was replaced on purpose, put the new one there", path, got)
	}
	return nil
}

// stop ends the program and everything that it started and returns when nothing
// of it runs: first its input ends, then it is asked, then killed.
func (p *process) stop() {
	p.once.Do(func() {
		defer close(p.done)
		_ = p.stdin.Close()
		if !p.ended(patience) {
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
			p.ended(patience)
		}
		// The group has the program's number as long as anything is in it.
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.gone
		_ = p.stdout.Close()
	})
	<-p.done
}

func (p *process) ended(in time.Duration) bool {
	timer := time.NewTimer(in)
	defer timer.Stop()
	select {
	case <-p.gone:
		return true
	case <-timer.C:
		return false
	}
}

// Bounds of what goes into the log for a server.
const (
	logLineBytes = 1 << 10
	logPerSecond = 20
)

// logLines writes what a program says on its error output into the log, each line
// cut, and so many a second.
func logLines(r io.ReadCloser, log zerolog.Logger) {
	defer r.Close()
	allowed := newBucket(logPerSecond, 5*logPerSecond)
	in := bufio.NewReaderSize(r, logLineBytes)
	dropped := 0
	for {
		line, err := in.ReadSlice('\n')
		text := strings.TrimRight(strings.ToValidUTF8(string(line), "?"), "\r\n")
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a long line
			_, err = in.ReadSlice('\n')
		}
		switch {
		case text == "":
		case allowed.take(1):
			e := log.Info()
			if dropped > 0 {
				e = e.Int("dropped", dropped)
				dropped = 0
			}
			e.Str("stderr", text).Msg("an MCP server wrote")
		default:
			dropped++
		}
		if err != nil {
			return
		}
	}
}
