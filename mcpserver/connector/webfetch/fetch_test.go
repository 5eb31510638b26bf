package webfetch_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rs/zerolog"

	"hearth/internal/testkit"
	"hearth/mcpserver/connector/webfetch"
	"hearth/mcpserver/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newConnector returns a connector that may fetch from the addresses.
func newConnector(t *testing.T, c webfetch.Config, addrs ...string) *webfetch.Connector {
	t.Helper()
	c.InternalHosts = append(c.InternalHosts, addrs...)
	if c.HostInterval == 0 {
		c.HostInterval = -1
	}
	f, err := webfetch.New(c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

// fetch calls the tool; what the tool could not do comes as the error.
func fetch(t *testing.T, f *webfetch.Connector, arguments any) (string, error) {
	t.Helper()
	raw, err := json.Marshal(arguments)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Run(t.Context(), &router.Call{Tool: "fetch", Arguments: raw, Progress: func(router.Progress) {}})
	if err != nil {
		return "", err
	}
	if len(r.Content) != 1 || r.Content[0].Type != router.ContentText || r.IsError || !r.Untrusted {
		t.Errorf("a result of another form: %+v", r)
	}
	return r.Content[0].Text, nil
}

type args map[string]any

// site copies testdata/site into a folder that nginx can read, with what is made
// here besides.
func site(t *testing.T, more map[string]string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(filepath.Join("testdata", "site"))); err != nil {
		t.Fatal(err)
	}
	for name, text := range more {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for dir := root; strings.HasPrefix(filepath.Base(dir), "0"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestPagesOfManyStyles(t *testing.T) {
	deep := "<html><title>Deep</title>" + strings.Repeat("<div>", 5000) + "deep text"
	addr := testkit.Nginx(t, site(t, map[string]string{
		"deep.html":   deep,
		"latin1.html": "<html><head><title>K\xe4se</title></head><body><p>Die Gr\xf6\xdfe der T\xfcr ist 2,13 m.</p></body></html>",
		"sjis.html":   "<html><head><meta charset=\"shift_jis\"><title>\x94\x4c</title></head><body><p>\x8c\xe1\x94\x79\x82\xcd\x94\x4c\x82\xc5\x82\xa0\x82\xe9\x81\x42</p></body></html>",
		"wrong.html":  "<html><head><title>Größe</title></head><body><p>Straße und Käse</p></body></html>",
		"big5000.html": "<html><title>Many</title><body><h1>Many</h1><ul>" + strings.Repeat("<li>item of a long list</li>", 5000) +
			"</ul></body></html>",
		"index.html": "<title>Start</title><p>Welcome to the start page.</p>",
		"menu.html":  "<p>menu</p>",
		"moved.html": `<meta http-equiv="Refresh" content="0; URL='short.html'"><p>moved`,
		"self.html":  `<meta http-equiv="refresh" content="30"><meta http-equiv="refresh" content="5;url=javascript:x"><p>news`,
	}), `
    location /wrong.html { charset iso-8859-1; }
    location /notype { default_type ""; alias `+"/dev/null"+`; }
    location = /none { return 204; }
    location = /missing-type { default_type ""; return 200 "<html><title>T</title><p>sniffed text</p></html>"; }
`)
	f := newConnector(t, webfetch.Config{}, addr)
	for _, tt := range []struct {
		path  string
		whole bool
		yes   []string
		no    []string
	}{
		{
			"article.html", false,
			[]string{
				"Page: http://" + addr + "/article.html\nTitle: The harbour of Lindow", "Published: 2026-03-04\nFetched: 20", "main text of the page. Call fetch with whole true",
				"written by strangers", "9,400 tonnes", "**17.3 million**", "[budget of last year](http://" + addr + "/plans/budget.html?year=2025#total)", "## What was found",
				"- An anchor of the seventeenth century", "one of oak", "| 2025 | 402", "> We did not expect", "```go\nfmt.Println(\"depth\", 11.5)\n```", "![The boat of oak](http://" + addr + "/img/boat.jpg)",
			},
			[]string{"tracking", "gardening", "Sports section", "comment-secret", "hidden-secret", "hidden-attribute-secret", "aria-secret", "datauri", "Imprint"},
		},
		{"article.html", true, []string{"gardening", "Sports section", "Imprint", "9,400 tonnes"}, []string{"tracking", "-secret", "datauri", "whole true"}},
		{"short.html", false, []string{"Title: Opening hours\n", "# Opening hours", "door code is 4711"}, []string{"whole true"}},
		{"list.html", false, []string{"| Screw M5 | 0.09", "[Next page](http://" + addr + "/next.html)", "[Mail](mailto:shop@example.com)"}, []string{"javascript", "input-value", "textarea-text"}},
		{"base.html", false, []string{"(https://docs.example.com/v2/install)", "(https://cdn.example.com/x)"}, nil},
		{"broken.html", false, []string{"One", "Two", "bold", "cell", "stray & ", "©", "[link](http://" + addr + "/x)"}, nil},
		{"frames.html", false, []string{"Title: Frames"}, nil},
		{"noscript.html", false, []string{"Title: App"}, nil},
		{"tags.html", false, []string{"Visible text and reversed."}, nil},
		{"moved.html", false, []string{"Note: The page sends its readers on to http://" + addr + "/short.html\n", "moved"}, nil},
		{"self.html", false, []string{"news"}, []string{"sends its readers"}},
		{"notes.md", false, []string{"# Notes\n\n- first *note*\n"}, nil},
		{"data.json", false, []string{`{"name": "lindow", "tonnes": 9400`}, nil},
		{"plain.txt", false, []string{"line one\nline two"}, []string{"\r"}},
		{"feed.xml", false, []string{"<title>First entry</title>"}, nil},
		{"empty.html", false, []string{"The page has no text."}, nil},
		{"none", false, []string{"The page has no text."}, nil},
		{"latin1.html", false, []string{"Title: Käse", "Die Größe der Tür ist 2,13 m."}, []string{"character set"}},
		{"sjis.html", false, []string{"Title: 猫", "吾輩は猫である。"}, nil},
		{"wrong.html", false, []string{"Title: Größe", "Straße und Käse", "Note: The host calls the character set \"iso-8859-1\"; the text is utf-8."}, nil},
		{"big5000.html", false, []string{"For the next part call fetch again with start"}, nil},
		{"missing-type", false, []string{"sniffed text"}, []string{"<p>"}},
		{"", false, []string{"Welcome to the start page."}, nil},
	} {
		text, err := fetch(t, f, args{"url": "http://" + addr + "/" + tt.path, "whole": tt.whole})
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		for _, want := range tt.yes {
			if !strings.Contains(text, want) {
				t.Errorf("%s, whole %v: lacks %q:\n%s", tt.path, tt.whole, want, text[:min(len(text), 3000)])
			}
		}
		for _, not := range tt.no {
			if strings.Contains(text, not) {
				t.Errorf("%s, whole %v: has %q:\n%s", tt.path, tt.whole, not, text[:min(len(text), 3000)])
			}
		}
	}
	for path, want := range map[string]string{
		"deep.html": "damaged, or nested too deeply", "report.pdf": `"report.pdf" is a PDF (application/pdf), of `, "picture.png": "image/png", "nameless": "a PDF", "nothere.html": "404 Not Found: there is no such page",
	} {
		_, err := fetch(t, f, args{"url": "http://" + addr + "/" + path})
		var told *router.ToolError
		if !asToolError(err, &told) || !strings.Contains(told.Message, want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestALongTextComesInParts(t *testing.T) {
	var source, want strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&source, "Zeile %d über Größen 日本\n", i)
		fmt.Fprintf(&want, "Zeile %d über Größen 日本\n", i)
	}
	addr := testkit.Nginx(t, site(t, map[string]string{"long.txt": source.String()}), "charset utf-8;")
	f := newConnector(t, webfetch.Config{Length: 7000}, addr)
	var got strings.Builder
	start := 0
	for range 100 {
		text, err := fetch(t, f, args{"url": "http://" + addr + "/long.txt", "start": start})
		if err != nil {
			t.Fatal(err)
		}
		head, body, _ := strings.Cut(text, "\n\n")
		got.WriteString(body)
		at := strings.Index(head, "with start ")
		if at < 0 {
			break
		}
		if n := len([]rune(body)); n > 7000 || n < 5000 {
			t.Errorf("a part has %d characters", n)
		}
		if _, err := fmt.Sscanf(head[at:], "with start %d", &start); err != nil {
			t.Fatal(err)
		}
	}
	if got.String() != strings.TrimSpace(want.String()) {
		t.Errorf("the parts together are not the text: %d bytes, %d", got.Len(), want.Len())
	}
	if _, err := fetch(t, f, args{"url": "http://" + addr + "/long.txt", "start": 10_000_000}); err == nil || !strings.Contains(err.Error(), "the last one is at") {
		t.Errorf("behind the end: %v", err)
	}
	text, err := fetch(t, f, args{"url": "http://" + addr + "/long.txt", "start": 6, "length": 1})
	if err != nil || !strings.HasSuffix(text, "\n\n0") {
		t.Errorf("one character: %q, %v", text, err)
	}
}

func TestCallsAtOnce(t *testing.T) {
	addr := testkit.Nginx(t, site(t, nil), "")
	f := newConnector(t, webfetch.Config{}, addr)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			if _, err := fetch(t, f, args{"url": fmt.Sprintf("http://%s/%s?%d", addr, []string{"article.html", "list.html", "data.json"}[i%3], i%5)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestABareHostIsAnAddress(t *testing.T) {
	f := newConnector(t, webfetch.Config{AllowHosts: []string{"nowhere.test"}})
	for _, url := range []string{"example.com", "example.com/page?x", "www.example.com:443/a"} {
		if _, err := fetch(t, f, args{"url": url}); err == nil || !strings.Contains(err.Error(), "example.com: it is not among the hosts") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestAConnectorThatIsClosed(t *testing.T) {
	addr := testkit.Nginx(t, site(t, map[string]string{"slow.txt": strings.Repeat("slow ", 100_000)}), "location /slow.txt { limit_rate 10; }")
	f, err := webfetch.New(webfetch.Config{InternalHosts: []string{addr}, HostInterval: -1, IgnoreRobots: true, Timeout: time.Minute}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	done := make(chan error)
	go func() {
		close(started)
		_, err := f.Run(t.Context(), &router.Call{Tool: "fetch", Arguments: json.RawMessage(`{"url":"http://` + addr + `/slow.txt"}`)})
		done <- err
	}()
	<-started
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("a call outlived its connector")
	}
	if _, err := fetch(t, f, args{"url": "http://" + addr + "/short.html"}); err == nil {
		t.Error("a closed connector fetches")
	}
}
