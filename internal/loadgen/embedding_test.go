package loadgen

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// embedServer answers requests for embeddings; less is how many vectors it leaves out.
func embedServer(t *testing.T, less int) (url string, bodies func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/embeddings", func(w http.ResponseWriter, r *http.Request) {
		var b struct {
			Model  string   `json:"model"`
			Input  []string `json:"input"`
			Format string   `json:"encoding_format"`
		}
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil || b.Model != "tiny" {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		words := 0
		var items []string
		for i, text := range b.Input {
			all = append(all, b.Format+":"+text)
			words += len(strings.Fields(text))
			items = append(items, fmt.Sprintf(`{"index":%d,"embedding":[0.5,0.5]}`, i))
		}
		fmt.Fprintf(w, `{"data":[%s],"usage":{"prompt_tokens":%d}}`, strings.Join(items[less:], ","), words)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

func TestRunEmbeds(t *testing.T) {
	for name, format := range map[string]string{"embed": "", "embed-lists": "base64"} {
		t.Run(name, func(t *testing.T) {
			url, bodies := embedServer(t, 0)
			s, err := Find(name)
			if err != nil {
				t.Fatal(err)
			}
			if s, err = s.Resize(3, 4, 0); err != nil {
				t.Fatal(err)
			}
			r, err := Run(t.Context(), Target{URL: url, Model: "tiny"}, s, Options{Seed: 7})
			if err != nil {
				t.Fatal(err)
			}
			texts := s.Groups[0].Texts
			seen, sizes, words := map[string]bool{}, map[int]bool{}, 0
			for _, b := range bodies() {
				seen[b] = true
				n := len(strings.Fields(b))
				sizes[n] = true
				words += n
				if !strings.HasPrefix(b, format+":") {
					t.Errorf("asked for %.30q, want the format %q", b, format)
				}
			}
			if len(seen) != 12*texts || len(sizes) != 3 {
				t.Errorf("%d different texts of %d sizes, want %d of 3", len(seen), len(sizes), 12*texts)
			}
			sum := Summarize(r)
			if sum.Requests != 12 || sum.Tokens != words || sum.PromptTokens != words || sum.Short != 0 || sum.Coalesced != 0 || sum.TTFT.N != 12 || sum.ITL.N != 0 {
				t.Errorf("summary %+v, want 12 requests of %d tokens", sum, words)
			}
			again, err := embeddingBody(Target{}, 8, s.Name, s.Groups[0], 0, 0)
			if err != nil || seen[format+":"+string(again)] {
				t.Errorf("another seed gives the same texts, or %v", err)
			}
		})
	}
}

func TestRunRefusesMissingVectors(t *testing.T) {
	url, _ := embedServer(t, 1)
	s, err := Find("embed-lists")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Target{URL: url, Model: "tiny"}, s, Options{}); err == nil || !strings.Contains(err.Error(), "32 texts were sent, and 31 vectors came back") {
		t.Errorf("got %v", err)
	}
}

func TestEmbeddingScenariosAreChecked(t *testing.T) {
	s, err := Find("embed")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resize(0, 0, 5); err == nil || !strings.Contains(err.Error(), "leave max-tokens out") {
		t.Errorf("a number of tokens: %v", err)
	}
	for name, change := range map[string]func(*Group){
		"texts below zero": func(g *Group) { g.Texts = -1 },
		"tokens":           func(g *Group) { g.MaxTokens = 1 },
	} {
		bad, _ := s.Resize(1, 1, 0)
		change(&bad.Groups[0])
		if bad.validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	mixed, _ := Find("mixed")
	mixed.Groups[1].Texts = 3
	if mixed.validate() == nil {
		t.Error("a group of another kind: accepted")
	}
}
