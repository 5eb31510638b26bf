package residency

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"hearth/inference"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a model that only says who it is, and notices use after Close.
type fake struct {
	inference.Model
	id      string
	drained atomic.Int32
	closed  atomic.Int32
	events  *events
}

// events is what happened, in order.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) add(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, fmt.Sprintf(format, args...))
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.all, ", ")
}

func (f *fake) Info() inference.ModelInfo {
	return inference.ModelInfo{ID: f.id, Context: 4096}
}

func (f *fake) Drain(context.Context) { f.drained.Add(1) }

func (f *fake) Close() error {
	f.events.add("close %s", f.id)
	if f.closed.Add(1) > 1 {
		return errors.New("closed twice")
	}
	return nil
}

// specs returns one spec for each id; load of an id waits for its gate, if it has one.
func specs(ev *events, gates map[string]chan error, ids ...string) []Spec {
	var all []Spec
	for _, id := range ids {
		all = append(all, Spec{ID: id, Path: "/m/" + id, Load: func(ctx context.Context, progress func(float32)) (Loaded, error) {
			ev.add("load %s", id)
			progress(0.5)
			if gate := gates[id]; gate != nil {
				select {
				case err := <-gate:
					if err != nil {
						return nil, err
					}
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			return &fake{id: id, events: ev}, nil
		}})
	}
	return all
}

func states(r *Residency) string {
	var all []string
	for _, s := range r.List() {
		all = append(all, fmt.Sprintf("%s:%s:%.1f", s.Info.ID, s.State, s.Progress))
	}
	return strings.Join(all, " ")
}

func TestLoadsInOrderAndAnswersMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ev := &events{}
		gates := map[string]chan error{"a": make(chan error), "b": make(chan error), "c": nil}
		var changes events
		r, err := New(t.Context(), specs(ev, gates, "a", "b", "c"), func(s inference.ModelStatus) { changes.add("%s %s", s.Info.ID, s.State) })
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := states(r); got != "a:loading:0.5 b:loading:0.0 c:loading:0.0" {
			t.Errorf("states %s", got)
		}
		_, err = r.Acquire(t.Context(), "a")
		if s := inference.Classify(err); !errors.Is(err, inference.ErrLoading) || s.HTTP != 503 || s.RetryAfter != 2*time.Second || !strings.Contains(s.Message, "50 %") {
			t.Errorf("while it loads: %v, %+v", err, s)
		}
		gates["a"] <- nil
		if err := r.Wait(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		lease, err := r.Acquire(t.Context(), "")
		if err != nil || lease.Info().ID != "a" {
			t.Fatalf("the empty id: %v, %v", lease, err)
		}
		defer lease.Release()
		gates["b"] <- errors.New("no such file")
		if err := r.Wait(t.Context(), "b"); err == nil || err.Error() != "no such file" {
			t.Errorf("Wait for the broken one: %v", err)
		}
		_, err = r.Acquire(t.Context(), "b")
		if s := inference.Classify(err); s.HTTP != 500 || strings.Contains(s.Message, "no such file") {
			t.Errorf("the broken one: %v", err)
		}
		if err := r.Wait(t.Context(), "c"); err != nil {
			t.Error(err)
		}
		if got := states(r); got != "a:ready:1.0 b:failed:0.5 c:ready:1.0" {
			t.Errorf("states %s", got)
		}
		if got := changes.String(); got != "a ready, b failed, c ready" {
			t.Errorf("changes %s", got)
		}
		_, err = r.Acquire(t.Context(), "d")
		var missing *inference.ModelError
		if !errors.As(err, &missing) || strings.Join(missing.Served, " ") != "a b c" {
			t.Errorf("an unknown id: %v", err)
		}
		lease.Release()
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := ev.String(); got != "load a, load b, load c, close c, close a" {
			t.Errorf("events %s", got)
		}
		if _, err := r.Acquire(t.Context(), "a"); !errors.Is(err, inference.ErrShutdown) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestCloseWaitsForTheLastLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ev := &events{}
		r, err := New(t.Context(), specs(ev, nil, "a"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Wait(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		one, _ := r.Acquire(t.Context(), "a")
		two, _ := r.Acquire(t.Context(), "a")
		one.Release()
		one.Release() // does nothing: two still holds the model

		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Close(short); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 requests") {
			t.Errorf("Close with a lease out: %v", err)
		}
		if strings.Contains(ev.String(), "close") {
			t.Fatal("closed under a lease")
		}
		done := make(chan error)
		go func() { done <- r.Close(t.Context()) }()
		synctest.Wait()
		two.Release()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("a second Close: %v", err)
		}
		if got := ev.String(); got != "load a, close a" {
			t.Errorf("events %s", got)
		}
	})
}

func TestCloseStopsLoading(t *testing.T) {
	ev := &events{}
	gates := map[string]chan error{"a": make(chan error)}
	r, err := New(t.Context(), specs(ev, gates, "a", "b"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"a", "b"} {
		if err := r.Wait(t.Context(), id); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if strings.Contains(ev.String(), "load b") {
		t.Errorf("events %s", ev)
	}
}

func TestEqualIDs(t *testing.T) {
	if _, err := New(t.Context(), specs(&events{}, nil, "a", "a"), nil); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("got %v", err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	gates := map[string]chan error{"a": make(chan error)}
	r, err := New(t.Context(), specs(&events{}, gates, "a"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Wait(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := r.Wait(ctx, "zzz"); !errors.Is(err, inference.ErrModelNotFound) {
		t.Errorf("got %v", err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLeasesUnderLoad acquires and releases from many goroutines while the
// models load and are closed: each model is closed once, and never under a lease.
func TestLeasesUnderLoad(t *testing.T) {
	ev := &events{}
	ids := []string{"a", "b", "c"}
	r, err := New(t.Context(), specs(ev, nil, ids...), nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	started := make(chan struct{}, 1)
	for i := range 32 {
		wg.Go(func() {
			for {
				l, err := r.Acquire(t.Context(), ids[i%len(ids)])
				switch {
				case errors.Is(err, inference.ErrShutdown):
					return
				case errors.Is(err, inference.ErrLoading):
					continue
				case err != nil:
					t.Error(err)
					return
				}
				select {
				case started <- struct{}{}:
				default:
				}
				m := l.(*lease).Model.(*fake)
				if m.closed.Load() != 0 {
					t.Error("leased after Close")
				}
				l.Release()
			}
		})
	}
	<-started
	for _, id := range ids {
		if err := r.Wait(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if got := ev.String(); !strings.HasSuffix(got, "close c, close b, close a") {
		t.Errorf("events %s", got)
	}
}
