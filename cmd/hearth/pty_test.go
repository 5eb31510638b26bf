package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hearth/internal/testkit"
)

// openPTY returns both ends of a new pseudo-terminal.
func openPTY(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	return master, terminal
}

// TestChatOnATerminal talks to the real command on a real terminal: it streams,
// Ctrl-C stops the answer and not the program, and the conversation goes on.
func TestChatOnATerminal(t *testing.T) {
	exe, err := exec.LookPath("hearth") // testscript.Main put it into PATH
	if err != nil {
		t.Fatal(err)
	}
	master, terminal := openPTY(t)
	cmd := exec.Command(exe, "chat", "--model", testkit.Model(t), "--threads", "1", "--context", "2048", "--sequences", "1", "--temperature", "0")
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "TERM=xterm", "HOME="+home, "XDG_STATE_HOME=", "HEARTH_URL=", "HEARTH_CONFIG=", "HEARTH_LIB_DIR="+nativeLibraries(t))
	cmd.Dir = home
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = terminal.Close()
	screen := newLogLines()
	read := make(chan struct{})
	go func() {
		defer close(read)
		screen.read(master) // ends when the program has left the terminal
	}()
	await := func(pattern string) {
		t.Helper()
		if !screen.await(regexp.MustCompile(pattern)) {
			t.Fatalf("no %s on the screen:\n%s", pattern, screen)
		}
	}
	typed := func(keys string) {
		t.Helper()
		if _, err := master.WriteString(keys); err != nil {
			t.Fatal(err)
		}
	}
	await(`context 2048 tokens, on this process[^>]*> $`)
	typed("Write a very long story about a dragon.\r")
	await(`dragon\.\r\n(?s:.{40,})`) // some of the answer
	typed("\x03")
	await(`\(stopped\)\r\n(?s:.*)> $`)
	typed("/stats\r")
	await(`1 answers, 0 tokens generated`)
	typed("/exit\r")
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v:\n%s", err, screen)
	}
	<-read
	if _, err := os.Stat(filepath.Join(home, ".local", "state", "hearth", "history")); err != nil {
		t.Errorf("what was typed is not remembered: %v", err)
	}
}
