package declared

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// echo answers with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch r.URL.Path {
	case "/broken":
		http.Error(w, "out of order", http.StatusBadGateway)
		return
	case "/away":
		http.Redirect(w, r, "http://evil.example/", http.StatusFound)
		return
	case "/large":
		_, _ = w.Write(make([]byte, 4096))
		return
	}
	_ = json.NewEncoder(w).Encode(obj{"method": r.Method, "uri": r.RequestURI, "host": r.Host, "body": string(body), "auth": r.Header.Get("Authorization"), "evil": r.Header.Get("X-Evil"), "type": r.Header.Get("Content-Type"), "list": []any{1, obj{"a/b": "picked"}}})
}

const service = `
  - name: get
    description: Get a thing.
    effect: read
    input: {properties: {name: {type: string}, limit: {type: integer}}, required: [name]}
    http: {url: "ORIGIN/things/{name}/part?q={name}&limit={limit}&fixed=1", secrets: {Authorization: env:HEARTH_TEST_TOKEN}}
  - name: put
    description: Put a thing.
    effect: write
    input: {properties: {name: {type: string}, n: {type: integer}}, required: [name]}
    http: {method: PUT, url: "ORIGIN/things", body: {name: "{name}", n: "{n}", list: ["{name}", "x {name}"], fixed: true}}
  - {name: pick, description: Pick., effect: read, http: {url: ORIGIN/, pick: /list/1/a~1b}}
  - {name: miss, description: Pick., effect: read, http: {url: ORIGIN/, pick: /list/7}}
  - {name: broken, description: Break., effect: read, http: {url: ORIGIN/broken}}
  - {name: away, description: Redirect., effect: read, http: {url: ORIGIN/away}}
  - {name: large, description: Large., effect: read, http: {url: ORIGIN/large, max_bytes: 1KiB}}
`

type echoed struct{ Method, URI, Host, Body, Auth, Evil, Type string }

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	t.Setenv("HEARTH_TEST_TOKEN", "Bearer hunter2")
	c := tools(t, strings.ReplaceAll(service, "ORIGIN", server.URL), nil)
	ask := func(tool string, args obj) (e echoed) {
		t.Helper()
		if got := call(t, c, tool, args); json.Unmarshal([]byte(got), &e) != nil {
			t.Fatalf("%s %v: %s", tool, args, got)
		}
		return e
	}
	if e := ask("get", obj{"name": "a b", "limit": 3}); e.Method != "GET" || e.URI != "/things/a%20b/part?q=a+b&limit=3&fixed=1" || e.Auth != "Bearer hunter2" {
		t.Errorf("%+v", e)
	}
	if e := ask("get", obj{"name": "x"}); e.URI != "/things/x/part?q=x&fixed=1" {
		t.Errorf("without limit: %+v", e)
	}
	if e := ask("put", obj{"name": "x"}); e.Method != "PUT" || e.Type != "application/json" || e.Body != `{"fixed":true,"list":["x","x {name}"],"name":"x"}` {
		t.Errorf("%+v", e)
	}
	for _, evil := range injections {
		e := ask("get", obj{"name": evil})
		u, err := url.ParseRequestURI(e.URI)
		if err != nil || "http://"+e.Host != server.URL || e.Evil != "" {
			t.Fatalf("%q: %+v, %v", evil, e, err)
		}
		if u.Path != "/things/"+evil+"/part" || len(u.Query()) != 2 || u.Query().Get("q") != evil || u.Query().Get("fixed") != "1" {
			t.Errorf("%q became %s", evil, e.URI)
		}
		if e := ask("put", obj{"name": evil, "n": 1}); !json.Valid([]byte(e.Body)) {
			t.Errorf("%q became the body %s", evil, e.Body)
		} else {
			var body struct {
				Name string
				N    int
				List []string
			}
			if json.Unmarshal([]byte(e.Body), &body) != nil || body.Name != evil || body.N != 1 || body.List[0] != evil || body.List[1] != "x {name}" {
				t.Errorf("%q became the body %s", evil, e.Body)
			}
		}
	}
	for _, evil := range []string{"..", ".", "../..", "..\\..", "a/../../b", "/.."} {
		if got := call(t, c, "get", obj{"name": evil}); !strings.HasPrefix(got, "error: the arguments make a path with . or ..") {
			t.Errorf("%q: %s", evil, got)
		}
	}
	for tool, want := range map[string]string{
		"pick": "picked", "miss": "error: the answer of the service has no /list/7", "broken": "error: the service answered 502 Bad Gateway: out of order",
		"away": "error: the service answered 302 Found:", "large": "error: the answer of the service is larger than 1KiB",
	} {
		if got := call(t, c, tool, obj{}); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", tool, got)
		}
	}
	if got := call(t, c, "get", obj{"name": ""}); !strings.Contains(got, "name is missing") {
		t.Errorf("an empty segment: %s", got)
	}
	t.Setenv("HEARTH_TEST_TOKEN", "x\r\nX-Evil: 1")
	if _, err := c.runners["get"].run(t.Context(), arguments{"name": "x"}, nil); err == nil || strings.Contains(err.Error(), "Evil") {
		t.Errorf("a secret that is no header: %v", err)
	}
}

// Whatever the argument, the URL stays at its host, with its path's shape and its
// query's names.
func FuzzExpand(f *testing.F) {
	for _, s := range injections {
		f.Add(s)
	}
	tmpl, err := parseURL("http://h.example:81/a/{x}/b{x}c?q={x}&r=1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out, err := tmpl.expand(arguments{"x": s})
		if err != nil {
			return
		}
		u, err := url.Parse(out)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if u.Host != "h.example:81" || u.Fragment != "" || u.User != nil || u.Path != "/a/"+s+"/b"+s+"c" || strings.Count(u.EscapedPath(), "/") != 3 {
			t.Fatalf("%q became %s", s, out)
		}
		if q := u.Query(); len(q) != 2 || q.Get("q") != s || q.Get("r") != "1" {
			t.Fatalf("%q became %s", s, out)
		}
	})
}
