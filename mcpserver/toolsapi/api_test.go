package toolsapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/rs/zerolog"

	"hearth/mcpserver/router"
)

// desk is a connector with a tool that reads and one that writes.
type desk struct{}

func (desk) Tools() []router.Tool {
	input := json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}`)
	return []router.Tool{
		{Name: "read", Title: "Read", Description: "reads", Input: input, Output: json.RawMessage(`{"type":"object"}`)},
		{Name: "write", Description: "writes", Input: input, Effects: router.Effects{Writes: true, Destroys: true, Outside: true}},
	}
}

func (desk) Run(_ context.Context, c *router.Call) (*router.Result, error) {
	if c.Tool == "write" {
		return &router.Result{Content: router.Text("no paper").Content, IsError: true}, nil
	}
	return &router.Result{Structured: c.Arguments, Content: []router.Content{
		{Type: router.ContentText, Text: "a <b>"},
		{Type: router.ContentImage, Data: []byte{1, 2, 3}, MIME: "image/png"},
		{Type: router.ContentLink, Resource: router.Resource{URI: "a:b", Name: "n", MIME: "text/plain"}},
		{Type: router.ContentResource, Contents: router.ResourceContents{URI: "c:d", Text: "t", MIME: "text/plain"}},
	}}, nil
}

func (desk) Close(context.Context) error { return nil }

// serve returns how to send a request to the routes.
func serve(t *testing.T) func(method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	c := router.DefaultConfig()
	c.Rate = router.Rate{Calls: 4, Per: time.Hour}
	r, err := router.New(c, router.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add("desk", desk{}, router.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	say := func(*http.Request) string { return "test" }
	mux := chi.NewRouter()
	(&API{Config{Router: r, Log: zerolog.Nop(), MaxBodyBytes: 200, RequestID: say, Via: say}}).Routes(mux)
	return func(method, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w
	}
}

func TestTools(t *testing.T) {
	send := serve(t)
	want := `{"tools":[{"name":"desk__read","connector":"desk","title":"Read","description":"reads",`
	if w := send("GET", "/v1/tools", ""); w.Code != 200 || !strings.HasPrefix(w.Body.String(), want) ||
		!strings.Contains(w.Body.String(), `"effects":{"writes":true,"destroys":true,"outside":true,"untrusted":false}`) {
		t.Errorf("list: %d %s", w.Code, w.Body)
	}
	want = `{"content":[{"type":"text","text":"a <b>"},{"type":"image","data":"AQID","mimeType":"image/png"},` +
		`{"type":"resource_link","mimeType":"text/plain","uri":"a:b","name":"n"},{"type":"resource","text":"t","mimeType":"text/plain","uri":"c:d"}],` +
		`"structuredContent":{"n":1},"isError":false}` + "\n"
	if w := send("POST", "/v1/tools/desk__read", ` {"n": 1}`); w.Code != 200 || w.Body.String() != want {
		t.Errorf("call: %d %s\nwant %s", w.Code, w.Body, want)
	}
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"/v1/tools/desk__read", `{"n":"x"}`, 400, `"param":"n"`},
		{"/v1/tools/desk__read", `{"n":1e9999999}`, 400, "number"},
		{"/v1/tools/desk__read", `{"n":1,"m":"` + strings.Repeat("x", 300) + `"}`, 400, "larger than 200 bytes"},
		{"/v1/tools/desk__none", `{"n":1}`, 404, "desk__none"},
		{"/v1/tools/desk__write", `{"n":1}`, 403, "ap-"},
	} {
		if w := send("POST", c.path, c.body); w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %.40s: %d %s", c.path, c.body, w.Code, w.Body)
		}
	}
	for range 4 {
		send("POST", "/v1/tools/desk__read", `{"n":1}`)
	}
	w := send("POST", "/v1/tools/desk__read", `{"n":1}`)
	if w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("beyond the rate: %d %v %s", w.Code, w.Header(), w.Body)
	}
}

func TestApprovals(t *testing.T) {
	send := serve(t)
	if w := send("GET", "/v1/approvals", ""); strings.TrimSpace(w.Body.String()) != `{"approvals":[]}` {
		t.Errorf("none: %s", w.Body)
	}
	send("POST", "/v1/tools/desk__write", `{"n":1}`)
	var all Approvals
	if err := json.Unmarshal(send("GET", "/v1/approvals", "").Body.Bytes(), &all); err != nil || len(all.Approvals) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	one := all.Approvals[0]
	if one.Tool != "desk__write" || string(one.Arguments) != `{"n":1}` || one.State != "pending" || !one.Until.After(one.Asked) {
		t.Errorf("%+v", one)
	}
	at := "/v1/approvals/" + one.ID
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{at, ``, 400},
		{at, `{}`, 400},
		{at, `{"approve":"yes"}`, 400},
		{at, `{"approve":true,"for":"all"}`, 400},
		{"/v1/approvals/ap-none", `{"approve":true}`, 400},
	} {
		if w := send("POST", c.path, c.body); w.Code != c.status {
			t.Errorf("%s %s: %d %s", c.path, c.body, w.Code, w.Body)
		}
	}
	if w := send("POST", at, `{"approve":true}`); w.Code != 200 || !strings.Contains(w.Body.String(), `"state":"approved"`) {
		t.Fatalf("approve: %d %s", w.Code, w.Body)
	}
	if w := send("POST", "/v1/tools/desk__write", `{"n":2}`); w.Code != 403 {
		t.Errorf("other arguments: %d %s", w.Code, w.Body)
	}
	if w := send("POST", "/v1/tools/desk__write", `{"n":1}`); w.Code != 200 || !strings.Contains(w.Body.String(), `"isError":true`) {
		t.Errorf("the approved call: %d %s", w.Code, w.Body)
	}
	if w := send("POST", "/v1/tools/desk__write", `{"n":1}`); w.Code != 403 {
		t.Errorf("once more: %d %s", w.Code, w.Body)
	}
}
