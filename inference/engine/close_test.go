package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// slow makes every decode take a second of a synctest bubble's time.
func slow(*inference.Batch) error { time.Sleep(time.Second); return nil }

func TestDeadlines(t *testing.T) {
	for _, c := range []struct {
		name string
		conf Config
		set  func(*Request, *context.Context) context.CancelFunc
		want error
		at   time.Duration
	}{
		{"of the request", Config{}, func(r *Request, _ *context.Context) context.CancelFunc {
			r.Deadline = time.Now().Add(5500 * time.Millisecond)
			return nil
		}, inference.ErrDeadline, 5500 * time.Millisecond},
		{"in the past", Config{}, func(r *Request, _ *context.Context) context.CancelFunc {
			r.Deadline = time.Now().Add(-time.Second)
			return nil
		}, inference.ErrDeadline, 0},
		{"of the configuration", Config{Deadline: 3500 * time.Millisecond}, nil, inference.ErrDeadline, 3500 * time.Millisecond},
		{"of the context", Config{}, func(_ *Request, ctx *context.Context) context.CancelFunc {
			var cancel context.CancelFunc
			*ctx, cancel = context.WithTimeout(*ctx, 2500*time.Millisecond)
			return cancel
		}, inference.ErrDeadline, 2500 * time.Millisecond},
		{"cancelled", Config{}, func(_ *Request, ctx *context.Context) context.CancelFunc {
			var cancel context.CancelFunc
			*ctx, cancel = context.WithCancel(*ctx)
			time.AfterFunc(4500*time.Millisecond, cancel)
			return cancel
		}, inference.ErrCancelled, 4500 * time.Millisecond},
	} {
		for _, queued := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, queued %v", c.name, queued), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := enginetest.New(enginetest.Options{Sequences: 1, OnDecode: slow})
					e, err := New(b, c.conf, nil)
					if err != nil {
						t.Fatal(err)
					}
					if queued {
						first := ask("first", 100)
						first.Deadline = time.Now().Add(time.Hour)
						submit(t, e, first)
					}
					r, ctx := ask("x", 100), context.Background()
					if c.set != nil {
						if cancel := c.set(r, &ctx); cancel != nil {
							defer cancel()
						}
					}
					began := time.Now()
					s, err := e.Submit(ctx, r)
					if err != nil {
						t.Fatal(err)
					}
					a := read(t, s)
					if !errors.Is(a.err, c.want) || time.Since(began) != c.at {
						t.Errorf("got %v after %s, want %v after %s", a.err, time.Since(began), c.want, c.at)
					}
					// Its cells are free after the step in flight.
					time.Sleep(1100 * time.Millisecond)
					running := 0
					if queued {
						running = 1
					}
					if st := e.Stats(); st.Running != running || st.Queued != 0 {
						t.Errorf("a step later: %+v", st)
					}
					e.Close()
					checkEmpty(t, e, b)
				})
			})
		}
	}
}

// watched is a context that counts the functions that wait for its end.
type watched struct {
	context.Context
	mu      sync.Mutex
	waiting int
}

func (w *watched) Done() <-chan struct{} { return make(chan struct{}) }

func (w *watched) AfterFunc(func()) func() bool {
	w.mu.Lock()
	w.waiting++
	w.mu.Unlock()
	return func() bool {
		w.mu.Lock()
		w.waiting--
		w.mu.Unlock()
		return true
	}
}

func TestEndedRequestLeavesItsContext(t *testing.T) {
	e, _ := start(t, enginetest.Options{}, Config{})
	ctx := &watched{Context: t.Context()}
	for range 3 {
		s, err := e.Submit(ctx, ask("x", 2))
		if err != nil {
			t.Fatal(err)
		}
		read(t, s)
	}
	if ctx.waiting != 0 {
		t.Errorf("%d ended requests still watch their context", ctx.waiting)
	}
}

func TestStreamCloseFreesWithinOneStep(t *testing.T) {
	h := newHarness(t, enginetest.Options{}, Config{Prefix: PrefixConfig{Off: true}})
	s, stays := h.put(ask("goes", 100)), h.put(ask("stays", 100))
	h.turn()
	s.Close()
	h.take()
	if h.l.running != 1 || h.b.Used() != len("stays")+2 {
		t.Errorf("%d run, %d cells used a step after Close", h.l.running, h.b.Used())
	}
	h.settle()
	if a := read(t, stays); a.err != nil {
		t.Error(a.err)
	}
	h.shut()
}

func TestSubmitWithEndedContext(t *testing.T) {
	e, _ := start(t, enginetest.Options{}, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Submit(ctx, ask("x", 1)); !errors.Is(err, inference.ErrCancelled) {
		t.Errorf("got %v", err)
	}
}

func TestDrainFinishesWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := enginetest.New(enginetest.Options{Sequences: 2, OnDecode: slow})
		e, err := New(b, Config{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var streams []*Stream
		for range 5 {
			streams = append(streams, submit(t, e, ask("x", 4)))
		}
		short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := e.Drain(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a drain that was too short: %v", err)
		}
		_, err = e.Submit(t.Context(), ask("late", 1))
		var retry *inference.RetryError
		if !errors.Is(err, inference.ErrShutdown) || !errors.As(err, &retry) || retry.After <= 0 {
			t.Errorf("submit while draining: %v", err)
		}
		if err := e.Drain(t.Context()); err != nil {
			t.Errorf("drain: %v", err)
		}
		for i, s := range streams {
			if !ended(s) {
				t.Errorf("request %d has not ended after the drain", i)
			}
			if a := read(t, s); a.err != nil || a.usage.CompletionTokens != 4 {
				t.Errorf("request %d: %+v", i, a)
			}
		}
		e.Close()
		checkEmpty(t, e, b)
	})
}

func TestDrainOfAnIdleEngine(t *testing.T) {
	e, _ := start(t, enginetest.Options{}, Config{})
	for range 2 {
		if err := e.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestCloseEndsEverything(t *testing.T) {
	gate := make(chan struct{})
	b := enginetest.New(enginetest.Options{Sequences: 1, OnDecode: func(*inference.Batch) error { <-gate; return nil }})
	e, err := New(b, Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	streams := []*Stream{submit(t, e, ask("runs", 100)), submit(t, e, ask("waits", 100))}
	closed := make(chan struct{})
	go func() {
		e.Close()
		close(closed)
	}()
	for _, s := range streams {
		// Though the backend is stuck in a decode.
		if a := read(t, s); !errors.Is(a.err, inference.ErrShutdown) {
			t.Errorf("got %v", a.err)
		}
	}
	close(gate)
	<-closed
	e.Close()
	checkEmpty(t, e, b)
	if _, err := e.Submit(t.Context(), ask("late", 1)); !errors.Is(err, inference.ErrShutdown) {
		t.Errorf("submit after Close: %v", err)
	}
	if err := e.Drain(t.Context()); err != nil {
		t.Errorf("drain after Close: %v", err)
	}
}

func TestProbe(t *testing.T) {
	b := enginetest.New(enginetest.Options{})
	seen := newCounter()
	e, err := New(b, Config{}, seen)
	if err != nil {
		t.Fatal(err)
	}
	if s := e.Stats(); !s.LastToken.IsZero() {
		t.Errorf("%+v", s)
	}
	if err := e.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if s := e.Stats(); s.LastToken.IsZero() && s.Steps == 0 {
		t.Errorf("%+v", s)
	}
	e.Close()
	checkEmpty(t, e, b)
	for name := range seen.counts {
		switch name {
		case "queued", "used", "reserved", "cached", "total", "steps", "rows", "prefill":
		default:
			t.Errorf("a probe was counted: %v", seen)
		}
	}
}

func TestProbeTellsOfAFrozenBackend(t *testing.T) {
	gate := make(chan struct{})
	e, _ := start(t, enginetest.Options{OnDecode: func(*inference.Batch) error { <-gate; return nil }}, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := e.Probe(ctx); !errors.Is(err, inference.ErrDeadline) {
		t.Errorf("got %v", err)
	}
	close(gate)
}

// TestClientsThatHangUp lets many clients come and go at the same time as they
// like, for the race detector and for what they leave behind.
func TestClientsThatHangUp(t *testing.T) {
	for name, o := range layouts {
		t.Run(name, func(t *testing.T) {
			o.Quiet, o.EOGEvery = true, 50
			e, b := start(t, o, Config{Queue: 1000, Reserve: 30})
			var wg sync.WaitGroup
			for i := range 200 {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(i), 1))
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					r := ask(system[:rng.IntN(200)+1]+fmt.Sprint(i%7), rng.IntN(2)*100)
					r.Choices = 1 + rng.IntN(3)
					r.Caller.Principal = fmt.Sprint(i % 5)
					s, err := e.Submit(ctx, r)
					if err != nil {
						t.Error(err)
						return
					}
					for range rng.IntN(40) {
						if _, err := s.Next(context.Background()); err != nil {
							break
						}
					}
					switch rng.IntN(3) {
					case 0:
						s.Close()
					case 1:
						cancel()
					default:
						if a := drainStream(s); a != nil && !errors.Is(a, inference.ErrCancelled) {
							t.Error(a)
						}
					}
				})
			}
			wg.Wait()
			if err := e.Drain(context.Background()); err != nil {
				t.Error(err)
			}
			if s := e.Stats(); s.Queued != 0 {
				t.Errorf("%+v", s)
			}
			if open, twice := b.OpenSamplers(); open != 0 || twice != 0 {
				t.Errorf("%d samplers open, %d closed twice", open, twice)
			}
		})
	}
}

// drainStream reads a stream to its end and returns the error of one that ended badly.
func drainStream(s *Stream) error {
	for {
		if _, err := s.Next(context.Background()); err != nil {
			if err.Error() == "EOF" {
				return nil
			}
			return err
		}
	}
}
