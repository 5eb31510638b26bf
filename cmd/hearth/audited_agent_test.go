package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/internal/audit"
	"hearth/internal/config"
	"hearth/internal/httpserver"
	"hearth/internal/telemetry"
)

// roundModel answers each request for a chat with the next of its answers.
type roundModel struct {
	fakeModel
	turns   sync.Mutex
	answers [][]inference.Event
}

func (m *roundModel) Chat(ctx context.Context, r *inference.ChatRequest) (inference.Stream, error) {
	m.turns.Lock()
	defer m.turns.Unlock()
	one := &fakeModel{events: m.answers[0]}
	m.answers = m.answers[1:]
	return one.Chat(ctx, r)
}

type roundModels struct{ m *roundModel }

func (f roundModels) List() []inference.ModelStatus { return fakeModels{&f.m.fakeModel}.List() }

func (f roundModels) Acquire(context.Context, string) (inference.Lease, error) { return f.m, nil }

// callsTool returns an answer that is these calls: a name and its arguments, each.
func callsTool(of ...string) []inference.Event {
	var out []inference.Event
	for i := 0; i < len(of); i += 2 {
		out = append(out, inference.Event{Kind: inference.EventDelta, ToolCall: &inference.ToolCallDelta{
			Index: i / 2, ID: fmt.Sprintf("c%d", i/2), Name: of[i], Arguments: of[i+1],
		}})
	}
	return append(out,
		inference.Event{Kind: inference.EventFinish, Finish: inference.FinishToolCalls},
		inference.Event{Kind: inference.EventUsage, Usage: inference.Usage{PromptTokens: 11, CompletionTokens: 4}})
}

// auditLine is a line of the audit file.
type auditLine struct {
	Message, Action, Call, Principal, Tenant, Via, Tool, Definition, Rule, Approval, Outcome string

	RequestID string `json:"request_id"`
	Arguments string `json:"arguments_hmac"`
	Bytes     int    `json:"result_bytes"`
}

// brief is what of a record of a call is the same in each run.
func (l *auditLine) brief() string {
	out := strings.TrimPrefix(l.Message, "tool_") + " " + l.Tool
	if l.Rule != "" {
		out += " by: " + l.Rule
	}
	if l.Outcome != "" {
		out += " → " + l.Outcome
	}
	return out
}

// TestCallsOfTheAgentAreInTheAuditFile: what a model calls in the middle of an answer
// is recorded like a call of anybody else, with the request that it belongs to and on
// whose behalf it was made, in the order in which things were done.
func TestCallsOfTheAgentAreInTheAuditFile(t *testing.T) {
	for name, c := range map[string]struct{ path, body string }{
		"chat":     {"/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"mcp","server_label":"notes"}]}`},
		"streamed": {"/v1/chat/completions", `{"stream":true,"messages":[{"role":"user","content":"x"}],"tools":[{"type":"mcp","server_label":"notes"}]}`},
		"response": {"/v1/responses", `{"store":false,"input":"x","tools":[{"type":"mcp","server_label":"notes"}]}`},
		"ask":      {"/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask","arguments":{"prompt":"x","read_only":false}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "secretname.txt"), []byte("the code is marigold"), 0o600); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "audit.log")
			cfg := defaultConfig()
			text := "connectors:\n  - name: notes\n    files: {roots: [{path: " + dir + ", write: true}]}\n"
			if err := config.Decode("test.yaml", []byte(text), &cfg); err != nil {
				t.Fatal(err)
			}
			cfg.Audit.File = file
			kept, err := audit.Open(cfg.Audit, zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			read, gone := []string{"notes__read", `{"path":"secretname.txt"}`}, []string{"notes__read", `{ "path" : "none.txt" }`}
			write := []string{"notes__write", `{"path":"new.txt","content":"new"}`}
			model := &roundModel{answers: [][]inference.Event{
				callsTool(read...), callsTool(gone...), callsTool(write...), // the answer ends there
				callsTool(write...), says("done"), // of the same caller, when a person approved
				callsTool(read...), says("marigold"), // of another
			}}
			models := &audited{Models: roundModels{model}, sink: kept}
			metrics := telemetry.NewMetrics("test")
			r, err := newRouter(t.Context(), &cfg, models, kept, metrics, zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			a := &app{cfg: cfg, log: zerolog.Nop(), metrics: metrics, health: newHealth("test"), router: r}
			h := httpserver.New(cfg.Server, httpserver.Options{Log: zerolog.Nop(), Identify: identifyFromHeader})
			if err := a.routes(h.Router(), models); err != nil {
				t.Fatal(err)
			}
			ask := func(principal string) (requestID string) {
				q := httptest.NewRequest("POST", c.path, strings.NewReader(c.body))
				q.Host = "localhost"
				q.Header.Set("Content-Type", "application/json")
				q.Header.Set("Principal", principal)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, q)
				if w.Code != http.StatusOK {
					t.Fatalf("%d %s", w.Code, w.Body)
				}
				return w.Header().Get(httpserver.RequestIDHeader)
			}
			first := ask("ann")
			waiting := r.Approvals().List()
			if len(waiting) != 1 {
				t.Fatalf("%d calls wait", len(waiting))
			}
			if _, err := r.Approvals().Decide(waiting[0].ID, true); err != nil {
				t.Fatal(err)
			}
			second, third := ask("ann"), ask("bob")
			for _, s := range a.mcp {
				s.Close()
			}
			if err := closeRouter(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := kept.Close(); err != nil {
				t.Fatal(err)
			}

			whole, calls := readAudit(t, file)
			if regexp.MustCompile(`secretname|none\.txt|new\.txt|marigold`).MatchString(whole) {
				t.Errorf("the file holds what was asked or answered:\n%s", whole)
			}
			want := map[string][]string{
				first + " ann": {
					"intent notes__read by: it only reads", "outcome notes__read by: it only reads → ok",
					"intent notes__read by: it only reads", "outcome notes__read by: it only reads → tool_error",
					"outcome notes__write by: it changes something, and the configuration does not allow it → approval_required",
				},
				second + " ann": {"intent notes__write by: approved by a person", "outcome notes__write by: approved by a person → ok"},
				third + " bob":  {"intent notes__read by: it only reads", "outcome notes__read by: it only reads → ok"},
			}
			calledTools := 5
			if c.path == "/mcp" { // a call of the tool ask is around those that it makes
				calledTools += len(want)
				for of, calls := range want {
					by := " by: the calls that it makes are decided one by one"
					want[of] = slices.Concat([]string{"intent ask" + by}, calls, []string{"outcome ask" + by + " → ok"})
				}
			}
			got := map[string][]string{}
			answers := map[string]int{}
			ids, hmacs := map[string]int{}, map[string]map[string]bool{}
			for _, l := range calls {
				of := l.RequestID + " " + l.Principal
				if l.Action == inference.ActionChat {
					answers[of]++
					continue
				}
				if l.Via != "POST "+c.path || l.Tenant != l.Principal+"'s" || len(l.Definition) != 64 || len(l.Arguments) != 64 {
					t.Errorf("record %+v", l)
				}
				if (l.Approval != "") != (l.Rule == "approved by a person") || l.Approval != "" && l.Approval != waiting[0].ID {
					t.Errorf("the approval %q in %+v", l.Approval, l)
				}
				if l.Outcome == "ok" && l.Bytes == 0 {
					t.Errorf("a result without a size in %+v", l)
				}
				got[of] = append(got[of], l.brief())
				ids[l.Call]++
				if hmacs[l.Tool] == nil {
					hmacs[l.Tool] = map[string]bool{}
				}
				hmacs[l.Tool][l.Arguments] = true
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			// Each call has two records, but for the one that waited for a person.
			if len(ids) != calledTools || ids[""] != 0 {
				t.Errorf("ids of calls %v", ids)
			}
			if len(hmacs["notes__read"]) != 2 || len(hmacs["notes__write"]) != 1 {
				t.Errorf("the same arguments do not have the same digest, or others have: %v", hmacs)
			}
			if answers[first+" ann"] != 3 || answers[second+" ann"] != 2 || answers[third+" bob"] != 2 {
				t.Errorf("records of the model's own answers: %v", answers)
			}
		})
	}
}

// identifyFromHeader says on whose behalf a request is, as authentication would.
func identifyFromHeader(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := r.Header.Get("Principal")
		ctx := inference.WithCaller(r.Context(), inference.Caller{Principal: who, Tenant: who + "'s"})
		next.ServeHTTP(w, r.WithContext(audit.WithVia(ctx, r.Method+" "+r.URL.Path)))
	})
}

// readAudit returns an audit file, whole and by its lines.
func readAudit(t *testing.T, file string) (whole string, all []auditLine) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(strings.NewReader(string(data)))
	for lines.Scan() {
		var l auditLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		all = append(all, l)
	}
	return string(data), all
}
