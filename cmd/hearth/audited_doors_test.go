package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/internal/audit"
	"hearth/internal/httpserver"
	"hearth/internal/telemetry"
	"hearth/mcpserver/router"
)

// ask is a request, the record it leaves, and the label of the model in the
// count of refusals; "none" where it is not refused.
type ask struct {
	name, body string
	want       audit.Record
	label      string
}

const notRefused = "none"

// checkRecords sends each ask, and checks that one record is left and that a
// refusal is counted once.
func checkRecords(t *testing.T, asks []ask, send func(models *audited, body string)) {
	t.Helper()
	for _, c := range asks {
		t.Run(c.name, func(t *testing.T) {
			kept := &sink{}
			metrics := telemetry.NewMetrics("test")
			m := &fakeModel{events: says("a")}
			if strings.Contains(c.body, "BUSY") {
				m.err = &inference.RetryError{Err: inference.ErrBusy}
			}
			send(&audited{Models: fakeModels{m}, sink: kept, rejected: metrics.Rejected}, c.body)
			for i := range kept.all {
				if kept.all[i].RequestID == "" {
					t.Error("a record without a request id")
				}
				kept.all[i].RequestID = ""
			}
			if d := cmp.Diff([]audit.Record{c.want}, kept.all); d != "" {
				t.Error(d)
			}
			w := httptest.NewRecorder()
			metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			var got []string
			for line := range strings.Lines(w.Body.String()) {
				if strings.HasPrefix(line, "hearth_requests_rejected_total{") {
					got = append(got, strings.TrimSpace(line))
				}
			}
			var want []string
			if c.label != notRefused {
				want = []string{fmt.Sprintf("hearth_requests_rejected_total{model=%q,reason=%q} 1", c.label, c.want.Outcome)}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// door returns a whole server over models, as hearth serve has it.
func door(t *testing.T, models *audited) http.Handler {
	t.Helper()
	cfg := defaultConfig()
	cfg.Server.MaxBody = 2 << 10
	a := &app{cfg: cfg, log: zerolog.Nop(), metrics: telemetry.NewMetrics("test"), health: newHealth("test"), router: emptyRouter(t)}
	s := httpserver.New(cfg.Server, httpserver.Options{Log: zerolog.Nop(), Identify: a.identify})
	if err := a.routes(s.Router(), models); err != nil {
		t.Fatal(err)
	}
	return s
}

// emptyRouter returns one without connectors, which keeps no records.
func emptyRouter(t *testing.T) *router.Router {
	t.Helper()
	r, err := router.New(router.DefaultConfig(), router.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func post(t *testing.T, h http.Handler, path, body string) {
	t.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Host = "localhost"
	r.Header.Set("Content-Type", "application/json")
	h.ServeHTTP(httptest.NewRecorder(), r)
}

// outcome returns the record of a request by way of via.
func outcome(via, action, model, code string) audit.Record {
	r := audit.Record{Principal: inference.DefaultCaller.Principal, Tenant: inference.DefaultCaller.Tenant, Via: via, Action: action, Model: model, Outcome: code}
	if code == "ok" {
		r.PromptTokens, r.CachedTokens, r.CompletionTokens = 11, 4, 1
	}
	return r
}

func TestEveryHTTPRequestLeavesOneRecord(t *testing.T) {
	long := strings.Repeat("m", 127) + "ü…" // cut in the middle of a character
	for path, c := range map[string]struct{ action, good string }{
		"/v1/chat/completions": {inference.ActionChat, `"messages":[{"role":"user","content":"Hi"}]`},
		"/v1/completions":      {inference.ActionComplete, `"prompt":"Hi"`},
	} {
		via := "POST " + path
		record := func(model, code string) audit.Record { return outcome(via, c.action, model, code) }
		checkRecords(t, []ask{
			{path + " answered", `{` + c.good + `}`, record("fake", "ok"), notRefused},
			{path + " streamed", `{"stream":true,` + c.good + `}`, record("fake", "ok"), notRefused},
			{path + " refused by the model", `{"user":"BUSY",` + c.good + `}`, record("fake", "queue_full"), "fake"},
			{path + " no JSON", `{"model":`, record("", "invalid_value"), ""},
			{path + " empty", ``, record("", "invalid_value"), ""},
			{path + " too large", `{"user":"` + strings.Repeat("x", 3<<10) + `",` + c.good + `}`, record("", "body_too_large"), ""},
			{path + " model of the wrong type", `{"model":7,` + c.good + `}`, record("", "invalid_value"), ""},
			{path + " unknown model", `{"model":"other",` + c.good + `}`, record("other", "model_not_found"), ""},
			{path + " model with a long name", `{"model":"` + long + `",` + c.good + `}`, record(long[:127], "model_not_found"), ""},
			{path + " field of the wrong type", `{"n":"two",` + c.good + `}`, record("fake", "invalid_value"), "fake"},
			{path + " field out of its range", `{"model":"fake","n":99,` + c.good + `}`, record("fake", "invalid_value"), "fake"},
		}, func(models *audited, body string) { post(t, door(t, models), path, body) })
	}
}

// TestTokenRoutesLeaveNoRecord: they ask no model for an answer.
func TestTokenRoutesLeaveNoRecord(t *testing.T) {
	kept := &sink{}
	h := door(t, &audited{Models: fakeModels{&fakeModel{}}, sink: kept})
	for _, body := range []string{`{"text":"a"}`, `{"text":7}`, `{"model":"other"}`} {
		post(t, h, "/v1/count_tokens", body)
	}
	if len(kept.all) != 0 {
		t.Errorf("recorded %+v", kept.all)
	}
}

func mcpAsks(via string) []ask {
	call := func(tool, arguments string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, tool, arguments)
	}
	return []ask{
		{"answered", call("chat", `{"prompt":"a"}`), outcome(via, "chat", "fake", "ok"), notRefused},
		{"continued", call("generate", `{"prompt":"a"}`), outcome(via, "complete", "fake", "ok"), notRefused},
		{"refused by the model", call("chat", `{"prompt":"BUSY"}`), outcome(via, "chat", "fake", "queue_full"), "fake"},
		{"refused by the schema", call("chat", `{"prompt":"a","model":"fake","top_p":7}`), outcome(via, "chat", "fake", "invalid_value"), "fake"},
		{"refused by the tool", call("chat", `{}`), outcome(via, "chat", "", "invalid_value"), ""},
		{"unknown model", call("generate", `{"prompt":"a","model":"other"}`), outcome(via, "complete", "other", "model_not_found"), ""},
	}
}

func TestEveryMCPCallLeavesOneRecord(t *testing.T) {
	checkRecords(t, mcpAsks("POST /mcp"), func(models *audited, body string) { post(t, door(t, models), "/mcp", body) })
}

func TestEveryStdioCallLeavesOneRecord(t *testing.T) {
	checkRecords(t, mcpAsks("mcp stdio"), func(models *audited, body string) {
		cfg := defaultConfig()
		r := emptyRouter(t)
		if err := addOwnTools(&cfg, models, r, zerolog.Nop()); err != nil {
			t.Fatal(err)
		}
		s, err := newMCPServer(&cfg, models, models.Refused, r, nil, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		ctx := audit.WithVia(inference.WithCaller(t.Context(), inference.DefaultCaller), "mcp stdio")
		if err := s.ServeStdio(ctx, strings.NewReader(body), &bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
	})
}
