package loadgen

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// toolServer answers every request with a call of the first tool, in two pieces,
// and keeps the messages that it was sent.
type toolServer struct {
	*httptest.Server
	arguments string
	mu        sync.Mutex
	asked     [][]message
}

func newToolServer(t *testing.T, arguments string) *toolServer {
	t.Helper()
	f := &toolServer{arguments: arguments}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b struct {
			Messages []message `json:"messages"`
			Tools    []tool    `json:"tools"`
		}
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil || len(b.Tools) == 0 {
			http.Error(w, "no tools", http.StatusBadRequest)
			return
		}
		f.mu.Lock()
		f.asked = append(f.asked, b.Messages)
		f.mu.Unlock()
		half := len(f.arguments) / 2
		fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c%d\",\"function\":{\"name\":%q,\"arguments\":%q}}]}}]}\n\n",
			len(b.Messages), b.Tools[0].Function.Name, f.arguments[:half])
		fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":%q}}]},\"finish_reason\":\"tool_calls\"}]}\n\n", f.arguments[half:])
		prompt := 0
		for _, m := range b.Messages {
			prompt += 10 + len(strings.Fields(m.Content))
		}
		cached := prompt / 2
		if len(b.Messages) > 1 {
			cached = prompt - 55 // ten more than the answer and the 30 words of a turn
		}
		fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":9,\"prompt_tokens_details\":{\"cached_tokens\":%d}}}\n\ndata: [DONE]\n\n", prompt, cached)
	}))
	t.Cleanup(f.Close)
	return f
}

func TestConversationsSendBackWhatWasAnswered(t *testing.T) {
	const arguments = `{"room":"kitchen","degrees_celsius":20}`
	f := newToolServer(t, arguments)
	s := Scenario{Name: "x", Groups: []Group{{
		Name: "a", Clients: 1, Requests: 6, Conversations: 2, Instruction: "Do:", PromptWords: 5, TurnWords: 25, MaxTokens: 99, Tools: 3,
	}}}
	r, err := Run(t.Context(), Target{URL: f.URL, Model: "m"}, s, Options{Seed: 4})
	if err != nil {
		t.Fatal(err)
	}
	var lengths []int
	for _, messages := range f.asked {
		lengths = append(lengths, len(messages))
	}
	if want := []int{1, 1, 3, 3, 5, 5}; !slices.Equal(lengths, want) {
		t.Fatalf("requests of %v messages, want %v: two conversations in turn", lengths, want)
	}
	if f.asked[0][0].Content == f.asked[1][0].Content {
		t.Error("two conversations begin alike")
	}
	first, third := f.asked[0], f.asked[4]
	if !reflect.DeepEqual(third[:1], first) || !reflect.DeepEqual(third[:3], f.asked[2]) {
		t.Error("a turn does not begin with what was said before")
	}
	call, result := third[1], third[2]
	if call.Role != "assistant" || len(call.ToolCalls) != 1 || call.ToolCalls[0].Function.Arguments != arguments || call.ToolCalls[0].ID != "c1" {
		t.Errorf("the answer came back as %+v", call)
	}
	if result.Role != "tool" || result.ToolCallID != "c1" || len(strings.Fields(result.Content)) != 25 || result.Content == third[4].Content {
		t.Errorf("the tool's result is %+v; want 25 words that no other turn has", result)
	}
	sum := Summarize(r)
	if sum.Documents != 6 || sum.DocumentsPerSecond <= 0 || sum.Short != 0 {
		t.Errorf("%d documents, %d short; want 6 and 0", sum.Documents, sum.Short)
	}
	// The second prompt has 16+10+35 tokens, of which 45 are new: 10 are computed again.
	want := []Turn{
		{Requests: 2, PromptTokens: 32, CachedTokens: 16, NewTokens: 32},
		{Requests: 2, PromptTokens: 122, CachedTokens: 12, NewTokens: 90, Recomputed: 20},
		{Requests: 2, PromptTokens: 212, CachedTokens: 102, NewTokens: 90, Recomputed: 20},
	}
	if !reflect.DeepEqual(sum.Turns, want) {
		t.Errorf("turns\n%+v, want\n%+v", sum.Turns, want)
	}
}

func TestAnAnswerThatIsNoCallIsSentBackAsText(t *testing.T) {
	f := newToolServer(t, `{"room":"kitchen`)
	s := Scenario{Name: "x", Groups: []Group{{
		Name: "a", Clients: 1, Requests: 2, Conversations: 1, Instruction: "Do:", PromptWords: 5, TurnWords: 6, MaxTokens: 99, Tools: 1,
	}}}
	r, err := Run(t.Context(), Target{URL: f.URL, Model: "m"}, s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	last := f.asked[1]
	if len(last) != 3 || last[1].Role != "assistant" || len(last[1].ToolCalls) != 0 || last[2].Role != "user" {
		t.Errorf("a call that was cut off came back as %+v", last)
	}
	if sum := Summarize(r); sum.Documents != 0 {
		t.Errorf("%d documents of calls that were cut off", sum.Documents)
	}
}

func TestWhole(t *testing.T) {
	const person = `{"type":"object","required":["name"],"additionalProperties":false,"properties":{"name":{"type":"string","maxLength":4}}}`
	schema, err := newChecker(&Group{Schema: json.RawMessage(person)})
	if err != nil {
		t.Fatal(err)
	}
	called, err := newChecker(&Group{Tools: 2})
	if err != nil {
		t.Fatal(err)
	}
	good := Call{Name: "turn_light_on_or_off", Arguments: `{"room":"kitchen","on":true}`}
	tests := []struct {
		name  string
		check *checker
		s     Sample
		want  bool
	}{
		{"nothing asked", nil, Sample{Text: "{}"}, false},
		{"follows", schema, Sample{Text: `{"name":"Ada"}`}, true},
		{"cut off", schema, Sample{Text: `{"name":"Ad`}, false},
		{"too long", schema, Sample{Text: `{"name":"Adele"}`}, false},
		{"more behind", schema, Sample{Text: `{"name":"Ada"} {}`}, false},
		{"a call", called, Sample{Calls: []Call{good}}, true},
		{"no call", called, Sample{Text: "hello"}, false},
		{"a tool that was not offered", called, Sample{Calls: []Call{{Name: "get_weather_forecast", Arguments: `{"city":"x","days":1}`}}}, false},
		{"one good, one bad", called, Sample{Calls: []Call{good, {Name: good.Name, Arguments: `{}`}}}, false},
	}
	for _, tt := range tests {
		if got := tt.check.whole(&tt.s); got != tt.want {
			t.Errorf("%s: whole = %v", tt.name, got)
		}
	}
	if _, err := newChecker(&Group{Schema: json.RawMessage(`{"type":7}`)}); err == nil {
		t.Error("a schema that is none was taken")
	}
}

func TestAnswerBoundsTheCalls(t *testing.T) {
	var a answer
	var c chunk
	if err := json.Unmarshal([]byte(`{"choices":[{"delta":{"tool_calls":[{"index":-1},{"index":1000000000},{"index":1,"id":"b"}]}}]}`), &c); err != nil {
		t.Fatal(err)
	}
	if a.add(&c); len(a.calls) != 2 || a.calls[1].ID != "b" {
		t.Errorf("calls %+v, want two, the second b", a.calls)
	}
}
