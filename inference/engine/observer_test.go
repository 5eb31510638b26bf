package engine

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// yield lets other goroutines run while a test waits for a condition.
func yield() { runtime.Gosched() }

// counter is an Observer that counts.
type counter struct {
	mu     sync.Mutex
	counts map[string]int
}

func newCounter() *counter { return &counter{counts: map[string]int{}} }

func (c *counter) add(name string, n int) {
	c.mu.Lock()
	c.counts[name] += n
	c.mu.Unlock()
}

func (c *counter) set(name string, n int) {
	c.mu.Lock()
	c.counts[name] = n
	c.mu.Unlock()
}

func (c *counter) get(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[name]
}

func (c *counter) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprint(c.counts)
}

func (c *counter) Queued(n int)  { c.set("queued", n) }
func (c *counter) Running(n int) { c.set("running", n) }
func (c *counter) Step(rows, prefill int, _ time.Duration) {
	c.add("steps", 1)
	c.add("rows", rows)
	c.add("prefill", prefill)
}

func (c *counter) Guessed(tokens, right int) {
	c.add("guessed", tokens)
	c.add("right", right)
}

func (c *counter) Forced(guessed, right, appended int) {
	c.add("foreseen", guessed)
	c.add("foreseen right", right)
	c.add("appended", appended)
}

func (c *counter) Cells(used, reserved, cached, total int) {
	c.set("used", used)
	c.set("reserved", reserved)
	c.set("cached", cached)
	c.set("total", total)
}
func (c *counter) FirstToken(time.Duration) { c.add("first", 1) }
func (c *counter) Layout(bool)              { c.add("layout", 1) }
func (c *counter) InterToken(time.Duration) { c.add("inter", 1) }
func (c *counter) Done(outcome string, prompt, cached, completion int, _ time.Duration) {
	c.add("done "+outcome, 1)
	c.add("prompt", prompt)
	c.add("cachedTokens", cached)
	c.add("completion", completion)
}

func TestObserverSeesAll(t *testing.T) {
	gate := make(chan struct{})
	b := enginetest.New(enginetest.Options{OnDecode: func(b *inference.Batch) error {
		if b.Pos[0] > 500 {
			<-gate
		}
		return nil
	}})
	seen := newCounter()
	e, err := New(b, Config{}, seen)
	if err != nil {
		t.Fatal(err)
	}
	r := ask("what is counted", 5)
	r.Choices = 2
	read(t, submit(t, e, r))
	gone := submit(t, e, ask("another", 900))
	if _, err := gone.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone.Close()
	close(gate)
	if err := e.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Close()
	for name, want := range map[string]int{
		"done length": 1, "done cancelled": 1, "prompt": 15 + 7, "queued": 0, "running": 0,
		"used": 0, "reserved": 0, "cached": 0, "total": 1024,
	} {
		if got := seen.get(name); got != want {
			t.Errorf("%s: %d, want %d (%v)", name, got, want, seen)
		}
	}
	if tokens := seen.get("completion"); seen.get("first") != 2 || seen.get("inter") != tokens-3 {
		t.Errorf("first and later tokens of three choices do not add up: %v", seen)
	}
	if seen.get("cachedTokens") != 0 || seen.get("rows") == 0 || seen.get("prefill") == 0 {
		t.Errorf("%v", seen)
	}
}

// TestRunningCountsRequests: choices of a request are not counted one by one.
func TestRunningCountsRequests(t *testing.T) {
	h := newHarness(t, enginetest.Options{Sequences: 4}, Config{})
	two := ask("two answers", 3)
	two.Choices = 2
	h.put(two)
	h.put(ask("one", 3))
	most := 0
	for h.l.running > 0 || h.l.queue.size > 0 || most == 0 {
		h.turn()
		if h.l.running == 3 {
			most = max(most, h.l.serving)
		}
	}
	if most != 2 || h.l.serving != 0 {
		t.Errorf("%d requests ran at most, want 2; %d are left", most, h.l.serving)
	}
}

func TestUsageOfEOGCountsAsToken(t *testing.T) {
	e, _ := start(t, enginetest.Options{Reply: func(string) string { return "four" }}, Config{})
	a := read(t, submit(t, e, ask("count", 50)))
	if a.text[0] != "four" || a.usage.CompletionTokens != 5 || a.finish[0] != inference.FinishStop {
		t.Errorf("%+v", a)
	}
}
