package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// shelf is a connector of books: a tool, resources, a prompt, and changes.
type shelf struct {
	mu      sync.Mutex
	tools   []string
	prompts []string
	books   int
	tell    func(router.Change)
	run     func(ctx context.Context, c *router.Call) (*router.Result, error)
	watched map[string]int
}

// newShelf returns a shelf of so many books.
func newShelf(books int) *shelf {
	return &shelf{tools: []string{"long"}, prompts: []string{"review"}, books: books, watched: map[string]int{}}
}

func (f *shelf) OnChange(tell func(router.Change)) { f.tell = tell }

func (f *shelf) Tools() []router.Tool {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []router.Tool
	for _, name := range f.tools {
		out = append(out, router.Tool{Name: name, Description: name, Input: json.RawMessage(`{"type":"object"}`)})
	}
	return out
}

func (f *shelf) Run(ctx context.Context, c *router.Call) (*router.Result, error) {
	if f.run != nil {
		return f.run(ctx, c)
	}
	return router.Text(strings.Repeat("a long line of text\n", 1000) + "the end"), nil
}

func (f *shelf) Close(context.Context) error { return nil }

func (f *shelf) Resources(_ context.Context, cursor string, limit int) (page []router.Resource, next string, err error) {
	from, _ := strconv.Atoi(cursor)
	to := min(from+limit, f.books)
	for i := from; i < to; i++ {
		page = append(page, router.Resource{URI: fmt.Sprintf("book://%d", i), Name: fmt.Sprintf("book %d", i), MIME: "text/plain", Size: 7, Annotations: json.RawMessage(`{"priority":0.5}`)})
	}
	if to < f.books {
		next = strconv.Itoa(to)
	}
	return page, next, nil
}

func (f *shelf) ResourceTemplates(context.Context) ([]router.ResourceTemplate, error) {
	return []router.ResourceTemplate{{URITemplate: "book://{id}", Name: "book"}, {URITemplate: "book://{", Name: "broken"}}, nil
}

func (f *shelf) ReadResource(_ context.Context, uri string) ([]router.ResourceContents, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(uri, "book://"))
	switch {
	case err != nil || n >= f.books:
		return nil, router.ErrNoResource
	case n == 1:
		return []router.ResourceContents{{URI: uri, MIME: "image/png", Blob: []byte{1, 2, 3}}}, nil
	}
	return []router.ResourceContents{{URI: uri, MIME: "text/plain", Text: "text of " + uri}}, nil
}

func (f *shelf) Watch(_ context.Context, uri string) (func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watched[uri]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.watched[uri]--; f.watched[uri] == 0 {
			delete(f.watched, uri)
		}
	}, nil
}

func (f *shelf) watches() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.watched))
}

func (f *shelf) Prompts() []router.Prompt {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []router.Prompt
	for _, name := range f.prompts {
		out = append(out, router.Prompt{Name: name, Arguments: []router.PromptArgument{{Name: "book", Required: true}}})
	}
	return out
}

func (f *shelf) Prompt(_ context.Context, name string, arguments map[string]string) (string, []router.PromptMessage, error) {
	if arguments["book"] == "" {
		return "", nil, &router.ToolError{Message: "book: is required"}
	}
	return "a " + name, []router.PromptMessage{{Role: "user", Content: router.Content{Type: router.ContentText, Text: "Review " + arguments["book"]}}}, nil
}

func (f *shelf) Complete(_ context.Context, of, argument, typed string, _ map[string]string) ([]string, int, error) {
	return []string{of + " " + argument + " " + typed + "!"}, 3, nil
}

// withShelf returns a server whose router has f as "lib".
func withShelf(t *testing.T, f *shelf, change ...func(*Config)) *Server {
	t.Helper()
	log := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel)
	r, err := router.New(router.DefaultConfig(), router.Deps{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add("lib", f, router.Options{Limits: router.Limits{ResultBytes: 4096}}); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, saying("x"), append([]func(*Config){func(c *Config) { c.Router, c.Log = r, log }}, change...)...)
	t.Cleanup(func() {
		s.Close()
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends a request and returns the answer, the last message.
func (p *peer) ask(id int, method, params string) rpc {
	p.t.Helper()
	body, h := p.request(strconv.Itoa(id), method, params, "")
	all := read(p.t, p.post(p.t.Context(), body, h))
	return all[len(all)-1]
}

func decoded[T any](t *testing.T, r rpc) (out T) {
	t.Helper()
	if r.Error != nil {
		t.Fatalf("error %d %s", r.Error.Code, r.Error.Message)
	}
	if err := json.Unmarshal(r.Result, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

type listed struct {
	Resources         []struct{ URI, Name, MIMEType string }
	ResourceTemplates []struct{ URITemplate, Name string }
	Prompts           []struct{ Name string }
	Tools             []struct{ Name string }
	NextCursor        string
}

type readout struct {
	Contents []struct{ URI, MIMEType, Text, Blob string }
}

// TestRoutedCatalog: what connectors have beside tools is listed, read, filled in
// and completed at the endpoint, in both eras.
func TestRoutedCatalog(t *testing.T) {
	for _, version := range []string{legacy, modern} {
		t.Run(version, func(t *testing.T) {
			p := connect(t, serve(t, withShelf(t, newShelf(450))), version)

			var uris []string
			cursor, pages := "", 0
			for {
				params := ""
				if cursor != "" {
					params = fmt.Sprintf(`"cursor":%q`, cursor)
				}
				page := decoded[listed](t, p.ask(1, "resources/list", params))
				pages++
				for _, r := range page.Resources {
					uris = append(uris, r.URI)
				}
				if cursor = page.NextCursor; cursor == "" {
					break
				}
			}
			if len(uris) != 451 || uris[0] != "models://" || uris[1] != "lib+book://0" || uris[450] != "lib+book://449" || pages != 3 {
				t.Fatalf("%d resources on %d pages: %q …", len(uris), pages, uris[:2])
			}
			if r := p.ask(2, "resources/list", `"cursor":"bm9uc2Vuc2U"`); r.Error == nil || r.Error.Code != -32602 {
				t.Fatalf("a cursor of nobody's: %+v", r)
			}
			templates := decoded[listed](t, p.ask(3, "resources/templates/list", "")).ResourceTemplates
			if len(templates) != 2 || templates[0].URITemplate != "models://{id}" || templates[1].URITemplate != "lib+book://{id}" {
				t.Fatalf("templates %+v", templates)
			}

			got := decoded[readout](t, p.ask(4, "resources/read", `"uri":"lib+book://7"`)).Contents
			if len(got) != 1 || got[0].Text != "text of book://7" || got[0].URI != "lib+book://7" || got[0].MIMEType != "text/plain" {
				t.Fatalf("read %+v", got)
			}
			if got := decoded[readout](t, p.ask(5, "resources/read", `"uri":"lib+book://1"`)).Contents; got[0].Blob != "AQID" {
				t.Fatalf("read %+v", got)
			}
			if got := decoded[readout](t, p.ask(6, "resources/read", `"uri":"models://tiny"`)).Contents; len(got) != 1 {
				t.Fatalf("read %+v", got)
			}
			code := map[string]int{legacy: -32002, modern: -32602}[version]
			for _, uri := range []string{"lib+book://9999", "result://none", "other+book://1"} {
				if r := p.ask(7, "resources/read", fmt.Sprintf(`"uri":%q`, uri)); r.Error == nil || r.Error.Code != code {
					t.Errorf("%s: %+v", uri, r.Error)
				}
			}

			if prompts := decoded[listed](t, p.ask(8, "prompts/list", "")).Prompts; len(prompts) != 1 || prompts[0].Name != "lib__review" {
				t.Fatalf("prompts %+v", prompts)
			}
			filled := decoded[struct {
				Description string
				Messages    []struct {
					Role    string
					Content struct{ Text string }
				}
			}](t, p.ask(9, "prompts/get", `"name":"lib__review","arguments":{"book":"Emma"}`))
			if len(filled.Messages) != 1 || filled.Messages[0].Content.Text != "Review Emma" || filled.Messages[0].Role != "user" || filled.Description != "a review" {
				t.Fatalf("prompt %+v", filled)
			}
			for _, params := range []string{`"name":"lib__review"`, `"name":"lib__none"`, `"name":"other__review"`} {
				if r := p.ask(10, "prompts/get", params); r.Error == nil || r.Error.Code != -32602 {
					t.Errorf("%s: %+v", params, r.Error)
				}
			}

			type completed struct {
				Completion struct {
					Values  []string
					Total   int
					HasMore bool
				}
			}
			for ref, want := range map[string]string{
				`{"type":"ref/prompt","name":"lib__review"}`:      "review book Em!",
				`{"type":"ref/resource","uri":"lib+book://{id}"}`: "book://{id} book Em!",
			} {
				c := decoded[completed](t, p.ask(11, "completion/complete", `"ref":`+ref+`,"argument":{"name":"book","value":"Em"}`)).Completion
				if len(c.Values) != 1 || c.Values[0] != want || c.Total != 3 || !c.HasMore {
					t.Errorf("%s: %+v", ref, c)
				}
			}
			if r := p.ask(12, "completion/complete", `"ref":{"type":"ref/prompt","name":"lib__none"},"argument":{"name":"book","value":"Em"}`); r.Error == nil || r.Error.Code != -32602 {
				t.Errorf("completion for a prompt that is not there: %+v", r)
			}
		})
	}
}

// TestCutResultIsRead: what was cut off a result is read where the result says, by
// the caller whose result it is, and by nobody else.
func TestCutResultIsRead(t *testing.T) {
	for _, version := range []string{legacy, modern} {
		s := withShelf(t, newShelf(1))
		p := connect(t, serve(t, s), version)
		var result struct {
			Content []struct{ Type, Text, URI string }
		}
		r := p.ask(1, "tools/call", `"name":"lib__long","arguments":{}`)
		if err := json.Unmarshal(r.Result, &result); err != nil {
			t.Fatal(err)
		}
		link := result.Content[len(result.Content)-1]
		if link.Type != "resource_link" || !strings.HasPrefix(link.URI, "result://") {
			t.Fatalf("the cut result ends in %+v", link)
		}
		got := decoded[readout](t, p.ask(2, "resources/read", fmt.Sprintf(`"uri":%q`, link.URI))).Contents
		if len(got) != 1 || len(got[0].Text) < 20000 || !strings.HasSuffix(got[0].Text, "the end") {
			t.Fatalf("the whole result: %d contents", len(got))
		}
		var out bytes.Buffer
		stranger := inference.WithCaller(t.Context(), inference.Caller{Principal: "stranger"})
		line := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":%q}}`, link.URI)
		if err := s.ServeStdio(stranger, strings.NewReader(line), &out); err != nil {
			t.Fatal(err)
		}
		if got := lines(t, out.String()); len(got) != 1 || got[0].Error == nil || got[0].Error.Code != -32002 {
			t.Fatalf("a stranger reads %s", out.String())
		}
	}
}
