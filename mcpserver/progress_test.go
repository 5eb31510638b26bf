package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// numbered returns n different pieces of text.
func numbered(n int) []string {
	pieces := make([]string, n)
	for i := range pieces {
		pieces[i] = fmt.Sprintf("w%d ", i)
	}
	return pieces
}

// verify holds the notifications of one call to the promise: every piece of
// text is there, once, in order, before the result, under growing numbers.
func verify(notes []rpc, token, text string) error {
	var joined strings.Builder
	last := 0.0
	for i, n := range notes {
		if n.Method != "notifications/progress" || string(n.Params.ProgressToken) != token {
			return fmt.Errorf("notification %d: %+v, want progress of %s", i, n, token)
		}
		if n.Params.Progress <= last {
			return fmt.Errorf("notification %d: progress %g after %g", i, n.Params.Progress, last)
		}
		last = n.Params.Progress
		joined.WriteString(n.Params.Message)
	}
	if joined.String() != text {
		return fmt.Errorf("the notifications say %q, the result %q", joined.String(), text)
	}
	return nil
}

// TestNoProgressIsLost makes 200 calls in each protocol era, 8 at a time in one
// session, with as many notifications as there are pieces of text.
func TestNoProgressIsLost(t *testing.T) {
	const calls, atATime, pieces = 200, 8, 150 // more than mcp-go's channel holds
	want := numbered(pieces)
	text := strings.Join(want, "")
	eras(t, func(t *testing.T, version string) {
		s := newEagerServer(t, saying(want...)) // no coalescing: a burst of notifications
		p := connect(t, serve(t, s), version)
		one := func(i int) error {
			body, h := p.request(strconv.Itoa(i), "tools/call", `"name":"chat","arguments":{"prompt":"x"}`, fmt.Sprintf(`"progressToken":"p%d"`, i))
			r, err := p.try(context.Background(), body, h)
			if err != nil {
				return err
			}
			all, err := messages(r)
			if err != nil {
				return err
			}
			if len(all) != pieces+1 {
				return fmt.Errorf("%d messages, want %d", len(all), pieces+1)
			}
			last := all[pieces]
			var got toolResult
			if err := json.Unmarshal(last.Result, &got); err != nil || string(last.ID) != strconv.Itoa(i) {
				return fmt.Errorf("the last message is %+v (%w)", last, err)
			}
			if got.Content[0].Text != text || got.StructuredContent.Text != text {
				return fmt.Errorf("text %q", got.Content[0].Text)
			}
			return verify(all[:pieces], fmt.Sprintf("%q", "p"+strconv.Itoa(i)), text)
		}
		todo := make(chan int)
		var workers sync.WaitGroup
		for range atATime {
			workers.Go(func() {
				for i := range todo {
					if err := one(i); err != nil {
						t.Errorf("call %d: %v", i, err)
					}
				}
			})
		}
		for i := range calls {
			todo <- i
		}
		close(todo)
		workers.Wait()
	})
}

// TestProgressOnlyOnRequest: without a token, or where the client takes no
// stream, the answer is one document.
func TestProgressOnlyOnRequest(t *testing.T) {
	s := newEagerServer(t, saying("a", "b"))
	p := connect(t, serve(t, s), modern)
	if notes, r := p.call("1", "tools/call", `"name":"chat","arguments":{"prompt":"x"}`, ""); len(notes) != 0 || r.tool(t).Content[0].Text != "ab" {
		t.Errorf("without a token: %d notifications, %+v", len(notes), r)
	}
	body, h := p.request("2", "tools/call", `"name":"chat","arguments":{"prompt":"x"}`, `"progressToken":1`)
	for accept, want := range map[string]int{
		"application/json": 1, "application/json, text/event-stream;q=0": 1, "*/*": 3, "text/event-stream": 3,
	} {
		h.Set("Accept", accept)
		if all := read(t, p.post(context.Background(), body, h)); len(all) != want {
			t.Errorf("Accept %q: %d messages, want %d", accept, len(all), want)
		}
	}
	p.client.CloseIdleConnections()
}

// paced is a stream whose events come at given times.
type paced struct {
	events []inference.Event
	gaps   []time.Duration
	err    error
	i      int
	due    time.Time
}

func (s *paced) Next(ctx context.Context) (inference.Event, error) {
	if s.i == len(s.events) {
		return inference.Event{}, s.err
	}
	if s.due.IsZero() {
		s.due = time.Now().Add(s.gaps[s.i])
	}
	select {
	case <-time.After(time.Until(s.due)):
	case <-ctx.Done():
		return inference.Event{}, ctx.Err()
	}
	s.due = time.Time{}
	s.i++
	return s.events[s.i-1], nil
}

func (s *paced) Close() error { return nil }

// TestCoalescing runs on synctest's clock: times are exact.
func TestCoalescing(t *testing.T) {
	const every = 33 * time.Millisecond
	at := func(ms int, progress float64, text string) string {
		return fmt.Sprintf("%dms %g %q", ms, progress, text)
	}
	fill := func(n int, gap time.Duration) (g []time.Duration) {
		for range n {
			g = append(g, gap)
		}
		return g
	}
	prefill := func(n int) inference.Event {
		return inference.Event{Kind: inference.EventProgress, Progress: inference.Progress{Prefilled: n, Prompt: 100}}
	}
	thought := inference.Event{Kind: inference.EventDelta, Reasoning: "hm"}
	for _, c := range []struct {
		name   string
		events []inference.Event
		gaps   []time.Duration
		err    error
		want   []string
	}{
		{
			"the first at once, the rest together", tokens("a", "b", "c"), fill(5, time.Millisecond), io.EOF,
			[]string{at(1, 1, "a"), at(5, 3, "bc")},
		},
		{
			"text is not held for the next token", tokens("a", "b", "c"),
			[]time.Duration{0, time.Millisecond, time.Second, 0, 0},
			io.EOF,
			[]string{at(0, 1, "a"), at(33, 2, "b"), at(1001, 3, "c")},
		},
		{
			"a steady rate", tokens("a", "b", "c", "d", "e", "f"), fill(8, 20*time.Millisecond), io.EOF,
			[]string{at(20, 1, "a"), at(53, 2, "b"), at(86, 4, "cd"), at(119, 5, "e"), at(152, 6, "f")},
		},
		{
			"prefill, below 1", append([]inference.Event{prefill(10), prefill(10), prefill(100)}, tokens("a")...), fill(6, 40*time.Millisecond), io.EOF,
			[]string{at(40, 0.099, ""), at(120, 0.99, ""), at(160, 1, "a")},
		},
		{
			"thinking counts, and is no text", append([]inference.Event{thought, thought}, tokens("a")...), fill(5, 40*time.Millisecond), io.EOF,
			[]string{at(40, 1, ""), at(80, 2, ""), at(120, 3, "a")},
		},
		{
			"the last one tells the true number of tokens", append(tokens("a", "b")[:3], inference.Event{Kind: inference.EventUsage, Usage: inference.Usage{CompletionTokens: 9}}), fill(4, 0), io.EOF,
			[]string{at(0, 1, "a"), at(0, 9, "b")},
		},
		{
			"what there is goes out before a failure", tokens("a", "b")[:2], fill(2, 0), inference.ErrEngine,
			[]string{at(0, 1, "a"), at(0, 2, "b")},
		},
		{
			"a stream that ran into its own deadline", tokens("a", "b")[:2], fill(2, 0), fmt.Errorf("%w (%w)", inference.ErrDeadline, context.DeadlineExceeded),
			[]string{at(0, 1, "a"), at(0, 2, "b")},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var got []string
				p := &progress{every: every, send: func(n router.Progress) {
					got = append(got, at(int(time.Since(start).Milliseconds()), n.Progress, n.Message))
				}}
				_, err := collect(t.Context(), &paced{events: c.events, gaps: c.gaps, err: c.err}, p)
				if c.err != io.EOF && !errors.Is(err, c.err) || c.err == io.EOF && err != nil {
					t.Errorf("error %v", err)
				}
				if fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("got  %v\nwant %v", got, c.want)
				}
			})
		})
	}
}

// TestGoneClientEndsTheCall: a notification that cannot be written closes the stream.
func TestGoneClientEndsTheCall(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	p := &progress{send: func(router.Progress) { cancel(errors.Join(inference.ErrCancelled, io.ErrClosedPipe)) }}
	_, err := collect(ctx, &paced{events: tokens("a", "b"), gaps: make([]time.Duration, 4), err: io.EOF}, p)
	if !errors.Is(err, inference.ErrCancelled) || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}
