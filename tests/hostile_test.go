package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"hearth/internal/testkit"
)

// hostileEnv is how many hostile requests are made; hostileSeedEnv repeats a run,
// and hostileFromEnv a part of it: the requests from that number on.
const (
	hostileEnv     = "HEARTH_HOSTILE"
	hostileSeedEnv = "HEARTH_HOSTILE_SEED"
	hostileFromEnv = "HEARTH_HOSTILE_FROM"
)

// TestHostileRequests sends generated requests that no honest client makes
// (schemas, grammars, token ids, lengths, parameters, broken JSON) through every
// route that reads a body, and every tool, of a running server. Each gets an answer
// with a status, none of them is a failure of the engine, and the process lives and
// serves afterwards.
func TestHostileRequests(t *testing.T) {
	const together = 6
	total, seed := testkit.Number(t, hostileEnv, 500), testkit.Number(t, hostileSeedEnv, rand.Uint64())
	from := testkit.Number(t, hostileFromEnv, 0)
	t.Logf("%s=%d %s=%d %s=%d", hostileEnv, total, hostileSeedEnv, seed, hostileFromEnv, from)
	hearth := startServing(t, "--log-level", "error", "--config", writeConfig(t, fmt.Sprintf(`
models:
  - {id: %s, path: %q, lora: [{name: poet, path: %q}, {name: terse, path: %q, scale: 0.5}]}
  - {id: %s, path: %q}
  - {id: %s, path: %q}
engine: {context: 512, trial: {off: true}}
`, hostilePlain, testkit.Model(t), testkit.ModelLoRA(1).Write(t, "poet"), testkit.ModelLoRA(2).Write(t, "terse"),
		hostileVectors, testkit.EmbeddingModel(t), hostileRanks, testkit.RankModel(t))))
	session := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: together}, Timeout: patience}
	defer session.CloseIdleConnections()
	doors := append(routes(t), tools(hearth)...)

	var mu sync.Mutex
	statuses, seen := map[int]int{}, map[string]*tally{otherMethods: {}}
	for i := range doors {
		seen[doors[i].name] = &tally{}
	}
	next := make(chan uint64)
	var wg sync.WaitGroup
	for range together {
		wg.Go(func() {
			for i := range next {
				h := hostile{rand.New(rand.NewPCG(seed, i))}
				r := h.request(doors)
				status, answer, err := knock(t.Context(), session, hearth.url+r.path, r.body)
				mu.Lock()
				statuses[status]++
				if err == nil {
					err = seen[r.door].note(status, answer)
				}
				mu.Unlock()
				if err != nil {
					t.Errorf("request %d, %s: %d, %v\n%.600s\n→ %.600s", i, r.door, status, err, r.body, answer)
				}
			}
		})
	}
	for i := range total {
		next <- from + i
	}
	close(next)
	wg.Wait()
	t.Logf("answers by status: %v", statuses)
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		n := seen[name]
		t.Logf("%-22s %6d served %6d refused", name, n.served, n.refused)
		if total >= 5000 && (n.served == 0 || n.refused == 0) {
			t.Errorf("of the requests to %s some must be refused and some served", name)
		}
	}
	settle(hearth)
	for path, body := range map[string]map[string]any{
		"/v1/completions": {"prompt": "Once", "max_tokens": 2},
		"/v1/embeddings":  {"input": "Once", "model": hostileVectors},
		"/v1/rerank":      {"query": "Once", "documents": []string{"a", "b"}, "model": hostileRanks},
	} {
		var answer struct{ Choices, Data, Results []any }
		hearth.post(path, body, &answer)
		if len(answer.Choices)+len(answer.Data)+len(answer.Results) == 0 {
			t.Errorf("%s does not serve after the hostile requests", path)
		}
	}
}

// otherMethods is the door of messages to /mcp that call no tool.
const otherMethods = "/mcp"

// tally counts the answers of a door.
type tally struct{ served, refused int }

// inside are what an answer says of a failure that no request is to blame for. A
// status that is out already, and those of /mcp, say nothing of it.
var inside = regexp.MustCompile(`"code":\s?(-32603|"internal_error"|"engine_error")|internal error; the server's log|inference engine failed`)

// note counts an answer. It is an error where the server failed.
func (n *tally) note(status int, answer []byte) error {
	switch {
	case status >= http.StatusInternalServerError:
		return errors.New("the server failed")
	case inside.Match(answer):
		return errors.New("the server failed within the answer")
	case status >= http.StatusBadRequest, bytes.Contains(answer, []byte(`"isError":true`)), bytes.Contains(answer, []byte(`"error":{`)):
		n.refused++
	default:
		n.served++
	}
	return nil
}

// knock sends one body and reads the whole answer.
func knock(ctx context.Context, c *http.Client, url string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}

// hostile makes requests.
type hostile struct{ *rand.Rand }

func pick[T any](h hostile, from ...T) T { return from[h.IntN(len(from))] }

// hostileRequest is a request, and the name of its door.
type hostileRequest struct {
	door, path string
	body       []byte
}

// request makes a request to one of the doors.
func (h hostile) request(doors []doorway) hostileRequest {
	d := &doors[h.IntN(len(doors))]
	r := hostileRequest{door: d.name, path: d.name}
	var fields map[string]any
	switch {
	case h.IntN(30) == 0:
		r.door, r.path, fields = otherMethods, "/mcp", h.message()
	case d.tool:
		r.path, fields = "/mcp", h.call(d)
	default:
		fields = h.body(d)
	}
	body, err := json.Marshal(fields)
	if err != nil {
		panic(err) // the generator made what is no JSON: a mistake in it
	}
	if h.IntN(15) == 0 {
		body = h.broken(body)
	}
	r.body = body
	return r
}

// broken makes of a body one that is no single document, or none at all.
func (h hostile) broken(b []byte) []byte {
	switch at := h.IntN(len(b)); h.IntN(7) {
	case 0:
		return b[:at]
	case 1:
		return append(b, b...)
	case 2:
		b[at] ^= byte(1 << h.IntN(8))
	case 3:
		b[at] = 0xff
	case 4:
		return append([]byte(`{"model":"","model":"",`), b[1:]...)
	case 5:
		return append([]byte(`{"MODEL":"x",`), b[1:]...)
	case 6:
		return []byte(strings.Repeat(pick(h, "[", `{"a":`, `"`, "\\u"), 1<<h.IntN(16)))
	}
	return b
}
