package router

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// asking is a connector that asks elsewhere what it offers.
type asking struct {
	*fakeConnector
	err error
}

func (a asking) Refresh(context.Context) error {
	if a.err != nil {
		return a.err
	}
	a.mu.Lock()
	a.tools = append(a.tools, Tool{Name: "get_more", Description: "more", Input: anything})
	a.mu.Unlock()
	a.change(Change{Tools: true})
	return nil
}

func TestRefresh(t *testing.T) {
	w := newWorld(t, nil)
	w.add(t, "good", asking{offers("get"), nil}, Options{})
	w.add(t, "bad", asking{offers("get"), errors.New("the host is gone")}, Options{})
	w.add(t, "plain", offers("get"), Options{})
	err := w.Refresh(t.Context())
	if err == nil || err.Error() != "refresh connector bad: the host is gone" {
		t.Errorf("%v", err)
	}
	for tool, there := range map[string]bool{"good__get": true, "good__get_more": true, "bad__get": true, "bad__get_more": false, "plain__get": true} {
		if _, err := w.call(t.Context(), tool, `{}`); (err == nil) != there {
			t.Errorf("%s: %v", tool, err)
		}
	}
	if err := w.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("again: %v", err)
	}
}

// learning is a connector that learns what it offers.
type learning struct {
	*fakeConnector
	known <-chan struct{}
	err   error
}

func (l learning) AwaitLists(ctx context.Context) error {
	select {
	case <-l.known:
		return l.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// TestAwaitLists: all are waited for at the same time, and those that do not know in
// the end are named.
func TestAwaitLists(t *testing.T) {
	w := newWorld(t, nil)
	known := make(chan struct{})
	close(known)
	w.add(t, "good", learning{offers("get"), known, nil}, Options{})
	w.add(t, "bad", learning{offers("get"), known, errors.New("the program is gone")}, Options{})
	w.add(t, "plain", offers("get"), Options{})
	if err := w.AwaitLists(t.Context()); err == nil || err.Error() != "learn the lists of connector bad: the program is gone" {
		t.Errorf("%v", err)
	}
	w.add(t, "slow", learning{offers("get"), nil, nil}, Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("time is up"))
	if err := w.AwaitLists(ctx); err == nil || !strings.Contains(err.Error(), "connector slow: time is up") {
		t.Errorf("%v", err)
	}
}
