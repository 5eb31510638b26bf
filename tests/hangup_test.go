package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
)

// TestThousandHangUps lets clients go away at random tokens: before the answer
// began, in the middle, right at the end. Nothing of them may remain.
func TestThousandHangUps(t *testing.T) {
	const clients, together, tokens = 1000, 24, 8
	hearth := startHearth(t)
	one := func(seed int) map[string]any {
		return map[string]any{"prompt": fmt.Sprintf("Number %d is", seed), "max_tokens": tokens, "temperature": 0, "stream": true}
	}
	// What a served request leaves behind for good (pools, caches) is there first.
	res := hearth.send(t.Context(), "/v1/completions", one(0))
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("the first request: %s, %v", res.Status, err)
	}
	res.Body.Close()
	settle(hearth)
	before := hearth.metrics()

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	next := make(chan int)
	var mu sync.Mutex
	refused := map[int]int{}
	for range together {
		wg.Go(func() {
			for i := range next {
				// The transport is this client's own: closing the body closes the
				// connection, which is what a client that dies does.
				rng := rand.New(rand.NewPCG(seed, uint64(i)))
				if status := hangUp(t, hearth, one(i), rng.IntN(tokens+3)-1); status != http.StatusOK && status != 0 {
					mu.Lock()
					refused[status]++
					mu.Unlock()
				}
			}
		})
	}
	for i := range clients {
		next <- i
	}
	close(next)
	wg.Wait()
	if len(refused) > 0 {
		t.Errorf("requests were refused, by status: %v", refused)
	}

	settle(hearth)
	hearth.eventually("its goroutines are as many as before", func() bool {
		return hearth.metrics()["go_goroutines"] <= before["go_goroutines"]
	})
	// And it serves on, with every sequence at the same time.
	var answer struct {
		Choices []struct {
			Text string `json:"text"`
		} `json:"choices"`
	}
	body := one(1)
	body["stream"], body["n"], body["temperature"] = false, 8, 1
	hearth.post("/v1/completions", body, &answer)
	if len(answer.Choices) != 8 {
		t.Errorf("after the hang-ups a request for 8 choices got %d", len(answer.Choices))
	}
}

// hangUp sends a request and goes away after that many pieces; -1: before any
// answer. It returns the status, 0 if it did not wait for one.
func hangUp(t *testing.T, p *process, body map[string]any, after int) int {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Error(err)
		return 0
	}
	sent := io.Reader(bytes.NewReader(raw))
	if after < 0 {
		sent = &lastRead{Reader: sent, then: cancel}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/v1/completions", sent)
	if err != nil {
		t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		if after >= 0 {
			t.Errorf("a client was not answered: %v", err)
		}
		return 0
	}
	defer res.Body.Close()
	seen := 0
	// A stream that breaks off because this client did is what is tested.
	_ = pieces(res.Body, func(string) bool {
		seen++
		return seen <= after
	})
	return res.StatusCode
}

// lastRead calls then when everything was read: the request is out, the answer
// is not in.
type lastRead struct {
	io.Reader
	then func()
}

func (r *lastRead) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		r.then()
	}
	return n, err
}

// settle waits until nothing runs, nothing waits, and no cell is used by or
// promised to a request; those of the prefix cache may stay.
func settle(p *process) {
	p.t.Helper()
	p.eventually("all requests and their cells are gone", func() bool {
		m := p.metrics()
		return metric(p.t, m, "hearth_requests_running") == 0 && metric(p.t, m, "hearth_requests_queued") == 0 &&
			metric(p.t, m, "hearth_kv_cells", `state="reserved"`) == 0 && metric(p.t, m, "hearth_kv_cells", `state="used"`) == 0
	})
}
