package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"hearth/inference"
)

// holding answers "stay…" only once the channel is closed.
func holding() (*fakeModels, chan struct{}) {
	release := make(chan struct{})
	f := saying("done")
	f.hold = func(prompt string) <-chan struct{} {
		if strings.HasPrefix(prompt, "stay") {
			return release
		}
		return nil
	}
	return f, release
}

// pending is a call under way.
type pending struct {
	cancel context.CancelFunc // closes the stream
	answer chan []rpc         // nil if the stream was closed
}

func (p *peer) start(id, prompt string) pending {
	ctx, cancel := context.WithCancel(context.Background())
	out := pending{cancel: cancel, answer: make(chan []rpc, 1)}
	body, h := p.request(id, "tools/call", fmt.Sprintf(`"name":"chat","arguments":{"prompt":%q}`, prompt), "")
	go func() {
		r, err := p.try(ctx, body, h)
		if err != nil {
			out.answer <- nil
			return
		}
		all, err := messages(r)
		if err != nil {
			all = nil
		}
		out.answer <- all
	}()
	p.t.Cleanup(cancel)
	return out
}

func (p *peer) sendCancel(id string) int {
	h := http.Header{}
	if p.session != "" {
		h.Set("Mcp-Session-Id", p.session)
	}
	meta := ""
	if p.version == modern {
		h.Set("Mcp-Protocol-Version", modern)
		h.Set("Mcp-Method", "notifications/cancelled")
		meta = `,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	}
	r := p.post(context.Background(), `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+id+meta+`}}`, h)
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// TestCancelInSession: a session cancels its own call 1 and no other call 1.
func TestCancelInSession(t *testing.T) {
	f, release := holding()
	url := serve(t, newServer(t, f))
	alice, bob, carol := connect(t, url, legacy), connect(t, url, legacy), connect(t, url, modern)
	mine, text, theirs, hers := alice.start("1", "stay"), alice.start(`"1"`, "stay"), bob.start("1", "stay"), carol.start("1", "stay")
	eventually(t, "four calls run", func() bool { return f.waiting.Load() == 4 })
	if got := alice.sendCancel("1"); got != 202 {
		t.Errorf("cancel: %d", got)
	}
	answer := <-mine.answer
	if len(answer) != 1 || answer[0].Error == nil || answer[0].Error.Code != inference.Classify(inference.ErrCancelled).RPC {
		t.Errorf("the cancelled call is answered %+v", answer)
	}
	eventually(t, "the slot is free", func() bool { return f.waiting.Load() == 3 && f.open.Load() == 3 && f.leases.Load() == 3 })
	if len(f.ended) != 1 || !errors.Is(f.ended[0], inference.ErrCancelled) {
		t.Errorf("ended: %v", f.ended)
	}
	for _, unknown := range []string{"2", `"x"`} {
		if got := alice.sendCancel(unknown); got != 202 {
			t.Errorf("cancel of what does not run: %d", got)
		}
	}
	close(release)
	for name, p := range map[string]pending{`alice's "1"`: text, "bob's 1": theirs, "carol's 1": hers} {
		if got := <-p.answer; len(got) != 1 || got[0].tool(t).Content[0].Text != "done" {
			t.Errorf("%s is answered %+v", name, got)
		}
	}
}

// TestNoCancelWithoutSession: nobody owns an id where there are no sessions, so
// only the closed stream cancels.
func TestNoCancelWithoutSession(t *testing.T) {
	for _, c := range []struct {
		name    string
		version string
	}{{"2026-07-28", modern}, {"before it", ""}} {
		t.Run(c.name, func(t *testing.T) {
			f, release := holding()
			url := serve(t, newServer(t, f))
			client := func() *peer {
				p := &peer{t: t, url: url, version: c.version, client: &http.Client{Transport: &http.Transport{}}}
				t.Cleanup(p.client.CloseIdleConnections)
				return p
			}
			alice, bob := client(), client()
			mine, theirs := alice.start("1", "stay"), bob.start("1", "stay")
			eventually(t, "two calls run", func() bool { return f.waiting.Load() == 2 })
			if got := alice.sendCancel("1"); got != 202 {
				t.Errorf("cancel: %d", got)
			}
			if n := f.waiting.Load(); n != 2 {
				t.Fatalf("%d calls run after a cancellation without a session", n)
			}
			mine.cancel()
			eventually(t, "the closed stream frees its slot", func() bool { return f.waiting.Load() == 1 && f.open.Load() == 1 })
			if got := <-mine.answer; got != nil {
				t.Errorf("a closed stream is answered %+v", got)
			}
			close(release)
			if got := <-theirs.answer; len(got) != 1 || got[0].tool(t).Content[0].Text != "done" {
				t.Errorf("bob is answered %+v", got)
			}
		})
	}
}

// TestEndOfSessionCancels: DELETE frees what the session still runs.
func TestEndOfSessionCancels(t *testing.T) {
	f, _ := holding()
	p := connect(t, serve(t, newServer(t, f)), legacy)
	call := p.start("1", "stay")
	eventually(t, "the call runs", func() bool { return f.waiting.Load() == 1 })
	req, _ := http.NewRequest(http.MethodDelete, p.url, nil)
	req.Header.Set("Mcp-Session-Id", p.session)
	r, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if got := <-call.answer; len(got) != 1 || got[0].Error == nil {
		t.Errorf("got %+v", got)
	}
}

// TestCallsOfOneSession: an id in use is refused, and so is a call too many.
func TestCallsOfOneSession(t *testing.T) {
	f, release := holding()
	p := connect(t, serve(t, newServer(t, f, func(c *Config) { c.MaxCallsPerSession = 2 })), legacy)
	a, b := p.start("1", "stay"), p.start("2", "stay")
	eventually(t, "both run", func() bool { return f.waiting.Load() == 2 })
	if _, r := p.call("1", "ping", "", ""); r.Error == nil || !strings.Contains(r.Error.Message, "still runs") {
		t.Errorf("the id of a running call: %+v", r)
	}
	if _, r := p.call("3", "ping", "", ""); r.Error == nil || r.Error.Code != inference.Classify(inference.ErrBusy).RPC {
		t.Errorf("a third call: %+v", r)
	}
	close(release)
	for _, c := range []pending{a, b} {
		if got := <-c.answer; len(got) != 1 || got[0].tool(t).IsError {
			t.Errorf("got %+v", got)
		}
	}
	if _, r := p.call("1", "ping", "", ""); r.Error != nil {
		t.Errorf("the id of a call that ended: %+v", r.Error)
	}
}
