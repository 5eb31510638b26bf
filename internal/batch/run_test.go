package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeServer answers a prompt "say X" by what answer says for X and how often X
// came before.
type fakeServer struct {
	*httptest.Server
	answer func(w http.ResponseWriter, id string, before int)
	mu     sync.Mutex
	asked  map[string]int
	bodies []string
}

func newFakeServer(t *testing.T, answer func(w http.ResponseWriter, id string, before int)) *fakeServer {
	t.Helper()
	s := &fakeServer{answer: answer, asked: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		var body struct{ Prompt string }
		if err := json.Unmarshal(raw, &body); err != nil {
			t.Errorf("the server got %q: %v", raw, err)
		}
		id := strings.TrimPrefix(body.Prompt, "say ")
		s.mu.Lock()
		before := s.asked[id]
		s.asked[id]++
		s.bodies = append(s.bodies, r.URL.Path+" "+string(raw))
		s.mu.Unlock()
		s.answer(w, id, before)
	}))
	t.Cleanup(s.Close)
	return s
}

// times returns how often a request came.
func (s *fakeServer) times(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[id]
}

// good is an answer with three tokens.
func good(w http.ResponseWriter, id string) {
	w.Header().Set("X-Request-Id", "req-"+id)
	fmt.Fprintf(w, `{"choices":[{"text":"<%s>"}],`+"\n"+` "usage":{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}}`, id)
}

// waits collects the pauses that a run would make.
type waits struct {
	mu  sync.Mutex
	all []time.Duration
}

func (w *waits) wait(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, d)
	return ctx.Err()
}

func (s *fakeServer) asker(concurrency int) (*asker, *waits) {
	k := newAsker(Options{Client: s.Client(), Base: s.URL, Concurrency: concurrency, Retries: 3})
	w := &waits{}
	k.wait, k.random = w.wait, func() float64 { return 0.5 }
	return k, w
}

// batchOf opens an input of these ids and the files for its answers.
func batchOf(t *testing.T, ids ...string) (in *Input, r *Results, out, failures string) {
	t.Helper()
	lines := make([]string, len(ids))
	for i, id := range ids {
		lines[i] = request(id)
	}
	in, _ = input(t, lines...)
	out, failures = files(t)
	r, err := OpenResults(in, out, failures)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return in, r, out, failures
}

func TestRunWritesOpenAIsFormat(t *testing.T) {
	s := newFakeServer(t, func(w http.ResponseWriter, id string, _ int) {
		switch id {
		case "bad":
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":{"message":"no","code":"invalid_value"}}`)
		case "proxy":
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, `<html>`)
		default:
			good(w, id)
		}
	})
	in, r, out, failures := batchOf(t, "a", "bad", "proxy")
	k, _ := s.asker(1)
	k.Model = "m"
	var seen []Progress
	k.OnProgress = func(p Progress) { seen = append(seen, p) }
	sum, err := run(t.Context(), in, r, k)
	if err != nil {
		t.Fatal(err)
	}
	sum.Elapsed = 0
	if want := (Summary{Answered: 1, Failed: 2, PromptTokens: 5, CachedTokens: 2, CompletionTokens: 3}); sum != want {
		t.Errorf("got %+v, want %+v", sum, want)
	}
	if seen[0] != (Progress{Total: 3}) || seen[len(seen)-1] != (Progress{Done: 3, Failed: 2, Total: 3}) {
		t.Errorf("progress %+v", seen)
	}
	if want := `/v1/completions {"prompt":"say a","model":"m","service_tier":"flex"}`; s.bodies[0] != want {
		t.Errorf("sent %s, want %s", s.bodies[0], want)
	}
	for path, want := range map[string][]string{
		out: {`","custom_id":"a","response":{"status_code":200,"request_id":"req-a","body":{"choices":[{"text":"<a>"}],"usage":{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}}},"error":null}`},
		failures: {
			`","custom_id":"bad","response":{"status_code":400,"request_id":"","body":{"error":{"message":"no","code":"invalid_value"}}},"error":null}`,
			`","custom_id":"proxy","response":null,"error":{"code":"invalid_answer","message":"the answer, with status 502, is not JSON: \"<html>\""}}`,
		},
	} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := slices.Collect(strings.Lines(string(b)))
		for i, w := range want {
			if len(lines) != len(want) || !strings.HasPrefix(lines[i], linePrefix) || !strings.HasSuffix(lines[i], w+"\n") {
				t.Errorf("%s:\n%s\nwant\n%s", path, b, w)
			}
		}
	}
}

// TestRefusedIsSentAgain after what the server asked for, or after waits that
// double.
func TestRefusedIsSentAgain(t *testing.T) {
	s := newFakeServer(t, func(w http.ResponseWriter, id string, before int) {
		switch before {
		case 0:
			w.Header().Set("Retry-After", "8")
			w.WriteHeader(http.StatusTooManyRequests)
		case 1, 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			good(w, id)
		}
	})
	in, r, out, _ := batchOf(t, "a")
	k, w := s.asker(1)
	if _, err := run(t.Context(), in, r, k); err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{9 * time.Second, 1500 * time.Millisecond, 3 * time.Second}
	if !slices.Equal(w.all, want) || len(written(t, out)) != 1 {
		t.Errorf("waited %v, want %v; written %q", w.all, want, written(t, out))
	}
}

func TestBackoffIsBounded(t *testing.T) {
	k := newAsker(Options{})
	for tries := 1; tries < 200; tries++ {
		if d := k.backoff(tries, 0); d < firstWait/2 || d > longWait {
			t.Fatalf("%d tries: %v", tries, d)
		}
	}
	for text, want := range map[string]time.Duration{"": 0, "5": 5 * time.Second, "-5": 0, "x": 0, "99999999": maxWait, "Mon, 02 Jan 2006 15:04:05 GMT": 0, "Fri, 01 Jan 2999 00:00:00 GMT": maxWait} {
		if d := retryAfter(http.Header{"Retry-After": {text}}); d != want {
			t.Errorf("Retry-After %q: %v, want %v", text, d, want)
		}
	}
}

// TestRunEndsWithoutAServer: a server that refuses for too long or is gone ends
// the run; its request has no line, so that the next run asks it again.
func TestRunEndsWithoutAServer(t *testing.T) {
	for _, c := range []struct {
		name  string
		want  error
		tries int
		fail  func(w http.ResponseWriter)
	}{
		{"refuses", ErrRefused, 4, func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) }},
		{"gone", ErrUnreachable, maxUnreachable, func(http.ResponseWriter) { panic(http.ErrAbortHandler) }},
		{"gone in the middle", ErrUnreachable, maxUnreachable, func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"choices":`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newFakeServer(t, func(w http.ResponseWriter, id string, _ int) {
				if id == "b" {
					c.fail(w)
				}
				good(w, id)
			})
			in, r, out, failures := batchOf(t, "a", "b", "c")
			k, _ := s.asker(1)
			lost := 0
			k.OnLost = func(error) { lost++ }
			sum, err := run(t.Context(), in, r, k)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), `"b"`) {
				t.Errorf("%v, want %v that names the request", err, c.want)
			}
			if gone := errors.Is(c.want, ErrUnreachable); gone != (lost > 0) || (gone && lost != c.tries-1) {
				t.Errorf("told %d times that the server is lost", lost)
			}
			if got := written(t, out); !slices.Equal(got, []string{"a"}) || sum.Answered != 1 || len(written(t, failures)) != 0 || s.times("b") != c.tries {
				t.Errorf("written %q, %+v, b was sent %d times, want %d", got, sum, s.times("b"), c.tries)
			}
		})
	}
}

var errStop = errors.New("stop")

// TestInterruptedRunsAddUp: runs that are interrupted after one, two, three …
// requests write every answer once, and ask nothing again that is written.
func TestInterruptedRunsAddUp(t *testing.T) {
	var all []string
	var lines []string
	for i := range 40 {
		all = append(all, fmt.Sprintf("id %d", i))
		lines = append(lines, request(all[i]))
	}
	in, path := input(t, lines...)
	out, failures := files(t)
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	for round := 1; ; round++ {
		ctx, stop := context.WithCancelCause(t.Context())
		var mu sync.Mutex
		asked, held := 0, written(t, out)
		s := newFakeServer(t, func(w http.ResponseWriter, id string, _ int) {
			mu.Lock()
			defer mu.Unlock()
			if slices.Contains(held, id) {
				t.Errorf("round %d asks %s again", round, id)
			}
			if asked++; asked == round {
				stop(errStop)
			}
			good(w, id)
		})
		in, err := OpenInput(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := OpenResults(in, out, failures)
		if err != nil {
			t.Fatal(err)
		}
		k, _ := s.asker(3)
		_, err = run(ctx, in, r, k)
		stop(nil)
		if cerr := errors.Join(r.Close(), in.Close()); cerr != nil {
			t.Fatal(cerr)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, errStop) || round > len(all) {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	got := written(t, out)
	slices.Sort(got)
	slices.Sort(all)
	if !slices.Equal(got, all) {
		t.Errorf("written %q, want %q", got, all)
	}
}

// TestConcurrency: as many requests are under way as asked for, and no more.
func TestConcurrency(t *testing.T) {
	const n = 4
	var mu sync.Mutex
	running, most := 0, 0
	full := make(chan struct{})
	s := newFakeServer(t, func(w http.ResponseWriter, id string, _ int) {
		mu.Lock()
		running++
		if most = max(most, running); running == n {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		mu.Unlock()
		<-full // the first wait for each other
		mu.Lock()
		running--
		mu.Unlock()
		good(w, id)
	})
	in, r, out, _ := batchOf(t, "a", "b", "c", "d", "e", "f", "g", "h")
	k, _ := s.asker(n)
	if _, err := run(t.Context(), in, r, k); err != nil {
		t.Fatal(err)
	}
	if most != n || len(written(t, out)) != 8 {
		t.Errorf("at most %d at the same time, want %d; written %q", most, n, written(t, out))
	}
	for _, bad := range []int{0, MaxConcurrency + 1} {
		if _, err := Run(t.Context(), in, r, Options{Concurrency: bad}); err == nil {
			t.Errorf("a concurrency of %d was taken", bad)
		}
	}
}

// TestFileThatFails ends the run, and leaves whole lines only.
func TestFileThatFails(t *testing.T) {
	s := newFakeServer(t, func(w http.ResponseWriter, id string, _ int) { good(w, id) })
	in, r, out, _ := batchOf(t, "a", "b", "c")
	if err := r.answers.file.Close(); err != nil {
		t.Fatal(err)
	}
	k, _ := s.asker(2)
	sum, err := run(t.Context(), in, r, k)
	r.answers.file = nil
	if !errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), out) || sum.Answered != 0 || len(written(t, out)) != 0 {
		t.Errorf("%v, %+v, written %q", err, sum, written(t, out))
	}
}
