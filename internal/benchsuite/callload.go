package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"
)

// callCommand is the argument that makes this program a load generator of calls.
const callCommand = "call"

// callJob is what it is told on its standard input.
type callJob struct {
	URL     string        `json:"url"`
	Tool    string        `json:"tool"`
	Clients int           `json:"clients"`
	Warm    time.Duration `json:"warm_ns"` // before anything is counted
	For     time.Duration `json:"for_ns"`
}

// callResult is what it found: times of whole calls, from the first byte of the
// request out to the last byte of the answer in.
type callResult struct {
	Calls   int     `json:"calls"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	Max     float64 `json:"max_us"`
	// Answer is the result that every call had, byte for byte.
	Answer json.RawMessage `json:"answer"`
}

// runCalls is the child process: one job in, one result out.
func runCalls(ctx context.Context, in io.Reader, out io.Writer) error {
	var j callJob
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return fmt.Errorf("decode job: %w", err)
	}
	r, err := j.run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

// run has all clients call, each as soon as it has its last answer.
func (j *callJob) run(ctx context.Context) (*callResult, error) {
	clients := make([]*callClient, j.Clients)
	for i := range clients {
		c, err := dialMCP(j.URL)
		if err != nil {
			return nil, err
		}
		defer c.close()
		c.ready(j.Tool)
		clients[i] = c
	}
	// The one answer that all others are held against.
	if _, err := clients[0].call(); err != nil {
		return nil, err
	}
	want := slices.Clone(clients[0].body)
	id, err := idAt(want)
	if err != nil {
		return nil, err
	}
	begin := time.Now().Add(j.Warm)
	end := begin.Add(j.For)
	times := make([][]time.Duration, len(clients))
	failed := make([]error, len(clients))
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() { times[i], failed[i] = c.repeat(ctx, want, id, begin, end) })
	}
	all.Wait()
	for _, err := range failed {
		if err != nil {
			return nil, err // the first says it: what goes wrong does so for all
		}
	}
	every := slices.Concat(times...)
	if len(every) == 0 {
		return nil, errors.New("no call ended in the time")
	}
	slices.Sort(every)
	at := func(p int) float64 { return float64(every[(len(every)-1)*p/100].Nanoseconds()) / 1000 }
	r := &callResult{Calls: len(every), Seconds: j.For.Seconds(), P50: at(50), P99: at(99), Max: at(100)}
	var answer struct {
		Result json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(want, &answer); err != nil || answer.Result == nil {
		return nil, fmt.Errorf("a call had no result: %.300s", want)
	}
	r.Answer = answer.Result
	return r, nil
}

// repeat calls until end and returns the times of the calls that lie in the window.
// Every answer is want, with the id of its own call.
func (c *callClient) repeat(ctx context.Context, want []byte, id int, begin, end time.Time) (times []time.Duration, err error) {
	digits := len(strconv.Itoa(firstID))
	var own []byte
	for ctx.Err() == nil {
		own = strconv.AppendInt(own[:0], int64(c.next), 10)
		took, err := c.call()
		if err != nil {
			return nil, err
		}
		if len(c.body) != len(want) || !bytes.Equal(c.body[id:id+digits], own) ||
			!bytes.Equal(c.body[:id], want[:id]) || !bytes.Equal(c.body[id+digits:], want[id+digits:]) {
			return nil, fmt.Errorf("two calls have different answers: %.300s, and %.300s", want, c.body)
		}
		now := time.Now()
		if now.After(end) {
			return times, nil
		}
		if !now.Add(-took).Before(begin) {
			times = append(times, took)
		}
	}
	return nil, ctx.Err()
}
