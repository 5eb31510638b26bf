package agent

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// connector has put (writes), which answers by its arguments, and page (untrusted),
// which has all kinds of content.
type connector struct{}

func (connector) Tools() []router.Tool {
	in := json.RawMessage(`{"type":"object"}`)
	return []router.Tool{
		{Name: "put", Description: "Put.", Input: in, Effects: router.Effects{Writes: true}},
		{Name: "page", Description: "Page.", Input: in, Effects: router.Effects{Untrusted: true}},
		{Name: "bare", Description: "Bare.", Input: in},
	}
}

func (connector) Run(_ context.Context, c *router.Call) (*router.Result, error) {
	switch c.Tool {
	case "put":
		return router.Text("put " + string(c.Arguments)), nil
	case "bare":
		return &router.Result{Structured: json.RawMessage(`{"n":1}`)}, nil
	}
	c.Progress(router.Progress{Progress: 1, Total: 4})
	return &router.Result{Content: []router.Content{
		{Type: router.ContentText, Text: "text"},
		{Type: router.ContentImage, MIME: "image/png", Data: []byte("png")},
		{Type: router.ContentLink, Resource: router.Resource{URI: "x://1", Name: "one"}},
		{Type: router.ContentResource, Contents: router.ResourceContents{URI: "x://2", Text: "embedded"}},
		{Type: router.ContentResource, Contents: router.ResourceContents{URI: "x://3", MIME: "a/b", Blob: []byte("12")}},
	}}, nil
}

func (connector) Close(context.Context) error { return nil }

func TestRouted(t *testing.T) {
	r, err := router.New(router.DefaultConfig(), router.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add("x", connector{}, router.Options{}); err != nil {
		t.Fatal(err)
	}
	routed := &Routed{Router: r}
	list := routed.List(t.Context(), inference.DefaultCaller)
	if len(list) != 3 || list[0].Full != "x__put" || list[0].ReadOnly || !list[1].ReadOnly || list[1].Label != "x" || list[1].Name != "page" {
		t.Errorf("listed %+v", list)
	}
	var progress []string
	call := func(who, tool, arguments, approval string) Outcome {
		t.Helper()
		o, err := routed.Call(t.Context(), &Call{
			Caller: inference.Caller{Principal: who}, Conversation: who + tool, Tool: tool, Arguments: json.RawMessage(arguments), Approval: approval,
			Progress: func(m string) { progress = append(progress, m) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if o := call("ann", "x__bare", "{}", ""); o.Text != `{"n":1}` || o.Untrusted {
		t.Errorf("structured content: %+v", o)
	}
	o := call("ann", "x__page", "{}", "")
	if want := "text\n[image: image/png, 3 bytes, not shown]\n[resource x://1: one]\nembedded\n[resource x://3: a/b, 2 bytes, not shown]"; o.Text != want || !o.Untrusted || len(progress) != 1 || progress[0] != "1 of 4" {
		t.Errorf("content: %+v, progress %v", o, progress)
	}
	waits := call("ann", "x__put", `{"a":1}`, "")
	if waits.Approval == "" || !waits.IsError || !strings.Contains(waits.Text, waits.Approval) {
		t.Fatalf("a call that writes: %+v", waits)
	}
	// An approval is its own caller's, and of that call.
	if o := call("bob", "x__put", `{"a":1}`, waits.Approval); o.Approval == "" || o.Approval == waits.Approval {
		t.Errorf("another caller: %+v", o)
	}
	if a, ok := r.Approvals().Get(waits.Approval); !ok || a.State != router.ApprovalPending {
		t.Errorf("another caller approved it: %+v", a)
	}
	if o := call("ann", "x__put", `{"a":2}`, waits.Approval); o.Approval == "" {
		t.Errorf("another call: %+v", o)
	}
	if o := call("ann", "x__put", `{"a":1}`, waits.Approval); o.Text != `put {"a":1}` || o.IsError {
		t.Errorf("the call that was approved: %+v", o)
	}
	if o := call("ann", "x__none", `{}`, ""); !o.IsError || !strings.Contains(o.Text, "no such tool") {
		t.Errorf("no tool: %+v", o)
	}
}

// TestApprovalWait: with a wait the call goes on when a person has decided, and
// says so when nobody does.
func TestApprovalWait(t *testing.T) {
	r, err := router.New(router.DefaultConfig(), router.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add("x", connector{}, router.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		wait   time.Duration
		decide func(id string)
		want   string
		waits  bool
	}{
		{"approved", time.Hour, func(id string) { _, _ = r.Approvals().Decide(id, true) }, `put {"case":"approved"}`, false},
		{"refused", time.Hour, func(id string) { _, _ = r.Approvals().Decide(id, false) }, "a person refused this call", false},
		{"nobody comes", time.Nanosecond, func(string) {}, "needs a person's approval", true},
	} {
		routed := &Routed{Router: r, ApprovalWait: c.wait}
		o, err := routed.Call(t.Context(), &Call{
			Caller: inference.DefaultCaller, Tool: "x__put", Arguments: json.RawMessage(`{"case":"` + c.name + `"}`),
			Progress: func(m string) {
				if id, ok := strings.CutPrefix(m, "waits for the approval "); ok {
					c.decide(id)
				}
			},
		})
		if err != nil || !strings.Contains(o.Text, c.want) || (o.Approval != "") != c.waits {
			t.Errorf("%s: %+v, %v", c.name, o, err)
		}
	}
}

// TestRefusalAsksNobodyAgain: all who wait for one approval hear that it was refused, one
// whose client left meanwhile among them, and no call asks again by that.
func TestRefusalAsksNobodyAgain(t *testing.T) {
	r, err := router.New(router.DefaultConfig(), router.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add("x", connector{}, router.Options{}); err != nil {
		t.Fatal(err)
	}
	routed := &Routed{Router: r, ApprovalWait: time.Hour}
	gone, leave := context.WithCancel(t.Context())
	asked := make(chan string, 3)
	type answer struct {
		o   Outcome
		err error
	}
	answers := make([]chan answer, 3)
	for i, ctx := range []context.Context{t.Context(), t.Context(), gone} {
		answers[i] = make(chan answer, 1)
		go func() {
			o, err := routed.Call(ctx, &Call{
				Caller: inference.DefaultCaller, Tool: "x__put", Arguments: json.RawMessage(`{"a":1}`),
				Progress: func(m string) { asked <- strings.TrimPrefix(m, "waits for the approval ") },
			})
			answers[i] <- answer{o, err}
		}()
	}
	id := <-asked
	for range 2 {
		if other := <-asked; other != id {
			t.Errorf("the same call waits for %s and for %s", id, other)
		}
	}
	leave()
	if a := <-answers[2]; !errors.Is(a.err, context.Canceled) {
		t.Errorf("whose client left: %+v", a)
	}
	if _, err := r.Approvals().Decide(id, false); err != nil {
		t.Fatal(err)
	}
	for _, c := range answers[:2] {
		if a := <-c; a.err != nil || a.o.Approval != "" || !strings.Contains(a.o.Text, "a person refused this call") {
			t.Errorf("refused: %+v", a)
		}
	}
	if left := r.Approvals().List(); len(left) != 0 {
		t.Errorf("asked again: %+v", left)
	}
}

// TestRoutedTellsOfStrangers: what came with the conversation reaches the router.
func TestRoutedTellsOfStrangers(t *testing.T) {
	r, err := router.New(router.DefaultConfig(), router.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add("x", connector{}, router.Options{Allow: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	routed := &Routed{Router: r}
	for _, untrusted := range []bool{false, true} {
		o, err := routed.Call(t.Context(), &Call{Caller: inference.DefaultCaller, Conversation: "one", Untrusted: untrusted, Tool: "x__put"})
		if err != nil || (o.Approval != "") != untrusted {
			t.Errorf("untrusted %v: %+v, %v", untrusted, o, err)
		}
	}
}
