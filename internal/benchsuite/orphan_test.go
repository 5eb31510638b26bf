package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// holdEnv names the program of the suite that, once started, does nothing.
const holdEnv = "BENCHSUITE_TEST_HOLD"

// orphanPatience bounds the wait for a process that should end.
const orphanPatience = time.Minute

// TestNothingOutlivesTheSuite kills the suite, which then can stop nothing
// itself, while each kind of program that it starts is running.
func TestNothingOutlivesTheSuite(t *testing.T) {
	for _, program := range []string{hearth, plain, loadCommand, "llama-batched-bench"} {
		t.Run(program, func(t *testing.T) {
			flags, self := fakes(t, "-quick", "-only", "single")
			name := filepath.Join(t.TempDir(), "benchsuite")
			if err := os.Symlink(self, name); err != nil {
				t.Fatal(err)
			}
			suite := exec.Command(name, flags...)
			suite.Env = append(os.Environ(), holdEnv+"="+program)
			var said bytes.Buffer
			suite.Stdout, suite.Stderr = &said, &said
			if err := suite.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- suite.Wait() }()
			orphans := map[string]int{} // pidfds: a pid may come again
			poll := time.NewTicker(5 * time.Millisecond)
			defer poll.Stop()
			for len(orphans) == 0 {
				select {
				case err := <-ended:
					t.Fatalf("the suite ended before %s ran: %v\n%s", program, err, said.String())
				case <-poll.C:
				}
				orphans = descendants(t, suite.Process.Pid, program)
			}
			if err := suite.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-ended
			for command, fd := range orphans {
				if n, err := ends(fd); n != 1 {
					t.Errorf("%q outlives the suite: %v", command, err)
					_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
				}
				_ = unix.Close(fd)
			}
		})
	}
}

// ends waits for the end of a process: 1, or 0 if it runs on.
func ends(fd int) (int, error) {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(orphanPatience.Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// descendants returns the processes that pid has started, by command line, if
// one of them is the program at its work; none if not.
func descendants(t *testing.T, pid int, program string) map[string]int {
	t.Helper()
	all := map[string]int{}
	there := false
	for _, child := range childrenOf(pid) {
		fd, err := unix.PidfdOpen(child, 0)
		if err != nil {
			continue // it has ended
		}
		raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(child), "cmdline"))
		if err != nil || len(raw) == 0 {
			_ = unix.Close(fd)
			continue
		}
		args := strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
		there = there || len(args) > 1 && held(args, program)
		all[strings.Join(args, " ")] = fd
	}
	if there {
		return all
	}
	for _, fd := range all {
		_ = unix.Close(fd)
	}
	return nil
}

// held reports whether a command line is that program's at its work, and not the
// question for its version.
func held(args []string, program string) bool {
	if program == loadCommand {
		return args[1] == loadCommand
	}
	return filepath.Base(args[0]) == program && !strings.HasSuffix(args[1], "version")
}
