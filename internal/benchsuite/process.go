package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a server may take to end after SIGTERM.
const stopTimeout = 20 * time.Second

// server is a running process under measurement.
type server struct {
	cmd   *exec.Cmd
	url   string
	begun time.Time // just before the process was started
	log   string
	ended chan struct{} // closed when the process has ended
	err   error         // its exit status, once ended
}

// freePort returns a port of the loopback that nobody listens on. Another process
// may take it before the server does; the start then fails and says so.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// diesWithUs lets the kernel end a process when this program ends, however that
// happens. What counts for the kernel is the thread that started the process, so
// execute keeps the thread of its goroutine to itself until the report is made.
func diesWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// startServer starts argv, its output in the file log. The process ends with
// this one, whatever happens.
func startServer(argv []string, port int, log string) (*server, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("create the server's log: %w", err)
	}
	defer file.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = diesWithUs()
	cmd.SysProcAttr.Setpgid = true // stop ends its children too
	s := &server{cmd: cmd, url: "http://127.0.0.1:" + strconv.Itoa(port), log: log, ended: make(chan struct{}), begun: time.Now()}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		s.err = cmd.Wait()
		close(s.ended)
	}()
	return s, nil
}

// dead returns an error with the end of the log if the process has ended.
func (s *server) dead() error {
	select {
	case <-s.ended:
		return fmt.Errorf("%s ended: %w; the end of its log:\n%s", s.cmd.Path, cmpErr(s.err), tail(s.log, 2000))
	default:
		return nil
	}
}

var errExited = errors.New("exit status 0")

func cmpErr(err error) error {
	if err == nil {
		return errExited
	}
	return err
}

// stop ends the process and waits for it.
func (s *server) stop() error {
	pid := s.cmd.Process.Pid
	// A process that is gone already is what is wanted.
	_ = syscall.Kill(pid, syscall.SIGTERM)
	select {
	case <-s.ended:
		return nil
	case <-time.After(stopTimeout):
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	<-s.ended
	return fmt.Errorf("%s did not end within %s of SIGTERM and was killed", s.cmd.Path, stopTimeout)
}

// peak returns the largest resident set, in bytes, that the process and its
// children have had.
func (s *server) peak() (int64, error) {
	total, err := peakOf(s.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	for _, child := range childrenOf(s.cmd.Process.Pid) {
		// A child may end between the listing and the reading.
		if n, err := peakOf(child); err == nil {
			total += n
		}
	}
	return total, nil
}

func peakOf(pid int) (int64, error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, fmt.Errorf("read peak memory: %w", err)
	}
	return parsePeak(string(raw))
}

// parsePeak finds VmHWM in the text of /proc/PID/status.
func parsePeak(status string) (int64, error) {
	lines := bufio.NewScanner(strings.NewReader(status))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "VmHWM:" && fields[2] == "kB" {
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read peak memory: %w", err)
			}
			return kb * 1024, nil
		}
	}
	return 0, errors.New("read peak memory: no VmHWM in the process status")
}

// childrenOf returns the ids of all descendants of pid.
func childrenOf(pid int) []int {
	var all []int
	tasks, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	for _, file := range tasks {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // the thread is gone
		}
		for _, field := range strings.Fields(string(raw)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(append(all, child), childrenOf(child)...)
			}
		}
	}
	return all
}

// tail returns at most the last n bytes of a file.
func tail(path string, n int) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(raw[max(len(raw)-n, 0):])
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
