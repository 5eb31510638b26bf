package embed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"hearth/inference"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a Backend that checks every rule of the border. The vector of an input
// is its tokens' sum and its length.
type fake struct {
	t      testing.TB
	traits inference.EmbedTraits
	gate   chan struct{} // not nil: each call takes one from it, or is aborted
	calls  chan [][]int32
	fail   error

	mu      sync.Mutex
	aborted chan struct{} // of the call that is running
	batches [][][]int32
}

func newFake(t testing.TB) *fake {
	return &fake{t: t, traits: inference.EmbedTraits{Batch: 16, Sequences: 4, MaxTokens: 12, Width: 2, Vocabulary: 100, Pooling: inference.PoolingMean}}
}

func (f *fake) Traits() inference.EmbedTraits { return f.traits }

func (f *fake) Abort() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.aborted != nil {
		close(f.aborted)
		f.aborted = nil
	}
}

func (f *fake) Embed(inputs [][]int32) ([][]float32, error) {
	f.mu.Lock()
	if f.aborted != nil {
		f.t.Error("two calls at once")
	}
	aborted := make(chan struct{})
	f.aborted = aborted
	f.batches = append(f.batches, slices.Clone(inputs))
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.aborted = nil
		f.mu.Unlock()
	}()
	total := 0
	for _, in := range inputs {
		if total += len(in); len(in) == 0 || len(in) > f.traits.MaxTokens {
			f.t.Errorf("an input of %d tokens", len(in))
		}
	}
	if len(inputs) == 0 || len(inputs) > f.traits.Sequences || total > f.traits.Batch {
		f.t.Errorf("a batch of %d inputs and %d tokens", len(inputs), total)
	}
	if f.calls != nil {
		f.calls <- slices.Clone(inputs)
	}
	if f.gate != nil {
		select {
		case <-f.gate:
		case <-aborted:
			return nil, inference.ErrAborted
		}
	}
	if f.fail != nil {
		return nil, f.fail
	}
	var out [][]float32
	for _, in := range inputs {
		out = append(out, vectorOf(in))
	}
	return out, nil
}

func vectorOf(in []int32) []float32 {
	var sum float32
	for _, t := range in {
		sum += float32(t)
	}
	return []float32{sum, float32(len(in))}
}

func start(t testing.TB, f *fake, mut func(*Config)) *Worker {
	t.Helper()
	cfg := DefaultConfig()
	if mut != nil {
		mut(&cfg)
	}
	w, err := New(f, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// TestManyRequests is the property: whoever asks for what at the same time, and
// whoever gives up, each gets the vectors of its own inputs or one error.
func TestManyRequests(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		f := newFake(t)
		w := start(t, f, func(c *Config) { c.Fill = 1 + int(seed)*3; c.Queue = inference.MaxEmbedInputs })
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, uint64(g)))
				for range 30 {
					inputs := make([][]int32, 1+rnd.IntN(9))
					for i := range inputs {
						inputs[i] = make([]int32, 1+rnd.IntN(f.traits.MaxTokens))
						for k := range inputs[i] {
							inputs[i][k] = rnd.Int32N(100)
						}
					}
					ctx, cancel := context.WithCancel(t.Context())
					gaveUp := rnd.IntN(4) == 0
					if gaveUp {
						go cancel()
					}
					vectors, err := w.Embed(ctx, fmt.Sprint("principal ", g%3), inputs)
					cancel()
					switch {
					case err == nil:
						for i := range inputs {
							if !slices.Equal(vectors[i], vectorOf(inputs[i])) {
								t.Errorf("input %d of %d has the vector %v, want %v", i, len(inputs), vectors[i], vectorOf(inputs[i]))
							}
						}
					case !gaveUp || !errors.Is(err, inference.ErrCancelled):
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		w.mu.Lock()
		if w.queue.size != 0 || len(w.queue.lanes) != 0 || len(w.open) != 0 {
			t.Errorf("left over: %d inputs, %d principals, %d requests", w.queue.size, len(w.queue.lanes), len(w.open))
		}
		w.mu.Unlock()
	}
}

// occupied returns a worker whose backend is in the middle of a call; release
// lets that and all others go on.
func occupied(t *testing.T, mut func(*Config)) (w *Worker, f *fake, release func(), first chan error) {
	t.Helper()
	f = newFake(t)
	f.gate, f.calls = make(chan struct{}), make(chan [][]int32, 4*inference.MaxEmbedInputs)
	w = start(t, f, mut)
	first = make(chan error, 1)
	go func() {
		_, err := w.Embed(context.Background(), "first", [][]int32{{1}})
		first <- err
	}()
	<-f.calls
	return w, f, sync.OnceFunc(func() { close(f.gate) }), first
}

// waiting starts a request and returns when it waits.
func waiting(t *testing.T, w *Worker, ctx context.Context, principal string, inputs ...[]int32) chan error {
	t.Helper()
	w.mu.Lock()
	before := w.queue.size
	w.mu.Unlock()
	end := make(chan error, 1)
	go func() {
		_, err := w.Embed(ctx, principal, inputs)
		end <- err
	}()
	for {
		w.mu.Lock()
		n := w.queue.size
		w.mu.Unlock()
		if n == before+len(inputs) {
			return end
		}
		runtime.Gosched()
	}
}

func TestPrincipalsTakeTurns(t *testing.T) {
	t.Parallel()
	w, f, release, first := occupied(t, func(c *Config) { c.Fill = 2 })
	a := waiting(t, w, t.Context(), "a", []int32{10}, []int32{11}, []int32{12}, []int32{13})
	b := waiting(t, w, t.Context(), "b", []int32{20}, []int32{21})
	release()
	for _, end := range []chan error{first, a, b} {
		if err := <-end; err != nil {
			t.Error(err)
		}
	}
	want := [][][]int32{{{1}}, {{10}, {20}}, {{11}, {21}}, {{12}, {13}}}
	if !slices.EqualFunc(f.batches, want, func(x, y [][]int32) bool { return slices.EqualFunc(x, y, slices.Equal) }) {
		t.Errorf("batches %v, want %v", f.batches, want)
	}
}

func TestBatchesKeepTheirBounds(t *testing.T) {
	t.Parallel()
	w, f, release, first := occupied(t, func(c *Config) { c.Fill = 5 })
	long := make([]int32, 12)
	a := waiting(t, w, t.Context(), "a", long, []int32{1, 2, 3}, []int32{4, 5}, []int32{6}, []int32{7}, []int32{8}, []int32{9}, []int32{9})
	release()
	for _, end := range []chan error{first, a} {
		if err := <-end; err != nil {
			t.Error(err)
		}
	}
	var sizes []int
	for _, b := range f.batches[1:] {
		sizes = append(sizes, len(b))
	}
	// more than Fill alone; two to Fill; as many as there are sequences; the rest
	if want := []int{1, 2, 4, 1}; !slices.Equal(sizes, want) {
		t.Errorf("batches of %v inputs, want %v", sizes, want)
	}
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	w, _, release, first := occupied(t, func(c *Config) { c.Queue = inference.MaxEmbedInputs })
	full := make([][]int32, inference.MaxEmbedInputs)
	for i := range full {
		full[i] = []int32{1}
	}
	a := waiting(t, w, t.Context(), "a", full...)
	_, err := w.Embed(t.Context(), "b", [][]int32{{1}})
	status := inference.Classify(err)
	if status.HTTP != 429 || status.RetryAfter <= 0 {
		t.Errorf("a full queue gives %v (%+v)", err, status)
	}
	release()
	if err := errors.Join(<-first, <-a); err != nil {
		t.Error(err)
	}
}

func TestCancelWhileWaiting(t *testing.T) {
	t.Parallel()
	w, f, release, first := occupied(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	a := waiting(t, w, ctx, "a", []int32{1}, []int32{2})
	b := waiting(t, w, t.Context(), "a", []int32{3})
	cancel()
	if err := <-a; !errors.Is(err, inference.ErrCancelled) {
		t.Errorf("cancelled: %v", err)
	}
	release()
	if err := errors.Join(<-first, <-b); err != nil {
		t.Error(err)
	}
	if n := len(f.batches); n != 2 || len(f.batches[1]) != 1 {
		t.Errorf("batches %v: the cancelled inputs were computed", f.batches)
	}
}

// TestCancelWhileComputing: the batch is aborted, because nobody waits for it.
func TestCancelWhileComputing(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.gate, f.calls = make(chan struct{}), make(chan [][]int32, 1)
	w := start(t, f, nil)
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() {
		_, err := w.Embed(ctx, "a", [][]int32{{1}})
		end <- err
	}()
	<-f.calls
	cancel()
	if err := <-end; !errors.Is(err, inference.ErrCancelled) {
		t.Errorf("cancelled: %v", err)
	}
	go func() { f.gate <- struct{}{} }() // would block if the first call had taken it
	if v, err := w.Embed(t.Context(), "a", [][]int32{{2}}); err != nil || !slices.Equal(v[0], vectorOf([]int32{2})) {
		t.Errorf("afterwards: %v %v", v, err)
	}
}

func TestFailureEndsTheBatchOnly(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.fail = inference.ErrDecodeFatal
	w := start(t, f, nil)
	if _, err := w.Embed(t.Context(), "a", [][]int32{{1}}); !errors.Is(err, inference.ErrEngine) || inference.Classify(err).HTTP != 500 {
		t.Errorf("a failed batch gives %v", err)
	}
	w.mu.Lock()
	f.fail = nil
	w.mu.Unlock()
	if _, err := w.Embed(t.Context(), "a", [][]int32{{1}}); err != nil {
		t.Errorf("the next gives %v", err)
	}
}

func TestRefusesWhatTheBackendWould(t *testing.T) {
	t.Parallel()
	w := start(t, newFake(t), nil)
	for name, inputs := range map[string][][]int32{
		"none": nil, "too many": make([][]int32, inference.MaxEmbedInputs+1), "empty": {{}}, "too long": {make([]int32, 13)},
		"token too high": {{100}}, "negative token": {{-1}},
	} {
		if _, err := w.Embed(t.Context(), "a", inputs); !errors.Is(err, inference.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Embed(ended, "a", [][]int32{{1}}); !errors.Is(err, inference.ErrCancelled) {
		t.Errorf("an ended context: %v", err)
	}
}

func TestDrainWaitsAndRefuses(t *testing.T) {
	t.Parallel()
	w, _, release, first := occupied(t, nil)
	a := waiting(t, w, t.Context(), "a", []int32{1})
	drained := make(chan struct{})
	go func() {
		w.Drain(context.Background())
		close(drained)
	}()
	for {
		w.mu.Lock()
		draining := w.draining
		w.mu.Unlock()
		if draining {
			break
		}
		runtime.Gosched()
	}
	if _, err := w.Embed(t.Context(), "b", [][]int32{{1}}); !errors.Is(err, inference.ErrShutdown) {
		t.Errorf("while draining: %v", err)
	}
	release()
	if err := errors.Join(<-first, <-a); err != nil {
		t.Errorf("what ran and waited: %v", err)
	}
	<-drained
}

func TestDrainGivesUp(t *testing.T) {
	t.Parallel()
	w, _, _, first := occupied(t, nil)
	a := waiting(t, w, t.Context(), "a", []int32{1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.Drain(ctx)
	for _, end := range []chan error{first, a} {
		if err := <-end; !errors.Is(err, inference.ErrShutdown) {
			t.Errorf("ended with %v", err)
		}
	}
}

func TestConfigBounds(t *testing.T) {
	for _, c := range []struct {
		field string
		set   func(*Config)
	}{
		{"batch", func(c *Config) { c.Batch = 31 }},
		{"sequences", func(c *Config) { c.Sequences = 257 }},
		{"fill", func(c *Config) { c.Fill = 0 }},
		{"queue", func(c *Config) { c.Queue = inference.MaxEmbedInputs - 1 }},
	} {
		cfg := DefaultConfig()
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		c.set(&cfg)
		var inv *inference.InvalidError
		if _, err := New(newFake(t), cfg, nil); !errors.As(err, &inv) || inv.Field != c.field {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}
