package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// ninja builds targets of the tree, showing how many of its steps are done. All
// output goes to the tree's log; of a failed build, what it said last is shown.
func (a *app) ninja(ctx context.Context, t nativeTree, label string, targets ...string) error {
	log, err := os.OpenFile(t.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-C", t.build()}
	if jobs := os.Getenv("HEARTH_JOBS"); jobs != "" {
		args = append(args, "-j", jobs)
	}
	cmd := exec.CommandContext(ctx, t.tools.ninja, append(args, targets...)...)
	cmd.Env = append(os.Environ(), "NINJA_STATUS=[%f/%t] ")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start ninja: %w", err)
	}
	m := newMeter(a.messages, label, 0, false)
	tail := followNinja(io.TeeReader(pipe, log), m)
	err = cmd.Wait()
	m.finish()
	if err != nil {
		// Messages name the tree's copy of the shim; the reader edits the original.
		text := strings.ReplaceAll(strings.Join(tail, "\n"), t.shim()+"/", filepath.Join("inference", "llama")+"/")
		a.logf("%s\nThe whole output is in %s", text, t.log())
		return fmt.Errorf("%s: %w: ninja: %w", label, errNative, err)
	}
	return nil
}

// followNinja moves the meter by Ninja's status lines and returns what was said
// since the first failure, or else since the last step, at most 200 lines.
func followNinja(r io.Reader, m *meter) []string {
	var tail []string
	failed := false
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if done, total, ok := ninjaStatus(line); ok {
			m.set(done, total)
			if !failed {
				tail = tail[:0]
			}
		}
		failed = failed || strings.HasPrefix(line, "FAILED:")
		if len(line) > 0 && len(tail) < 200 {
			tail = append(tail, strings.TrimRight(line, "\n"))
		}
		if err != nil {
			return tail
		}
	}
}

// ninjaStatus reads "[12/34] ...".
func ninjaStatus(line string) (done, total int64, ok bool) {
	inner, _, ok := strings.Cut(line, "] ")
	if !ok || !strings.HasPrefix(inner, "[") {
		return 0, 0, false
	}
	a, b, ok := strings.Cut(inner[1:], "/")
	if !ok {
		return 0, 0, false
	}
	done, err1 := strconv.ParseInt(a, 10, 64)
	total, err2 := strconv.ParseInt(b, 10, 64)
	return done, total, err1 == nil && err2 == nil
}
