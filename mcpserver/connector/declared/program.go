package declared

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/config"
	"hearth/mcpserver/router"
)

// Program is a body that is a program of this machine.
type Program struct {
	// Argv is the program, with its whole path, and its arguments. One that is
	// exactly {name} becomes the argument of that name.
	Argv []string `yaml:"argv"`
	// Stdin is json (all arguments as one JSON object) or none, the default.
	Stdin string `yaml:"stdin"`
	// Dir is the working folder; empty: a new one for each call, removed behind it.
	Dir string `yaml:"dir"`
	// Env is the whole environment, with Secrets.
	Env     map[string]string        `yaml:"env"`
	Secrets map[string]config.Secret `yaml:"secrets"`
	// User is whom the program runs as. Needed where Hearth runs as root.
	User string `yaml:"user"`
	// MaxBytes bounds its output; 0: DefaultOutput.
	MaxBytes config.Size `yaml:"max_bytes"`
}

const (
	// maxArgument bounds one argument of a program: what Linux takes.
	maxArgument = 128<<10 - 1
	// maxErrors is how much of the standard error output is kept.
	maxErrors = 8 << 10
	// pipeDelay is how long a pipe may stay open behind the end of the program.
	pipeDelay = time.Second
)

var envName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (p *Program) check(names map[string]bool, input map[string]any) error {
	if len(p.Argv) == 0 || !filepath.IsAbs(p.Argv[0]) {
		return config.Invalid("argv", "must begin with the whole path of a program, such as /usr/bin/cal")
	}
	for i, a := range p.Argv {
		name, isHole := whole(a)
		at := fmt.Sprintf("argv[%d]", i)
		switch {
		case !isHole && hole.MatchString(a):
			return config.Invalid(at, "%q has an argument as a part of it: an argument of the call is a whole argument of the program", a)
		case !isHole && strings.ContainsRune(a, 0):
			return config.Invalid(at, "holds a NUL character")
		case isHole && !names[name]:
			return config.Invalid(at, "%s", unknown(name, names))
		case isHole && !required(input, name):
			return config.Invalid(at, "names %q, which a call may leave out: add it to required in input", name)
		}
	}
	if p.Stdin != "" && p.Stdin != "json" && p.Stdin != "none" {
		return config.Invalid("stdin", "%q is unknown: use json or none", p.Stdin)
	}
	for key, value := range p.Env {
		if !envName.MatchString(key) || strings.ContainsRune(value, 0) {
			return config.Invalid("env", "%q is no variable", key)
		}
	}
	for key, s := range p.Secrets {
		if !envName.MatchString(key) {
			return config.Invalid("secrets", "%q is no variable", key)
		}
		if why := s.Check(); s == "" || why != "" {
			return config.Invalid("secrets."+key, "must name where the secret is, as env:NAME or file:PATH")
		}
	}
	if p.MaxBytes != 0 && (p.MaxBytes < 1<<10 || p.MaxBytes > 64<<20) {
		return config.Invalid("max_bytes", "must be between 1KiB and 64MiB, got %v", p.MaxBytes)
	}
	return nil
}

func required(input map[string]any, name string) bool {
	list, _ := input["required"].([]any)
	return slices.Contains(list, any(name))
}

func (p *Program) runner() (runner, error) {
	info, err := os.Stat(p.Argv[0])
	if err != nil {
		return nil, fmt.Errorf("the program cannot be run: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("%s is no program", p.Argv[0])
	}
	r := &programRunner{p: p, limit: int(p.MaxBytes)}
	if r.limit == 0 {
		r.limit = int(DefaultOutput)
	}
	switch {
	case p.User != "":
		if r.as, err = account(p.User); err != nil {
			return nil, err
		}
	case os.Geteuid() == 0:
		return nil, errors.New("a program would run as root: name another user of this machine in user")
	}
	return r, nil
}

// account is whom to run as; nil: who this process is.
func account(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	if uidErr != nil || gidErr != nil {
		return nil, fmt.Errorf("user: %s has no number", name)
	}
	if int(uid) == os.Geteuid() {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("user: only root can run programs as %s: leave it out", name)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

type programRunner struct {
	p     *Program
	as    *syscall.Credential
	limit int
}

func (r *programRunner) close() {}

func (r *programRunner) run(ctx context.Context, args arguments, _ *router.Validators) (*router.Result, error) {
	argv, err := r.argv(args)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	if cmd.Env, err = r.env(); err != nil {
		return nil, err
	}
	if cmd.Dir = r.p.Dir; cmd.Dir == "" {
		if cmd.Dir, err = os.MkdirTemp("", "hearth-tool"); err != nil {
			return nil, fmt.Errorf("make a folder: %w", err)
		}
		defer os.RemoveAll(cmd.Dir)
		if r.as != nil {
			if err := os.Chown(cmd.Dir, int(r.as.Uid), int(r.as.Gid)); err != nil {
				return nil, fmt.Errorf("make a folder: %w", err)
			}
		}
	}
	if r.p.Stdin == "json" {
		data, err := json.Marshal(args)
		if err != nil {
			return nil, fmt.Errorf("encode the arguments: %w", err)
		}
		cmd.Stdin = bytes.NewReader(data)
	}
	out, errs := &capped{limit: r.limit}, &capped{limit: maxErrors}
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.WaitDelay = pipeDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: r.as}
	ended := make(chan error, 1)
	// On a thread of its own, which ends with it: what is set for the program is set
	// for the thread that starts it.
	go func() {
		runtime.LockOSThread()
		ended <- runGroup(ctx, cmd)
	}()
	err = <-ended
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, toolError("the program was ended because it took too long")
		}
		return nil, ctx.Err()
	case errors.As(err, &exit):
		return nil, toolError("the program failed (%s): %s", exit.ProcessState, strings.TrimSpace(errs.text()+"\n"+out.text()))
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("run the program: %w", err)
	}
	text := out.text()
	if strings.TrimSpace(text) == "" {
		text = "(the program ended without output)"
	}
	return router.Text(strings.TrimRight(text, "\n")), nil
}

// runGroup runs cmd and ends its whole process group with it, or with ctx. The
// calling thread is not used for anything afterwards.
func runGroup(ctx context.Context, cmd *exec.Cmd) error {
	// Neither setuid programs nor file capabilities give the program more rights.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	// Go opens files so that programs do not inherit them; libraries in C may not.
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("keep files from the program: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	group := -cmd.Process.Pid
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(group, unix.SIGKILL) })
	defer stop()
	// While the program is not waited for, its number is nobody else's, and what it
	// left running in its group can be ended by that.
	for {
		if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Kill(group, unix.SIGKILL) // there may be nothing left
	stop()
	return cmd.Wait()
}

// argv puts the arguments into their places.
func (r *programRunner) argv(args arguments) ([]string, error) {
	out := make([]string, len(r.p.Argv))
	options := true // whether a program still takes what begins with - as an option
	for i, a := range r.p.Argv {
		if out[i] = a; a == "--" {
			options = false
		}
		name, ok := whole(a)
		if !ok {
			continue
		}
		value, _, err := args.text(name)
		switch {
		case err != nil:
			return nil, err
		case strings.ContainsRune(value, 0):
			return nil, toolError("%s holds a NUL character, which a program cannot take", name)
		case len(value) > maxArgument:
			return nil, toolError("%s has %d bytes, at most %d are possible", name, len(value), maxArgument)
		case options && strings.HasPrefix(value, "-"):
			return nil, toolError("%s begins with -, which the program could take as an option: give another value", name)
		}
		out[i] = value
	}
	return out, nil
}

func (r *programRunner) env() ([]string, error) {
	out := []string{} // not nil, which would be the server's own
	for key, value := range r.p.Env {
		out = append(out, key+"="+value)
	}
	for key, secret := range r.p.Secrets {
		value, err := secret.Value()
		if err != nil {
			return nil, err
		}
		out = append(out, key+"="+value)
	}
	return out, nil
}

// capped keeps the first limit bytes of what is written.
type capped struct {
	limit, lost int
	b           bytes.Buffer
}

func (c *capped) Write(p []byte) (int, error) {
	room := min(len(p), c.limit-c.b.Len())
	c.b.Write(p[:room])
	c.lost += len(p) - room
	return len(p), nil
}

func (c *capped) text() string {
	s := strings.ToValidUTF8(c.b.String(), "\uFFFD")
	if c.lost > 0 {
		s += fmt.Sprintf("\n[cut: %d further bytes are not shown]", c.lost)
	}
	return s
}
