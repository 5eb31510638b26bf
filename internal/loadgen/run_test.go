package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeServer answers chat requests token by token and keeps what it was asked.
type fakeServer struct {
	*httptest.Server
	mu     sync.Mutex
	bodies [][]byte
	active int
	most   int  // requests in flight at one time
	hold   bool // a short prompt's stream stays open until its client hangs up
	status int  // if set, the answer to every chat request
}

type chatBody struct {
	Model     string             `json:"model"`
	Messages  []message          `json:"messages"`
	MaxTokens int                `json:"max_tokens"`
	Bias      map[string]float64 `json:"logit_bias"`
	Format    json.RawMessage    `json:"response_format"`
}

func newFakeServer(t *testing.T) *fakeServer {
	t.Helper()
	f := &fakeServer{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data":[{"id":"tiny"},{"id":"other"}]}`)
	})
	mux.HandleFunc("POST /tokenize", func(w http.ResponseWriter, r *http.Request) {
		var b struct {
			Content string `json:"content"`
		}
		json.NewDecoder(r.Body).Decode(&b)
		switch b.Content {
		case "<|im_end|>":
			fmt.Fprint(w, `{"tokens":[2]}`)
		case "<|endoftext|>":
			fmt.Fprint(w, `{"tokens":[0]}`)
		default:
			fmt.Fprint(w, `{"tokens":[5,6,7]}`)
		}
	})
	mux.HandleFunc("POST /v1/chat/completions", f.chat)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeServer) chat(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.bodies = append(f.bodies, raw)
	f.active++
	f.most = max(f.most, f.active)
	status := f.status
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.active--
		f.mu.Unlock()
	}()
	if status != 0 {
		http.Error(w, `{"error":{"message":"the context holds 10 tokens"}}`, status)
		return
	}
	var b chatBody
	json.Unmarshal(raw, &b)
	words := len(strings.Fields(b.Messages[len(b.Messages)-1].Content))
	fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n")
	for range b.MaxTokens {
		fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n")
		w.(http.Flusher).Flush()
	}
	if f.hold && words < 100 {
		<-r.Context().Done() // decodes until it is cut off
		return
	}
	fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n")
	fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"prompt_tokens_details\":{\"cached_tokens\":1}}}\n\n", words, b.MaxTokens)
	fmt.Fprint(w, "data: [DONE]\n\n")
}

func TestRunSendsEveryRequestOnce(t *testing.T) {
	f := newFakeServer(t)
	target := Target{URL: f.URL + "/v1/"}
	if err := target.Discover(t.Context(), NewHTTPClient()); err != nil {
		t.Fatal(err)
	}
	if target.Model != "tiny" || !slices.Equal(target.EndTokens, []int32{2, 0}) {
		t.Fatalf("discovered model %q, end tokens %v; want tiny, [2 0]", target.Model, target.EndTokens)
	}
	s, err := Find("parallel")
	if err != nil {
		t.Fatal(err)
	}
	if s, err = s.Resize(3, 4, 5); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var last Progress
	r, err := Run(t.Context(), target, s, Options{Seed: 7, OnProgress: func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		last.Done, last.Total, last.Piece = max(last.Done, p.Done), p.Total, max(last.Piece, p.Piece)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Progress{Done: 12, Total: 12, Piece: 60}); last != want {
		t.Errorf("progress %+v, want %+v", last, want)
	}
	if f.most > 3 {
		t.Errorf("%d requests at one time from 3 clients", f.most)
	}
	seen := map[string]bool{}
	for _, raw := range f.bodies {
		var b chatBody
		if err := json.Unmarshal(raw, &b); err != nil {
			t.Fatal(err)
		}
		seen[b.Messages[0].Content] = true
		if b.Bias["2"] != -100 || b.Bias["0"] != -100 || b.MaxTokens != 5 {
			t.Errorf("request %s: want both end tokens biased and 5 tokens", raw)
		}
	}
	if len(seen) != 12 {
		t.Errorf("%d different prompts in 12 requests", len(seen))
	}
	sum := Summarize(r)
	if sum.Requests != 12 || sum.Tokens != 60 || sum.Short != 0 || sum.CachedTokens != 12 || sum.TTFT.N != 12 || sum.ITL.N != 48 {
		t.Errorf("summary %+v: want 12 requests, 60 tokens, none short, 12 cached, 12 TTFTs, 48 gaps", sum)
	}
	for _, sample := range r.Samples {
		if !slices.IsSorted(sample.Arrivals) || sample.Arrivals[0] < sample.Start || sample.End < sample.Arrivals[4] {
			t.Errorf("times out of order: %+v", sample)
		}
	}
}

func TestRunMixedStartsPromptsWhileOthersDecodeAndCutsThoseOff(t *testing.T) {
	f := newFakeServer(t)
	f.hold = true
	s, err := Find("mixed")
	if err != nil {
		t.Fatal(err)
	}
	if s, err = s.Resize(0, 0, 6); err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), Target{URL: f.URL, Model: "m"}, s, Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	cut := 0
	for _, sample := range r.Samples {
		switch sample.Group {
		case "decoding":
			if !sample.Cut {
				t.Errorf("a decoding client was not cut off: %+v", sample)
			}
			cut++
			if sample.Arrivals[startPieces-1] > r.WindowFrom {
				t.Errorf("the prompts started at %.3f, before client %d was decoding at %.3f", r.WindowFrom, sample.Client, sample.Arrivals[startPieces-1])
			}
		case "prompts":
			if sample.Cut || sample.PromptTokens < 1200 {
				t.Errorf("prompt request: %+v, want it whole with 1,200 words", sample)
			}
		}
	}
	if cut != 4 || len(r.Samples) != 8 {
		t.Errorf("%d samples, %d cut off; want 8 and 4", len(r.Samples), cut)
	}
	if sum := Summarize(r); sum.TTFT.N != 4 || sum.Requests != 4 {
		t.Errorf("summary %+v: want the 4 prompts' TTFTs and 4 whole requests", sum)
	}
}

func TestRunFailsWithTheServersWords(t *testing.T) {
	f := newFakeServer(t)
	f.status = http.StatusBadRequest
	s, _ := Find("mixed")
	_, err := Run(t.Context(), Target{URL: f.URL, Model: "m"}, s, Options{})
	if err == nil || !strings.Contains(err.Error(), "the context holds 10 tokens") {
		t.Errorf("error %v, want the server's", err)
	}
}

func TestRunEndsWhenCancelled(t *testing.T) {
	f := newFakeServer(t)
	f.hold = true
	s, _ := Find("parallel")
	ctx, cancel := context.WithCancel(t.Context())
	var once sync.Once
	s.Groups[0].MaxTokens = 3
	client := NewHTTPClient()
	client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		once.Do(cancel)
		return nil, r.Context().Err()
	})
	if _, err := Run(ctx, Target{URL: f.URL, Model: "m"}, s, Options{Client: client}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestPrompts(t *testing.T) {
	s, _ := Find("shared-prefix")
	g := s.Groups[0]
	conversation := func(seed uint64, client int) []message { return newTalk(seed, s.Name, &g, client).next(0) }
	a, again := conversation(1, 0), conversation(1, 0)
	if !reflect.DeepEqual(a, again) {
		t.Error("one seed gave two prompts")
	}
	b := conversation(1, 1)
	if !reflect.DeepEqual(a[0], b[0]) {
		t.Error("two clients of a shared system prompt have different ones")
	}
	if reflect.DeepEqual(a[1], b[1]) {
		t.Error("two clients ask the same")
	}
	other := conversation(2, 0)
	if reflect.DeepEqual(a[0], other[0]) || reflect.DeepEqual(a[1], other[1]) {
		t.Error("two seeds gave the same prompt")
	}
	if n := len(strings.Fields(newText(1).words(900))); n != 900 {
		t.Errorf("900 words asked, %d given", n)
	}
}

func TestResizeRefusesWhatHasNoMeaning(t *testing.T) {
	tests := []struct {
		scenario                 string
		clients, requests, token int
		errHas                   string
	}{
		{"parallel", 2, 1, 1, ""},
		{"mixed", 0, 0, 8, ""},
		{"mixed", 2, 0, 0, "numbers are fixed"},
		{"mixed", 0, 2, 0, "numbers are fixed"},
		{"single", -1, 0, 0, "above zero"},
	}
	for _, tt := range tests {
		s, err := Find(tt.scenario)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Resize(tt.clients, tt.requests, tt.token)
		if (err == nil) != (tt.errHas == "") || err != nil && !strings.Contains(err.Error(), tt.errHas) {
			t.Errorf("Resize(%d, %d, %d) of %s: error %v, want %q", tt.clients, tt.requests, tt.token, tt.scenario, err, tt.errHas)
		}
	}
	if _, err := Find("nothing"); err == nil || !strings.Contains(err.Error(), "shared-prefix") {
		t.Errorf("Find of an unknown name: %v, want the names there are", err)
	}
	for _, s := range Scenarios() {
		if err := s.validate(); err != nil {
			t.Error(err)
		}
		for _, g := range s.Groups {
			if _, err := newChecker(&g); err != nil {
				t.Errorf("scenario %s: %v", s.Name, err)
			}
		}
	}
}

func TestRequestsOfDocumentsBiasNoEndToken(t *testing.T) {
	for name, want := range map[string]string{"json-keys": `"response_format":`, "tools": `"tool_choice":"required"`} {
		s, err := Find(name)
		if err != nil {
			t.Fatal(err)
		}
		g := s.Groups[0]
		raw, err := requestBody(Target{Model: "m", EndTokens: []int32{2}}, &g, newTalk(1, name, &g, 0).next(0))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "logit_bias") || !strings.Contains(string(raw), want) {
			t.Errorf("%s: request %s; want %s and no bias", name, raw, want)
		}
	}
}
