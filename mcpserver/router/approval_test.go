package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hearth/inference"
)

func TestApprovalsBindToTheVeryCall(t *testing.T) {
	ann, bob := inference.Caller{Principal: "ann"}, inference.Caller{Principal: "bob"}
	w := newWorld(t, nil)
	f := offers("put", "drop")
	w.add(t, "db", f, Options{})
	call := func(who inference.Caller, tool, arguments string) error {
		_, err := w.Call(t.Context(), &Request{Caller: who, Tool: "db__" + tool, Arguments: json.RawMessage(arguments)})
		return err
	}
	var waits *ApprovalError
	if err := call(ann, "put", `{"a":1,"b":2}`); !errors.As(err, &waits) || !strings.Contains(err.Error(), "hearth approvals approve "+waits.ID) || f.made() != 0 {
		t.Fatalf("got %v after %d calls", err, f.made())
	}
	var again *ApprovalError
	if err := call(ann, "put", `{"b":2, "a":1}`); !errors.As(err, &again) || again.ID != waits.ID {
		t.Errorf("the same call asks anew: %v", err)
	}
	if list := w.Approvals().List(); len(list) != 1 || list[0].Principal != "ann" || list[0].Tool != "db__put" || string(list[0].Arguments) != `{"a":1,"b":2}` || list[0].State != ApprovalPending {
		t.Errorf("listed %+v", list)
	}
	if _, err := w.Approvals().Decide(waits.ID, true); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]func() error{
		"another caller":   func() error { return call(bob, "put", `{"a":1,"b":2}`) },
		"another tool":     func() error { return call(ann, "drop", `{"a":1,"b":2}`) },
		"another argument": func() error { return call(ann, "put", `{"a":1,"b":3}`) },
		"one argument more": func() error {
			return call(ann, "put", `{"a":1,"b":2,"c":null}`)
		},
	} {
		if err := other(); !errors.Is(err, inference.ErrApproval) || f.made() != 0 {
			t.Errorf("%s goes through: %v", name, err)
		}
	}
	if err := call(ann, "put", `{ "b":2,"a":1 }`); err != nil || f.made() != 1 {
		t.Errorf("the approved call: %v", err)
	}
	if got := w.journal.outcomeOf(t); got.Approval != waits.ID || got.Rule != "approved by a person" {
		t.Errorf("recorded %+v", got)
	}
	if err := call(ann, "put", `{"a":1,"b":2}`); !errors.As(err, &again) || again.ID == waits.ID {
		t.Errorf("an approval is used twice: %v", err)
	}
	// Another definition of the tool is another call.
	if _, err := w.Approvals().Decide(again.ID, true); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.tools[0].Description = "does something else now"
	f.mu.Unlock()
	f.change(Change{Tools: true})
	if err := call(ann, "put", `{"a":1,"b":2}`); !errors.Is(err, inference.ErrApproval) || f.made() != 1 {
		t.Errorf("a changed tool goes through: %v", err)
	}
}

// TestApprovalsAreSpentByWhatRuns: a call that a limit turns away keeps its approval,
// and of two calls at once one has it.
func TestApprovalsAreSpentByWhatRuns(t *testing.T) {
	w := newWorld(t, nil)
	f := offers("put")
	w.add(t, "db", f, Options{})
	var waits *ApprovalError
	if _, err := w.call(t.Context(), "db__put", "{}"); !errors.As(err, &waits) {
		t.Fatal(err)
	}
	if _, err := w.Approvals().Decide(waits.ID, true); err != nil {
		t.Fatal(err)
	}
	w.journal.err = errors.New("disk full")
	if _, err := w.call(t.Context(), "db__put", "{}"); err == nil || f.made() != 0 {
		t.Fatalf("%v after %d calls", err, f.made())
	}
	w.journal.err = nil
	results := make(chan error, 8)
	for range cap(results) {
		go func() { _, err := w.call(context.Background(), "db__put", "{}"); results <- err }()
	}
	through := 0
	for range cap(results) {
		if err := <-results; err == nil {
			through++
		} else if !errors.Is(err, inference.ErrApproval) {
			t.Error(err)
		}
	}
	if through != 1 || f.made() != 1 {
		t.Errorf("%d calls went through, %d ran", through, f.made())
	}
}

func TestDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.ApprovalTime = time.Minute })
		f := offers("put")
		w.add(t, "db", f, Options{})
		ask := func() string {
			t.Helper()
			var waits *ApprovalError
			if _, err := w.call(t.Context(), "db__put", "{}"); !errors.As(err, &waits) {
				t.Fatal(err)
			}
			return waits.ID
		}
		id := ask()
		if _, err := w.Approvals().Decide(id, false); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Approvals().Decide(id, true); !errors.Is(err, inference.ErrInvalid) {
			t.Errorf("decided twice: %v", err)
		}
		var waits *ApprovalError
		if _, err := w.call(t.Context(), "db__put", "{}"); !errors.Is(err, inference.ErrApproval) || errors.As(err, &waits) || !strings.Contains(err.Error(), "refused this call") {
			t.Errorf("a refused call: %v", err)
		}
		id = ask()
		time.Sleep(time.Minute)
		if _, err := w.Approvals().Decide(id, true); !errors.Is(err, inference.ErrInvalid) || !strings.Contains(err.Error(), "was forgotten") {
			t.Errorf("after its time: %v", err)
		}
		// An approval that is not used is forgotten, too.
		id = ask()
		if _, err := w.Approvals().Decide(id, true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := w.call(t.Context(), "db__put", "{}"); !errors.Is(err, inference.ErrApproval) || f.made() != 0 {
			t.Errorf("an old approval: %v", err)
		}
	})
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.ApprovalTime = time.Minute })
		w.add(t, "db", offers("put"), Options{})
		for _, c := range []struct {
			name   string
			decide func(id string, cancel context.CancelFunc)
			want   bool
			err    error
		}{
			{"approved", func(id string, _ context.CancelFunc) { _, _ = w.Approvals().Decide(id, true) }, true, nil},
			{"refused", func(id string, _ context.CancelFunc) { _, _ = w.Approvals().Decide(id, false) }, false, nil},
			{"forgotten", func(string, context.CancelFunc) {}, false, nil},
			{"given up", func(_ string, cancel context.CancelFunc) { cancel() }, false, context.Canceled},
		} {
			var waits *ApprovalError
			if _, err := w.call(t.Context(), "db__put", `{"case":"`+c.name+`"}`); !errors.As(err, &waits) {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			go func() { synctest.Wait(); c.decide(waits.ID, cancel) }()
			got, err := w.Approvals().Wait(ctx, waits.ID)
			cancel()
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%s: %v, %v", c.name, got, err)
			}
			synctest.Wait()
		}
	})
}

func TestApprovalsAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	w.add(t, "db", offers("put"), Options{})
	for i := range maxApprovalsPrincipal + 1 {
		_, err := w.call(t.Context(), "db__put", fmt.Sprintf(`{"n":%d}`, i))
		if last := i == maxApprovalsPrincipal; errors.Is(err, inference.ErrBusy) != last {
			t.Fatalf("call %d: %v", i, err)
		}
	}
}

// TestTaint: after a result that strangers may have written, what writes or sends
// needs an approval, also where it is allowed; in that conversation only.
func TestTaint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		f := &fakeConnector{tools: []Tool{
			{Name: "fetch", Input: anything, Effects: Effects{Outside: true, Untrusted: true}},
			{Name: "mail", Input: anything, Effects: Effects{Outside: true}},
			{Name: "put", Input: anything, Effects: Effects{Writes: true}},
			{Name: "get", Input: anything},
		}}
		w.add(t, "x", f, Options{Allow: []string{"*"}})
		asks := func(conversation, tool string) bool {
			t.Helper()
			result, err := w.Call(t.Context(), &Request{Caller: inference.DefaultCaller, Conversation: conversation, Tool: "x__" + tool})
			if err != nil && !errors.Is(err, inference.ErrApproval) {
				t.Fatal(err)
			}
			if err == nil && result.Untrusted != (tool == "fetch") {
				t.Errorf("%s: untrusted %v", tool, result.Untrusted)
			}
			return err != nil
		}
		expect := func(conversation string, want string) {
			t.Helper()
			got := ""
			for _, tool := range []string{"get", "put", "mail", "fetch"} {
				if asks(conversation, tool) {
					got += tool + " "
				}
			}
			if strings.TrimSpace(got) != want {
				t.Errorf("in %q ask: %q, want %q", conversation, got, want)
			}
		}
		expect("one", "")
		expect("one", "put mail")
		expect("two", "")
		expect("", "")
		expect("", "put mail")
		time.Sleep(DefaultConfig().TaintTime)
		expect("one", "put mail")
		expect("", "")
	})
	t.Run("by what came with the conversation", func(t *testing.T) {
		w := newWorld(t, nil)
		w.add(t, "x", offers("put"), Options{Allow: []string{"*"}})
		for _, untrusted := range []bool{false, true} {
			_, err := w.Call(t.Context(), &Request{Caller: inference.DefaultCaller, Conversation: "one", Untrusted: untrusted, Tool: "x__put"})
			if asks := errors.Is(err, inference.ErrApproval); asks != untrusted {
				t.Errorf("untrusted %v: %v", untrusted, err)
			}
		}
	})
	t.Run("by a resource or a prompt", func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Redact = []string{`hunter\d`} })
		w.add(t, "own", &shelf{}, Options{})
		w.add(t, "web", &shelf{untrusted: true}, Options{})
		w.add(t, "x", offers("put"), Options{Allow: []string{"*"}})
		for conversation, read := range map[string]func(conversation, label string) error{
			"resource": func(conversation, label string) error {
				_, err := w.ReadResource(t.Context(), inference.DefaultCaller, conversation, label+"+a:1")
				return err
			},
			"prompt": func(conversation, label string) error {
				_, messages, err := w.Prompt(t.Context(), inference.DefaultCaller, conversation, label+"__p", nil)
				if err == nil && messages[0].Content.Text != "[redacted]" {
					t.Errorf("a prompt says %q", messages[0].Content.Text)
				}
				return err
			},
		} {
			for _, label := range []string{"own", "web"} {
				if err := read(conversation, label); err != nil {
					t.Fatal(err)
				}
				_, err := w.Call(t.Context(), &Request{Caller: inference.DefaultCaller, Conversation: conversation, Tool: "x__put"})
				if asks := errors.Is(err, inference.ErrApproval); asks != (label == "web") {
					t.Errorf("after a %s of %s: %v", conversation, label, err)
				}
			}
		}
	})
	t.Run("off", func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Taint = false })
		f := offers("put")
		f.tools = append(f.tools, Tool{Name: "fetch", Input: anything, Effects: Effects{Untrusted: true}})
		w.add(t, "x", f, Options{Allow: []string{"*"}})
		for _, tool := range []string{"x__fetch", "x__put"} {
			if _, err := w.call(t.Context(), tool, "{}"); err != nil {
				t.Errorf("%s: %v", tool, err)
			}
		}
	})
}

// shelf has a resource and a prompt, and a tool that says whose text they are.
type shelf struct {
	fakeConnector
	untrusted bool
}

func (s *shelf) Tools() []Tool {
	return []Tool{{Name: "get", Input: anything, Effects: Effects{Untrusted: s.untrusted}}}
}

func (s *shelf) Resources(context.Context, string, int) ([]Resource, string, error) {
	return nil, "", nil
}

func (s *shelf) ResourceTemplates(context.Context) ([]ResourceTemplate, error) { return nil, nil }

func (s *shelf) ReadResource(_ context.Context, uri string) ([]ResourceContents, error) {
	return []ResourceContents{{URI: uri, Text: "text"}}, nil
}

func (s *shelf) Prompts() []Prompt { return []Prompt{{Name: "p"}} }

func (s *shelf) Prompt(context.Context, string, map[string]string) (string, []PromptMessage, error) {
	return "", []PromptMessage{{Role: "user", Content: Content{Type: ContentText, Text: "hunter2"}}}, nil
}
