package mcpserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/mcpserver/router"
)

const nameSchema = `{"type":"object","properties":{"name":{"type":"string"}}}`

// greeter asks for a name and greets, and counts how often it ran.
func greeter(ran chan<- struct{}) *shelf {
	f := newShelf(1)
	f.run = func(ctx context.Context, c *router.Call) (*router.Result, error) {
		ran <- struct{}{}
		if c.Peer == nil {
			return nil, router.Missing(router.AskElicitation)
		}
		action, values, err := c.Peer.Elicit(ctx, "What is your name?", json.RawMessage(nameSchema))
		if err != nil {
			return nil, err
		}
		c.Log(router.LogMessage{Level: "debug", Data: json.RawMessage(`"details"`)})
		c.Log(router.LogMessage{Level: "warning", Logger: "greeter", Data: json.RawMessage(`"asked"`)})
		return router.Text(action + " " + string(values)), nil
	}
	return f
}

const initializeAsked = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"t","version":"1"}}}`

// question is a request of the server.
type question struct {
	ID     json.RawMessage
	Method string
	Params struct {
		Message         string
		RequestedSchema json.RawMessage
		Data            string
		Level           string
	}
	Result struct {
		IsError       bool
		Content       []struct{ Text string }
		ResultType    string
		InputRequests map[string]struct {
			Method string
			Params struct{ Message string }
		}
		RequestState string
	}
	Error *struct {
		Code int
		Data struct{ Field string }
	}
}

func nextQuestion(t *testing.T, in *bufio.Reader) (q question) {
	t.Helper()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		data, isData := strings.CutPrefix(line, "data: ")
		if !isData && !strings.HasPrefix(line, "{") {
			continue
		}
		if err := json.Unmarshal([]byte(data), &q); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		return q
	}
}

// TestAskedInTheStream: in the older protocols a tool's question is a request in the
// stream of its call, whose answer comes with another message of the same session.
func TestAskedInTheStream(t *testing.T) {
	ran := make(chan struct{}, 8)
	s := withShelf(t, greeter(ran))
	url := serve(t, s)
	begin := func() *peer {
		p := &peer{t: t, url: url, version: legacy, client: &http.Client{Transport: &http.Transport{}}}
		t.Cleanup(p.client.CloseIdleConnections)
		r := p.post(t.Context(), initializeAsked, nil)
		r.Body.Close()
		p.session = r.Header.Get("Mcp-Session-Id")
		return p
	}
	p, other := begin(), begin()
	for name, c := range map[string]struct{ answer, want string }{
		"accepted": {`"result":{"action":"accept","content":{"name":"Ada"}}`, `accept {"name":"Ada"}`},
		"declined": {`"result":{"action":"decline"}`, "decline "},
		"refused":  {`"error":{"code":-1,"message":"no person here"}`, "the client did not answer what it was asked: no person here (-1)"},
	} {
		t.Run(name, func(t *testing.T) {
			body, h := p.request("1", "tools/call", `"name":"lib__long","arguments":{}`, "")
			r := p.post(t.Context(), body, h)
			defer r.Body.Close()
			in := bufio.NewReader(r.Body)
			q := nextQuestion(t, in)
			if q.Method != "elicitation/create" || q.Params.Message != "What is your name?" || string(q.Params.RequestedSchema) != nameSchema {
				t.Fatalf("asked %+v", q)
			}
			for _, one := range []struct {
				p      *peer
				answer string
			}{{other, `"result":{"action":"accept","content":{"name":"Eve"}}`}, {p, c.answer}} {
				a := one.p.post(t.Context(), fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,%s}`, q.ID, one.answer), http.Header{"Mcp-Session-Id": {one.p.session}, "Mcp-Protocol-Version": {legacy}})
				a.Body.Close()
				if a.StatusCode != 202 {
					t.Fatalf("the answer: %d", a.StatusCode)
				}
			}
			q = nextQuestion(t, in)
			if q.Method == "notifications/message" { // debug is below what is told unasked
				if q.Params.Level != "warning" || q.Params.Data != "asked" {
					t.Errorf("log %+v", q.Params)
				}
				q = nextQuestion(t, in)
			}
			if len(q.Result.Content) != 1 || q.Result.Content[0].Text != c.want {
				t.Errorf("result %+v, want %q", q.Result, c.want)
			}
			<-ran
		})
	}
	t.Run("undeclared", func(t *testing.T) {
		answer := connect(t, url, legacy).ask(1, "tools/call", `"name":"lib__long","arguments":{}`)
		got := answer.tool(t)
		if !got.IsError || !strings.Contains(got.Content[0].Text, `capability "elicitation"`) {
			t.Errorf("result %+v", got)
		}
		<-ran
	})
}

// TestAskedOverStdio: the same between the lines of stdio.
func TestAskedOverStdio(t *testing.T) {
	ran := make(chan struct{}, 1)
	in, out, done := stdioPipes(t, withShelf(t, greeter(ran)))
	fmt.Fprintln(in, initializeAsked)
	nextQuestion(t, out)
	fmt.Fprintln(in, `{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{"level":"error"}}`)
	nextQuestion(t, out)
	fmt.Fprintln(in, `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"lib__long","arguments":{}}}`)
	q := nextQuestion(t, out)
	fmt.Fprintf(in, `{"jsonrpc":"2.0","id":%s,"result":{"action":"accept","content":{"name":"Ada"}}}`+"\n", q.ID)
	if q = nextQuestion(t, out); len(q.Result.Content) != 1 || q.Result.Content[0].Text != `accept {"name":"Ada"}` {
		t.Errorf("result %+v", q)
	}
	in.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestAskedByResult: in 2026-07-28 a question is the result, and the answer comes with
// the request made again. The tool runs once, and a state is good for its own
// request, of its own caller, once.
func TestAskedByResult(t *testing.T) {
	ran := make(chan struct{}, 8)
	s := withShelf(t, greeter(ran))
	send := func(caller, tool, more, capabilities string) question {
		t.Helper()
		line := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":{"a":1}%s,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":%s}}}`, tool, more, capabilities)
		var out bytes.Buffer
		ctx := inference.WithCaller(t.Context(), inference.Caller{Principal: caller})
		if err := s.ServeStdio(ctx, strings.NewReader(line), &out); err != nil {
			t.Fatal(err)
		}
		return nextQuestion(t, bufio.NewReader(&out))
	}
	const can = `{"elicitation":{}}`
	const accepted = `,"inputResponses":{"input":{"action":"accept","content":{"name":"Ada"}}}`
	state := func(q question) string { return fmt.Sprintf(`,"requestState":%q`, q.Result.RequestState) }

	q := send("me", "lib__long", "", can)
	if r := q.Result; r.ResultType != "input_required" || len(r.RequestState) < 20 || r.InputRequests["input"].Method != "elicitation/create" || r.InputRequests["input"].Params.Message != "What is your name?" {
		t.Fatalf("asked %+v", q)
	}
	for name, r := range map[string]question{
		"another caller":  send("eve", "lib__long", accepted+state(q), can),
		"another state":   send("me", "lib__long", accepted+`,"requestState":"`+q.Result.RequestState+`x"`, can),
		"no state at all": send("me", "lib__long", accepted+`,"requestState":"none"`, can),
	} {
		if r.Error == nil || r.Error.Code != -32602 || r.Error.Data.Field != "params.requestState" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	again := send("me", "lib__long", `,"inputResponses":{"input":7,"other":{}}`+state(q), can)
	if again.Result.ResultType != "input_required" || again.Result.RequestState == q.Result.RequestState {
		t.Fatalf("after an answer that is none: %+v", again)
	}
	last := send("me", "lib__long", accepted+state(again), can)
	if len(last.Result.Content) != 1 || last.Result.Content[0].Text != `accept {"name":"Ada"}` {
		t.Fatalf("result %+v", last)
	}
	if len(ran) != 1 {
		t.Errorf("the tool ran %d times", len(ran))
	}
	if r := send("me", "lib__long", accepted+state(again), can); r.Error == nil || r.Error.Code != -32602 {
		t.Errorf("the same state again: %+v", r)
	}
	if r := send("me", "lib__long", accepted, can); len(r.Result.Content) != 1 {
		t.Errorf("the answer with the first request: %+v", r)
	}
	if r := send("me", "lib__long", "", `{}`); r.Error == nil || r.Error.Code != -32021 {
		t.Errorf("a client that cannot be asked: %+v", r)
	}
	send("me", "lib__long", "", can) // nobody comes back: the end of the server ends it
}
