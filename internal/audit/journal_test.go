package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"
)

func openSink(t *testing.T, c Config) *LogSink {
	t.Helper()
	s, err := Open(c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func linesOf(t *testing.T, path string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for line := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n") {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, r)
	}
	return out
}

func TestToolRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	s := openSink(t, Config{File: path, Durable: true})
	r := &ToolRecord{
		Call: "c1", RequestID: "r1", Principal: "ann", Tenant: "t", Via: "POST /mcp", Tool: "db__query",
		Definition: "d", Arguments: `{"secret":"hunter2"}`, Rule: "it only reads", Approval: "ap-1",
	}
	if err := s.ToolIntent(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	// The record is there before the tool runs, without Close.
	intent := linesOf(t, path)
	if len(intent) != 1 || intent[0]["message"] != "tool_intent" || intent[0]["tool"] != "db__query" || intent[0]["principal"] != "ann" || intent[0]["approval"] != "ap-1" || intent[0]["outcome"] != nil {
		t.Fatalf("the intent is %v", intent)
	}
	r.Outcome, r.ResultBytes = "ok", 12
	s.ToolOutcome(r)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	both := linesOf(t, path)
	if len(both) != 2 || both[1]["message"] != "tool_outcome" || both[1]["call"] != "c1" || both[1]["outcome"] != "ok" || both[1]["result_bytes"] != 12.0 {
		t.Fatalf("the records are %v", both)
	}
	mac := both[0]["arguments_hmac"]
	if raw, _ := os.ReadFile(path); strings.Contains(string(raw), "hunter2") || mac != both[1]["arguments_hmac"] || len(mac.(string)) != 64 {
		t.Errorf("arguments are recorded as %v", mac)
	}
	// The next process hashes with the same key, another file with another.
	again := openSink(t, Config{File: path, Durable: true})
	other := filepath.Join(t.TempDir(), "other.log")
	others := openSink(t, Config{File: other, Durable: true})
	if err := errors.Join(again.ToolIntent(t.Context(), r), others.ToolIntent(t.Context(), r)); err != nil {
		t.Fatal(err)
	}
	if got := linesOf(t, path)[2]["arguments_hmac"]; got != mac {
		t.Errorf("after a restart the same arguments are %v, not %v", got, mac)
	}
	if got := linesOf(t, other)[0]["arguments_hmac"]; got == mac {
		t.Error("two files hash with one key")
	}
	if st, err := os.Stat(path + ".key"); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", st.Mode(), err)
	}
}

func TestAKeyThatIsNoneIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path+".key", []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{File: path}, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "has 5 bytes instead of 32") {
		t.Errorf("got %v", err)
	}
}

// TestGroupCommit: calls that come while one is being written share the next
// write, and each is on the disk when it is told so.
func TestGroupCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	s := openSink(t, Config{File: path, Durable: true})
	const calls = 64
	begun, release := make(chan struct{}), make(chan struct{})
	syncs := 0
	real := s.journal.sync
	s.journal.sync = func(f *os.File) error {
		if syncs++; syncs == 1 {
			close(begun)
			<-release
		}
		return real(f)
	}
	var wg sync.WaitGroup
	intent := func(i int) {
		wg.Go(func() {
			id := fmt.Sprintf("call-%d.", i)
			if err := s.ToolIntent(context.Background(), &ToolRecord{Call: id}); err != nil {
				t.Error(err)
			}
			if raw, _ := os.ReadFile(path); !strings.Contains(string(raw), id) {
				t.Errorf("%s was told to be written and is not there", id)
			}
		})
	}
	intent(0)
	<-begun
	for i := 1; i < calls; i++ {
		intent(i)
	}
	for { // until all are written, and wait
		s.journal.mu.Lock()
		written := s.journal.waiting == calls && len(s.journal.lines) == 0 && !s.journal.writing
		s.journal.mu.Unlock()
		if written {
			break
		}
		runtime.Gosched()
	}
	close(release)
	wg.Wait()
	if syncs != 2 {
		t.Errorf("%d calls took %d syncs, want 2", calls, syncs)
	}
	if got := len(linesOf(t, path)); got != calls {
		t.Errorf("%d records, want %d", got, calls)
	}
}

// TestDiskThatFails: a tool does not run whose record may be lost, and nothing is
// durable after a sync failed.
func TestDiskThatFails(t *testing.T) {
	s := openSink(t, Config{File: filepath.Join(t.TempDir(), "audit.log"), Durable: true})
	full := errors.New("no space left")
	s.journal.sync = func(*os.File) error { return full }
	if err := s.ToolIntent(t.Context(), &ToolRecord{}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	s.journal.sync = func(*os.File) error { return nil }
	if err := s.ToolIntent(t.Context(), &ToolRecord{}); !errors.Is(err, full) {
		t.Errorf("after a failure: %v", err)
	}
	if err := s.Close(); !errors.Is(err, full) {
		t.Errorf("Close says %v", err)
	}
	if err := s.ToolIntent(t.Context(), &ToolRecord{}); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestOutcomesDoNotWaitForTheDisk: what need not be durable gets to the file while a
// sync is on its way, and asks for none.
func TestOutcomesDoNotWaitForTheDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	s := openSink(t, Config{File: path, Durable: true})
	begun, release := make(chan struct{}), make(chan struct{})
	syncs := 0
	s.OnSync(func() { syncs++ })
	s.journal.sync = func(*os.File) error {
		close(begun)
		<-release
		s.journal.sync = func(*os.File) error { return nil }
		return nil
	}
	intent := make(chan error)
	go func() { intent <- s.ToolIntent(context.Background(), &ToolRecord{Call: "waits"}) }()
	<-begun
	s.ToolOutcome(&ToolRecord{Call: "goes on", Outcome: "ok"})
	for got := linesOf(t, path); len(got) != 2 || got[1]["call"] != "goes on"; got = linesOf(t, path) {
		runtime.Gosched() // a goroutine writes it
	}
	close(release)
	if err := <-intent; err != nil {
		t.Error(err)
	}
	if syncs != 1 {
		t.Errorf("%d syncs for one intent and one outcome, want 1", syncs)
	}
}

func TestIntentEndsWithItsContext(t *testing.T) {
	s := openSink(t, Config{File: filepath.Join(t.TempDir(), "audit.log"), Durable: true})
	release := make(chan struct{})
	s.journal.sync = func(*os.File) error { <-release; return nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.ToolIntent(ctx, &ToolRecord{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
}

// TestWriteThatFails: who waits for lines that the file did not take is told so, and so
// is who comes later.
func TestWriteThatFails(t *testing.T) {
	s := openSink(t, Config{File: filepath.Join(t.TempDir(), "audit.log"), Durable: true})
	file := s.journal.file
	var err error
	if s.journal.file, err = os.Open(os.DevNull); err != nil { // which cannot be written
		t.Fatal(err)
	}
	for range 2 {
		if err := s.ToolIntent(t.Context(), &ToolRecord{}); !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EBADF) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := s.journal.Write([]byte("{}\n")); err == nil {
		t.Error("a line that was not written was told to be")
	}
	if err := errors.Join(file.Close(), s.Close()); err == nil {
		t.Error("Close says nothing")
	}
}

// TestLinesAreBounded: where the disk hangs and nothing is written, who has a line waits.
func TestLinesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSink(t, Config{File: filepath.Join(t.TempDir(), "audit.log"), Durable: true})
		j := s.journal
		j.mu.Lock()
		j.lines, j.writing = make([]byte, mostLines+1), true
		j.mu.Unlock()
		for i := range j.lines {
			j.lines[i] = '\n'
		}
		wrote := make(chan error, 1)
		go func() {
			_, err := j.Write([]byte("{}\n"))
			wrote <- err
		}()
		synctest.Wait()
		select {
		case err := <-wrote:
			t.Errorf("a line came in, %v", err)
		default:
		}
		go j.run() // the disk is back
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	})
}
