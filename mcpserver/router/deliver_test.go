package router

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"hearth/inference"
)

// gives adds a connector whose tool returns the result.
func (w *world) gives(t *testing.T, o Options, result func() *Result) *fakeConnector {
	t.Helper()
	f := offers("get")
	f.run = func(context.Context, *Call) (*Result, error) { return result(), nil }
	w.add(t, "db", f, o)
	return f
}

func TestResultsAreCutVisibly(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		model  string
		text   string
		shown  string // "": all
	}{
		{"short", Limits{}, "", "one two three", ""},
		{"by tokens", Limits{ResultTokens: 32}, "", strings.Repeat("word ", 100), strings.Repeat("word ", 32)},
		{"by tokens, at the border", Limits{ResultTokens: 100}, "", strings.Repeat("word ", 100), ""},
		{"by tokens of the default model", Limits{ResultTokens: 32}, "missing", strings.Repeat("word ", 100), strings.Repeat("word ", 32)},
		{"by bytes, within a character", Limits{ResultBytes: 1025}, "", strings.Repeat("é", 600), strings.Repeat("é", 512)},
		{"invalid characters", Limits{ResultBytes: 1024}, "", strings.Repeat("\xff", 2000), strings.Repeat("\xff", 1024)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.gives(t, Options{Limits: c.limits}, func() *Result { return Text(c.text) })
			result, err := w.Call(t.Context(), &Request{Caller: inference.DefaultCaller, Tool: "db__get", Model: c.model})
			if err != nil {
				t.Fatal(err)
			}
			if c.shown == "" {
				if len(result.Content) != 1 || result.Content[0].Text != c.text {
					t.Errorf("cut to %v", result.Content)
				}
				return
			}
			head, note, found := strings.Cut(result.Content[0].Text, "\n[Cut here: ")
			if head != c.shown || !found || len(result.Content) != 2 || result.Content[1].Type != ContentLink {
				t.Fatalf("shown %d bytes, want %d; note %q; %d pieces", len(head), len(c.shown), note, len(result.Content))
			}
			uri := result.Content[1].Resource.URI
			if !strings.Contains(note, uri) || !w.Owns(uri) {
				t.Errorf("the note %q does not name %s", note, uri)
			}
			whole, err := w.ReadResource(t.Context(), inference.DefaultCaller, "", uri)
			if err != nil || len(whole) != 1 || whole[0].Text != c.text {
				t.Errorf("the rest reads as %v, %v", whole, err)
			}
			if _, err := w.ReadResource(t.Context(), inference.Caller{Principal: "eve"}, "", uri); !errors.Is(err, ErrNoResource) {
				t.Errorf("another caller reads it: %v", err)
			}
		})
	}
}

func TestStructuredContentIsWholeOrNotThere(t *testing.T) {
	w := newWorld(t, nil)
	large := json.RawMessage(`{"rows":"` + strings.Repeat("x", 5000) + `"}`)
	w.gives(t, Options{Limits: Limits{ResultBytes: 1024}}, func() *Result {
		return &Result{Content: Text("rows").Content, Structured: large}
	})
	result, err := w.call(t.Context(), "db__get", "{}")
	if err != nil || result.Structured != nil || result.Content[0].Text != "rows" || !strings.Contains(result.Content[1].Text, "The structured result has 5011 bytes") {
		t.Fatalf("%+v, %v", result, err)
	}
	whole, err := w.ReadResource(t.Context(), inference.DefaultCaller, "", result.Content[2].Resource.URI)
	if err != nil || whole[0].Text != string(large) {
		t.Errorf("%v", err)
	}
}

func TestLargeDataBecomesALink(t *testing.T) {
	w := newWorld(t, nil)
	data := make([]byte, 5000)
	w.gives(t, Options{Limits: Limits{ResultBytes: 1024}}, func() *Result {
		return &Result{Content: []Content{{Type: ContentImage, MIME: "image/png", Data: data}, {Type: ContentText, Text: "a picture"}}}
	})
	result, err := w.call(t.Context(), "db__get", "{}")
	if err != nil || len(result.Content) != 3 || !strings.HasPrefix(result.Content[0].Text, "[image/png of 5000 bytes") || result.Content[2].Text != "a picture" {
		t.Fatalf("%+v, %v", result, err)
	}
	whole, err := w.ReadResource(t.Context(), inference.DefaultCaller, "", result.Content[1].Resource.URI)
	if err != nil || len(whole[0].Blob) != len(data) || whole[0].MIME != "image/png" {
		t.Errorf("%v", err)
	}
}

func TestKeptResultsExpireAndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResults(time.Minute, 3000)
		a := r.put("ann", ResourceContents{Text: strings.Repeat("a", 1000)}, time.Now())
		time.Sleep(30 * time.Second)
		b := r.put("ann", ResourceContents{Text: strings.Repeat("b", 1000)}, time.Now())
		if uri := r.put("ann", ResourceContents{Text: strings.Repeat("x", 4000)}, time.Now()); uri != "" {
			t.Errorf("more than there may be is kept as %s", uri)
		}
		time.Sleep(30 * time.Second)
		if _, ok := r.get("ann", a, time.Now()); ok {
			t.Error("a result outlives its time")
		}
		if _, ok := r.get("ann", b, time.Now()); !ok {
			t.Error("a result is gone before its time")
		}
		for range 5 {
			r.put("ann", ResourceContents{Text: strings.Repeat("c", 1000)}, time.Now())
		}
		if _, ok := r.get("ann", b, time.Now()); ok || r.bytes > 3000 || len(r.all) != r.order.Len() {
			t.Errorf("the oldest stays %v with %d bytes", ok, r.bytes)
		}
	})
}

func TestRedaction(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Redact = []string{`\b\d{4}-\d{4}\b`, `(?i)hunter\d`, `99887766`} })
	w.gives(t, Options{}, func() *Result {
		return &Result{
			Content:    []Content{{Type: ContentText, Text: "card 1234-5678, Hunter2"}, {Type: ContentResource, Contents: ResourceContents{Text: "hunter3"}}},
			Structured: json.RawMessage(`{"hunter4":["1234-5678","\u0068unter5",99887766,12.50,null,true]}`),
		}
	})
	result, err := w.call(t.Context(), "db__get", "{}")
	if err != nil {
		t.Fatal(err)
	}
	if got := result.Content[0].Text + result.Content[1].Contents.Text; got != "card [redacted], [redacted][redacted]" {
		t.Errorf("text: %s", got)
	}
	if got := string(result.Structured); got != `{"[redacted]":["[redacted]","[redacted]","[redacted]",12.50,null,true]}` {
		t.Errorf("structured: %s", got)
	}
	for _, p := range []string{"(", "a*", ""} {
		c := DefaultConfig()
		c.Redact = []string{p}
		if err := c.Check(); err == nil {
			t.Errorf("the pattern %q is taken", p)
		}
	}
}

// TestRedactionOfWhatIsSaidMeanwhile: what a connector tells while it works, and what it
// calls the resources of its result, is redacted as the result is.
func TestRedactionOfWhatIsSaidMeanwhile(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Redact = []string{`hunter\d`} })
	f := offers("get")
	f.run = func(_ context.Context, c *Call) (*Result, error) {
		c.Progress(Progress{Progress: 1, Message: "trying hunter1"})
		c.Log(LogMessage{Level: "info", Data: json.RawMessage(`{"said":"\u0068unter2"}`)})
		c.Log(LogMessage{Level: "info", Data: json.RawMessage(`"half \u0068unter3`)})
		return &Result{Content: []Content{{Type: ContentLink, Resource: Resource{
			URI: "a:1", Name: "hunter4", Title: "hunter5", Description: "hunter6", Annotations: json.RawMessage(`{"of":"hunter7"}`),
		}}}}, nil
	}
	w.add(t, "db", f, Options{})
	var told []string
	result, err := w.Call(t.Context(), &Request{
		Caller: inference.DefaultCaller, Tool: "db__get",
		Progress: func(p Progress) { told = append(told, p.Message) },
		Log:      func(m LogMessage) { told = append(told, string(m.Data)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(told, "|"); got != `trying [redacted]|{"said":"[redacted]"}` {
		t.Errorf("told: %s", got)
	}
	link := result.Content[0].Resource
	if got := link.Name + link.Title + link.Description + string(link.Annotations); got != `[redacted][redacted][redacted]{"of":"[redacted]"}` {
		t.Errorf("link: %s", got)
	}
}

// TestRedactionKeepsSchemas: structured content that breaks the tool's own schema once it
// is redacted is left out, and the result and the record say so; any other stays.
func TestRedactionKeepsSchemas(t *testing.T) {
	for _, c := range []struct {
		name, structured string
		texts            []Content
		withheld         bool
		says             string
	}{
		{"a number", `{"id":99887766}`, []Content{{Type: ContentText, Text: "id 99887766"}}, true, "id [redacted]"},
		{"a number, and no text", `{"id":99887766}`, nil, true, `{"id":"[redacted]"}`},
		{"a text", `{"id":1,"note":"99887766"}`, nil, false, ""},
		{"nothing", `{"id":1}`, nil, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.Redact = []string{`99887766`} })
			f := offers("get")
			f.tools[0].Output = json.RawMessage(`{"type":"object","properties":{"id":{"type":"integer"},"note":{"type":"string"}},"required":["id"]}`)
			f.run = func(context.Context, *Call) (*Result, error) {
				return &Result{Content: c.texts, Structured: json.RawMessage(c.structured)}, nil
			}
			w.add(t, "db", f, Options{Cache: map[string]time.Duration{"*": time.Minute}})
			for range 2 { // the second comes from the cache
				result, err := w.call(t.Context(), "db__get", "{}")
				if err != nil {
					t.Fatal(err)
				}
				if record := w.journal.outcomeOf(t); (result.Structured == nil) != c.withheld || record.Withheld != c.withheld || record.Outcome != "ok" {
					t.Errorf("structured %s, record %+v", result.Structured, record)
				}
				if strings.Contains(string(result.Structured), "99887766") {
					t.Errorf("structured %s", result.Structured)
				}
				if c.withheld && (len(result.Content) != 2 || result.Content[0].Text != c.says || !strings.Contains(result.Content[1].Text, "left out")) {
					t.Errorf("content %+v", result.Content)
				}
			}
		})
	}
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		f := offers("get", "put")
		w.add(t, "db", f, Options{Allow: []string{"put"}, Cache: map[string]time.Duration{"*": time.Minute}})
		try := func(who, tool, arguments string, calls int) {
			t.Helper()
			before := f.made()
			result, err := w.Call(t.Context(), &Request{Caller: inference.Caller{Principal: who}, Tool: "db__" + tool, Arguments: json.RawMessage(arguments)})
			if err != nil || result.Content[0].Text != arguments {
				t.Fatalf("%+v, %v", result, err)
			}
			if got := f.made() - before; got != calls {
				t.Errorf("%s %s %s reached the connector %d times, want %d", who, tool, arguments, got, calls)
			}
			if r := w.journal.outcomeOf(t); r.Cached != (calls == 0) {
				t.Errorf("recorded as %+v", r)
			}
		}
		try("ann", "get", `{"a":1}`, 1)
		try("ann", "get", `{"a":1}`, 0)
		try("ann", "get", `{"a":2}`, 1)
		try("bob", "get", `{"a":1}`, 1)
		try("ann", "put", `{"a":1}`, 1)
		try("ann", "put", `{"a":1}`, 1)
		// Another definition is another tool.
		f.mu.Lock()
		f.tools[0].Description = "changed"
		f.mu.Unlock()
		f.change(Change{Tools: true})
		try("ann", "get", `{"a":1}`, 1)
		time.Sleep(time.Minute)
		try("ann", "get", `{"a":1}`, 1)
	})
}

func FuzzCut(f *testing.F) {
	f.Add("a b c", 2)
	f.Add("héllo wörld", 1)
	f.Add("\xff\xfe", 3)
	f.Fuzz(func(t *testing.T, text string, n int) {
		n = n & 63
		c := &counter{lease: &fakeModels{}}
		head, used := c.cut(text, n)
		if !strings.HasPrefix(text, head) || used > n || utf8.ValidString(text) && !utf8.ValidString(head) {
			t.Errorf("cut %q at %d tokens: %q, %d", text, n, head, used)
		}
		if short := cutBytes(text, n); len(short) > n || !strings.HasPrefix(text, short) || utf8.ValidString(text) && !utf8.ValidString(short) {
			t.Errorf("cut %q at %d bytes: %q", text, n, short)
		}
	})
}
