package openapi

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"hearth/mcpserver/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", os.Getenv("HEARTH_UPDATE") != "", "write the golden files of testdata anew")

// serve starts a service that answers with what handler does, and keeps the last
// request with its body.
type served struct {
	*httptest.Server
	last *http.Request
	body string
}

func serve(t *testing.T, handler http.HandlerFunc) *served {
	t.Helper()
	s := &served{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.last, s.body = r, string(data)
		if handler != nil {
			handler(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// document writes a document into a file and returns its path.
func document(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "openapi.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, cfg Config) *Connector {
	t.Helper()
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	c, err := New(t.Context(), cfg, "shop", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func run(t *testing.T, c *Connector, tool, args string) (*router.Result, error) {
	t.Helper()
	return c.Run(t.Context(), &router.Call{Tool: tool, Arguments: json.RawMessage(args)})
}

// ask calls a tool and returns its text, or the tool's complaint behind "error: ".
func ask(t *testing.T, c *Connector, tool, args string) string {
	t.Helper()
	r, err := run(t, c, tool, args)
	var said *router.ToolError
	switch {
	case errors.As(err, &said):
		return "error: " + said.Message
	case err != nil:
		return "failure: " + err.Error()
	}
	return r.Content[0].Text
}

// operation is a document with one operation.
func oneOperation(version, method, path, operation string) string {
	return "openapi: " + version + "\ninfo: {title: t, version: '1'}\npaths:\n  " + path + ":\n    " + method + ":\n      operationId: op\n      responses: {'200': {description: ok}}\n" + indent(operation, "      ")
}

func indent(text, by string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(by + line)
	}
	return b.String()
}

func TestParametersAreWrittenAsTheSpecificationSays(t *testing.T) {
	s := serve(t, nil)
	for _, x := range []struct{ path, parameter, args, want string }{
		// Of the specification's table, for the value "blue", the list and the object.
		{"/x/{color}", "in: path, style: simple", `"blue"`, "/x/blue"},
		{"/x/{color}", "in: path", `["blue","black","brown"]`, "/x/blue,black,brown"},
		{"/x/{color}", "in: path, explode: true", `["blue","black","brown"]`, "/x/blue,black,brown"},
		{"/x/{color}", "in: path", `{"R":100,"G":200,"B":150}`, "/x/B,150,G,200,R,100"},
		{"/x/{color}", "in: path, explode: true", `{"R":100,"G":200,"B":150}`, "/x/B=150,G=200,R=100"},
		{"/x/{color}", "in: path, style: label", `"blue"`, "/x/.blue"},
		{"/x/{color}", "in: path, style: label", `["blue","black"]`, "/x/.blue,black"},
		{"/x/{color}", "in: path, style: label, explode: true", `["blue","black"]`, "/x/.blue.black"},
		{"/x/{color}", "in: path, style: label", `{"R":100,"G":200}`, "/x/.G,200,R,100"},
		{"/x/{color}", "in: path, style: label, explode: true", `{"R":100,"G":200}`, "/x/.G=200.R=100"},
		{"/x{color}", "in: path, style: matrix", `"blue"`, "/x;color=blue"},
		{"/x{color}", "in: path, style: matrix", `["blue","black"]`, "/x;color=blue,black"},
		{"/x{color}", "in: path, style: matrix, explode: true", `["blue","black"]`, "/x;color=blue;color=black"},
		{"/x{color}", "in: path, style: matrix", `{"R":100,"G":200}`, "/x;color=G,200,R,100"},
		{"/x{color}", "in: path, style: matrix, explode: true", `{"R":100,"G":200}`, "/x;G=200;R=100"},
		{"/x", "in: query", `"blue"`, "/x?color=blue"},
		{"/x", "in: query", `["blue","black"]`, "/x?color=blue&color=black"},
		{"/x", "in: query, explode: false", `["blue","black"]`, "/x?color=blue,black"},
		{"/x", "in: query", `{"R":100,"G":200}`, "/x?G=200&R=100"},
		{"/x", "in: query, explode: false", `{"R":100,"G":200}`, "/x?color=G,200,R,100"},
		{"/x", "in: query, style: spaceDelimited, explode: false", `["blue","black"]`, "/x?color=blue%20black"},
		{"/x", "in: query, style: spaceDelimited, explode: false", `{"R":100,"G":200}`, "/x?color=G%20200%20R%20100"},
		{"/x", "in: query, style: pipeDelimited, explode: false", `["blue","black"]`, "/x?color=blue%7Cblack"},
		{"/x", "in: query, style: deepObject, explode: true", `{"R":100,"G":200}`, "/x?color%5BG%5D=200&color%5BR%5D=100"},
		{"/x", "in: query, style: deepObject", `{"a":{"b":[1,2]}}`, "/x?color%5Ba%5D%5Bb%5D=1&color%5Ba%5D%5Bb%5D=2"},
		{"/x", "in: query", `""`, "/x?color="},
		{"/x", "in: query", `null`, "/x"},
		{"/x", "in: query", `[]`, "/x"},
		{"/x", "in: query", `12345678901234567890`, "/x?color=12345678901234567890"},
		{"/x", "in: query", `true`, "/x?color=true"},
		// What must be escaped is.
		{"/x/{color}", "in: path", `"a/b?c#d e%ü"`, "/x/a%2Fb%3Fc%23d%20e%25%C3%BC"},
		{"/x", "in: query", `"a&b=c+d e#f/ü"`, "/x?color=a%26b%3Dc%2Bd%20e%23f%2F%C3%BC"},
		{"/x", "in: query, allowReserved: true", `"a/b:c?d&e=f#g"`, "/x?color=a/b:c?d%26e%3Df%23g"},
		{"/x", "in: query, explode: false", `["a,b","c"]`, "/x?color=a%2Cb,c"},
		{"/x", "in: query, content: {application/json: {schema: {type: object}}}", `{"a":[1,"ü"]}`, "/x?color=%7B%22a%22%3A%5B1%2C%22%C3%BC%22%5D%7D"},
		{"/x y/{color}", "in: path", `"b"`, "/x%20y/b"},
		{"/x", "in: header", `"blue"`, "header blue"},
		{"/x", "in: header", `["blue","black"]`, "header blue,black"},
		{"/x", "in: header", `{"R":100,"G":200}`, "header G,200,R,100"},
		{"/x", "in: header, explode: true", `{"R":100,"G":200}`, "header G=200,R=100"},
		{"/x", "in: cookie", `"blue; x=y"`, "cookie color=blue%3B%20x%3Dy"},
		{"/x", "in: cookie, explode: false", `["blue","black"]`, "cookie color=blue,black"},
		// What would lead elsewhere is refused.
		{"/x/{color}", "in: path", `".."`, "error: color: must not have . or .. as a part of a path"},
		{"/x/{color}", "in: path", `"../admin"`, "error: color: must not have . or .."},
		{"/x/{color}", "in: path", `"a/../../admin"`, "error: color: must not have . or .."},
		{"/x/{color}", "in: path", `"..\\admin"`, "error: color: must not have . or .."},
		{"/x/{color}", "in: path", `"%2e%2e/admin"`, "error: color: must not have . or .."},
		{"/x/{color}", "in: path", `"%252e%252e%252fadmin"`, "error: color: must not have . or .."},
		{"/x/{color}", "in: path", `"."`, "error: color: must not have . or .."},
		{"/x/{color}", "in: path", `[".."]`, "error: color: must not have . or .."},
		{"/x/{color}", "in: path", `""`, "error: color: must not be empty"},
		{"/x/{color}", "in: path", `[]`, "error: color: must not be empty"},
		{"/x", "in: header", `"a\r\nX-Evil: 1"`, "error: color: must not hold line ends"},
		{"/x", "in: header", `["a\nb"]`, "error: color: must not hold line ends"},
	} {
		required := ""
		if strings.Contains(x.parameter, "path") {
			required = ", required: true"
		}
		schema := ", schema: {}"
		if strings.Contains(x.parameter, "content") {
			schema = ""
		}
		c := open(t, Config{BaseURL: s.URL, Document: document(t, oneOperation("3.0.3", "get", `"`+x.path+`"`, "parameters: [{name: color, "+x.parameter+required+schema+"}]\n"))})
		s.last = nil
		got := ask(t, c, "op", `{"color":`+x.args+`}`)
		switch {
		case s.last == nil:
		case strings.HasPrefix(x.want, "header "):
			got = "header " + s.last.Header.Get("color")
		case strings.HasPrefix(x.want, "cookie "):
			got = "cookie " + s.last.Header.Get("Cookie")
		default:
			got = s.last.RequestURI
		}
		if got != x.want && !(strings.HasPrefix(x.want, "error: ") && strings.HasPrefix(got, x.want) && s.last == nil) {
			t.Errorf("%s {%s} %s: %q, want %q", x.path, x.parameter, x.args, got, x.want)
		}
	}
}

func TestBodies(t *testing.T) {
	s := serve(t, nil)
	object := "schema: {type: object, required: [a], properties: {a: {type: string}, n: {type: integer}, l: {type: array, items: {type: string}}, o: {type: object}, ro: {type: string, readOnly: true}, f: {type: string, format: binary}}}"
	for _, x := range []struct{ body, args, media, want string }{
		{"required: true, content: {application/json: {" + object + "}}", `{"a":"ü","n":12345678901234567890,"o":{"x":null}}`, "application/json", `{"a":"ü","n":12345678901234567890,"o":{"x":null}}`},
		{"content: {application/json: {" + object + "}}", `{}`, "", ""},
		{"required: true, content: {application/json: {schema: {type: object, properties: {x: {type: string}}}}}", `{}`, "application/json", `{}`},
		{"required: true, content: {application/json: {schema: {type: array, items: {type: string}}}}", `{"body":["a"]}`, "application/json", `["a"]`},
		{"required: true, content: {application/json: {schema: {type: object}}}", `{"body":{"free":1}}`, "application/json", `{"free":1}`},
		{"required: true, content: {application/json: {schema: {type: object, additionalProperties: {type: string}, properties: {a: {type: string}}}}}", `{"body":{"a":"1","b":"2"}}`, "application/json", `{"a":"1","b":"2"}`},
		{"required: true, content: {application/merge-patch+json: {schema: {type: object}}}", `{"body":{"a":null}}`, "application/merge-patch+json", `{"a":null}`},
		{"required: true, content: {'*/*': {schema: {type: object}}}", `{"body":{"a":1}}`, "application/json", `{"a":1}`},
		{"required: true, content: {text/plain: {schema: {type: string}}}", `{"body":"hello"}`, "text/plain", "hello"},
		{"required: true, content: {application/xml: {schema: {type: object, properties: {a: {type: string}}}}}", `{"body":"<a/>"}`, "application/xml", "<a/>"},
		{"required: true, content: {application/x-www-form-urlencoded: {" + object + "}}", `{"a":"x y&z","n":1,"l":["p","q"],"o":{"k":"v"}}`, "application/x-www-form-urlencoded", "a=x%20y%26z&l=p&l=q&n=1&o=%7B%22k%22%3A%22v%22%7D"},
		{"required: true, content: {application/x-www-form-urlencoded: {" + object + ", encoding: {l: {style: pipeDelimited, explode: false}, o: {style: deepObject}}}}", `{"a":"1","l":["p","q"],"o":{"k":"v"}}`, "application/x-www-form-urlencoded", "a=1&l=p%7Cq&o%5Bk%5D=v"},
	} {
		c := open(t, Config{BaseURL: s.URL, Document: document(t, oneOperation("3.0.3", "post", "/x", "requestBody: {"+x.body+"}\n"))})
		got := ask(t, c, "op", x.args)
		if s.body != x.want || s.last.Header.Get("Content-Type") != x.media || strings.HasPrefix(got, "error") {
			t.Errorf("%s %s: %q %q, want %q (%s)", x.body, x.args, s.last.Header.Get("Content-Type"), s.body, x.want, got)
		}
	}
	c := open(t, Config{BaseURL: s.URL, Document: document(t, oneOperation("3.1.0", "post", "/x", "requestBody: {required: true, content: {multipart/form-data: {"+object+", encoding: {a: {contentType: text/markdown}}}}}\n"))})
	ask(t, c, "op", `{"a":"ü","l":["p","q"],"o":{"k":1},"f":"text of the file"}`)
	r := &http.Request{Method: "POST", Header: s.last.Header, Body: io.NopCloser(strings.NewReader(s.body))}
	if err := r.ParseMultipartForm(1 << 20); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string][]string{"a": {"ü"}, "l": {"p", "q"}, "o": {`{"k":1}`}}, r.MultipartForm.Value); d != "" {
		t.Error(d)
	}
	file, err := r.MultipartForm.File["f"][0].Open()
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(file); err != nil || string(data) != "text of the file" || !strings.Contains(s.body, "text/markdown") || !strings.Contains(s.body, "application/json") {
		t.Errorf("%q, %v in %s", data, err, s.body)
	}
}

func TestAnswers(t *testing.T) {
	var status int
	var header http.Header
	var answer string
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for name := range header {
			w.Header().Set(name, header.Get(name))
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	})
	c := open(t, Config{BaseURL: s.URL, ResponseBytes: 5000, Document: document(t, oneOperation("3.0.0", "get", "/x", ""))})
	for _, x := range []struct {
		status                              int
		media, location, answer, text, json string
	}{
		{200, "application/json", "", "{\"a\": 12345678901234567890}\n", `{"a":12345678901234567890}`, `{"a":12345678901234567890}`},
		{200, "application/hal+json; charset=utf-8", "", `[1, 2]`, `[1,2]`, `{"result":[1,2]}`},
		{200, "application/json", "", `"x"`, `"x"`, `{"result":"x"}`},
		{200, "application/json", "", `{broken`, `{broken`, ""},
		{200, "text/plain", "", "hello", "hello", ""},
		{200, "text/plain", "", "caf\xe9", "caf\ufffd", ""},
		{200, "application/pdf", "", "%PDF\x00\x01", "The answer is no text: 6 bytes of application/pdf.", ""},
		{204, "", "", "", "Done: 204 No Content", ""},
		{201, "", "/x/7", "", "Done: 201 Created\n[Location: /x/7]", ""},
		{201, "application/json", "/x/7", `{"id":7}`, "{\"id\":7}\n[Location: /x/7]", `{"id":7}`},
		{404, "application/json", "", `{"message": "no such thing"}`, `error: the service answered 404 Not Found: {"message": "no such thing"}`, ""},
		{422, "application/problem+json", "", `{"type":"about:blank","title":"Out of stock","detail":"Only 3 left","left":3}`, `error: the service answered 422 Unprocessable Entity: Out of stock. Only 3 left {"left":3}`, ""},
		{400, "text/html", "", "<html>Bad</html>", "error: the service answered 400 Bad Request", ""},
		{400, "text/plain", "", strings.Repeat("x", 3000), "error: the service answered 400 Bad Request: " + strings.Repeat("x", maxProblem) + "… (cut)", ""},
		{401, "", "", "", "error: the service answered 401 Unauthorized (it wants credentials, or others than the operator configured)", ""},
		{500, "text/plain", "", "stack trace", "failure: the service answered 500 Internal Server Error", ""},
		{503, "", "", "", "failure: the service answered 503 Service Unavailable", ""},
		{304, "", "", "", "error: the service answered 304 Not Modified, which leads to another place and is not followed", ""},
		{200, "application/json", "", `"` + strings.Repeat("x", 6000) + `"`, "error: the answer has more than 5000 bytes: ask for less, such as fewer items or one page", ""},
	} {
		status, header, answer = x.status, http.Header{}, x.answer
		if x.media != "" {
			header.Set("Content-Type", x.media)
		}
		if x.location != "" {
			header.Set("Location", x.location)
		}
		if got := ask(t, c, "op", `{}`); got != x.text {
			t.Errorf("%d %s %.60s: %q, want %q", x.status, x.media, x.answer, got, x.text)
		}
		if r, err := run(t, c, "op", `{}`); err == nil && string(r.Structured) != x.json {
			t.Errorf("%d %s %.60s: structured %s, want %s", x.status, x.media, x.answer, r.Structured, x.json)
		}
	}
	status, header, answer = 429, http.Header{"Retry-After": {"7"}}, ""
	if got := ask(t, c, "op", `{}`); !strings.Contains(got, "429 Too Many Requests (try again after 7)") {
		t.Error(got)
	}
	status, header, answer = 200, http.Header{"Content-Type": {"image/png"}}, "\x89PNG"
	if r, err := run(t, c, "op", `{}`); err != nil || r.Content[0].Type != router.ContentImage || r.Content[0].MIME != "image/png" || string(r.Content[0].Data) != answer {
		t.Errorf("an image: %+v, %v", r, err)
	}
	s.Close()
	if got := ask(t, c, "op", `{}`); got != "failure: the service cannot be reached: the host refused the connection" {
		t.Error(got)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := c.Run(ctx, &router.Call{Tool: "op", Arguments: json.RawMessage(`{}`)}); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that nobody waits for: %v", err)
	}
}

func TestRedirects(t *testing.T) {
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the other host was reached") })
	var to string
	status := 302
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/there" {
			_, _ = io.WriteString(w, r.Method)
			return
		}
		http.Redirect(w, r, to, status)
	})
	doc := document(t, oneOperation("3.0.0", "get", "/x", "")+"    post: {operationId: post, responses: {}}\n")
	c := open(t, Config{BaseURL: s.URL, Document: doc})
	to = "/there"
	if got := ask(t, c, "op", `{}`); got != "GET" {
		t.Errorf("on the same host: %q", got)
	}
	if got := ask(t, c, "post", `{}`); !strings.HasPrefix(got, "error: the service answered 302 Found, which leads to another place and is not followed") {
		t.Errorf("a write: %q", got)
	}
	if status = 307; ask(t, c, "post", `{}`) != "POST" {
		t.Error("a write that stays one is not followed")
	}
	for _, to = range []string{elsewhere.URL, "http://169.254.169.254/", "file:///etc/passwd", strings.Replace(s.URL, "127.0.0.1", "localhost", 1)} {
		if got := ask(t, c, "op", `{}`); !strings.HasPrefix(got, "error: the service leads to another place, which is not followed") {
			t.Errorf("to %s: %q", to, got)
		}
	}
}

func TestHead(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Content-Length", "7")
	})
	c := open(t, Config{BaseURL: s.URL, Document: document(t, oneOperation("3.0.0", "head", "/x", ""))})
	if got := ask(t, c, "op", `{}`); got != "200 OK\nContent-Length: 7\nEtag: \"1\"" {
		t.Errorf("%q", got)
	}
}
