package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// maxWatched is how many resources one client may be subscribed to.
const maxWatched = 256

var errOutletEnded = fmt.Errorf("the session has ended: %w", inference.ErrCancelled)

// outlet holds what one client is to hear of changes until it is written: for each
// list and for each resource at most one notification. A client that reads slowly
// misses repetitions and nothing else. It is safe for concurrent use.
type outlet struct {
	hub   *hub
	ready chan struct{} // holds one value while there is something to write
	ended chan struct{} // closed when the client is gone for good

	mu       sync.Mutex
	wants    mcp.SubscriptionFilter // of lists
	tools    bool                   // has changed and was not told
	resource bool
	prompts  bool
	updated  []string // resources, in the order of their first change
	watched  map[string]*watched
	replaced chan struct{} // closed when another stream takes over; nil: there is none
	closed   bool
}

// watched is a resource that a client is subscribed to.
type watched struct {
	stop func() // nil until the connector looks at it
}

// want says of which lists the client wants to hear.
func (o *outlet) want(f mcp.SubscriptionFilter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f.ResourceSubscriptions = nil
	o.wants = f
}

// add takes note of a change.
func (o *outlet) add(c router.Change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tools = o.tools || c.Tools && o.wants.ToolsListChanged
	o.resource = o.resource || c.Resources && o.wants.ResourcesListChanged
	o.prompts = o.prompts || c.Prompts && o.wants.PromptsListChanged
	if o.watched[c.Resource] != nil && !slices.Contains(o.updated, c.Resource) {
		o.updated = append(o.updated, c.Resource)
	}
	o.wake()
}

// wake makes ready readable if something is to be written. The lock is held.
func (o *outlet) wake() {
	if !o.tools && !o.resource && !o.prompts && len(o.updated) == 0 {
		return
	}
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// note is a notification about a change.
type note struct {
	method string
	uri    string // of notifications/resources/updated
}

// next takes the next notification out of the outlet.
func (o *outlet) next() (n note, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.tools:
		o.tools, n = false, note{method: mcp.MethodNotificationToolsListChanged}
	case o.resource:
		o.resource, n = false, note{method: mcp.MethodNotificationResourcesListChanged}
	case o.prompts:
		o.prompts, n = false, note{method: mcp.MethodNotificationPromptsListChanged}
	case len(o.updated) > 0:
		n = note{mcp.MethodNotificationResourceUpdated, o.updated[0]}
		o.updated = o.updated[1:]
	default:
		return note{}, false
	}
	return n, true
}

// again puts back what could not be written.
func (o *outlet) again(n note) {
	switch n.method {
	case mcp.MethodNotificationToolsListChanged:
		o.add(router.Change{Tools: true})
	case mcp.MethodNotificationResourcesListChanged:
		o.add(router.Change{Resources: true})
	case mcp.MethodNotificationPromptsListChanged:
		o.add(router.Change{Prompts: true})
	default:
		o.add(router.Change{Resource: n.uri})
	}
}

// noteParams are the parameters of a note.
type noteParams struct {
	URI  string                     `json:"uri,omitempty"`
	Meta map[string]json.RawMessage `json:"_meta,omitempty"`
}

// deliver writes notifications until ctx or the client ends, the server drains or
// until is closed. subscription is the id of the request that the stream answers;
// nil: none. tick, which may be nil, makes sure now and then that the client is there.
func (o *outlet) deliver(ctx context.Context, until <-chan struct{}, emit func([]byte) error, subscription json.RawMessage, tick func() error) error {
	beat := newHeartbeat(tick)
	defer beat.stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-until:
			return nil
		case <-o.ended:
			return nil
		case <-o.hub.draining:
			return nil
		case <-beat.c():
			if err := tick(); err != nil {
				return err
			}
		case <-o.ready:
			for n, ok := o.next(); ok; n, ok = o.next() {
				params := noteParams{URI: n.uri}
				if subscription != nil {
					params.Meta = map[string]json.RawMessage{mcp.MetaKeySubscriptionID: subscription}
				}
				data, err := notification(n.method, params)
				if err == nil {
					err = emit(data)
				}
				if err != nil {
					o.again(n)
					return err
				}
			}
		}
	}
}

// attach makes the caller the one who writes what the outlet holds: whoever did
// before has its channel closed. detach gives that up.
func (o *outlet) attach() (replaced <-chan struct{}, detach func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.replaced != nil {
		close(o.replaced)
	}
	mine := make(chan struct{})
	o.replaced = mine
	o.wake() // what the one before has left
	return mine, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.replaced == mine {
			o.replaced = nil
		}
		o.wake()
	}
}

// attached reports whether somebody writes what the outlet holds.
func (o *outlet) attached() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.replaced != nil
}

// subscribe begins to tell of changes of a resource. To do it twice is to do it once.
func (o *outlet) subscribe(ctx context.Context, uri string) error {
	o.mu.Lock()
	switch {
	case o.closed:
		o.mu.Unlock()
		return errOutletEnded
	case o.watched[uri] != nil:
		o.mu.Unlock()
		return nil
	case len(o.watched) >= maxWatched:
		o.mu.Unlock()
		return inference.Invalid("params.uri", "you are subscribed to %d resources, the most there may be: unsubscribe from one", maxWatched)
	}
	w := &watched{}
	o.watched[uri] = w
	o.mu.Unlock()
	stop, err := o.hub.router.Watch(ctx, uri)
	o.mu.Lock()
	mine := o.watched[uri] == w // nobody has unsubscribed meanwhile
	if err != nil {
		if mine {
			delete(o.watched, uri)
		}
		o.mu.Unlock()
		if errors.Is(err, router.ErrNoResource) {
			return &notFoundError{uri: uri, err: err}
		}
		return err
	}
	w.stop = stop
	o.mu.Unlock()
	if !mine {
		stop()
	}
	return nil
}

// unsubscribe ends it. To end what never began is fine.
func (o *outlet) unsubscribe(uri string) {
	o.mu.Lock()
	w := o.watched[uri]
	delete(o.watched, uri)
	o.updated = slices.DeleteFunc(o.updated, func(u string) bool { return u == uri })
	var stop func()
	if w != nil {
		stop = w.stop
	}
	o.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// close ends the outlet and all its subscriptions.
func (o *outlet) close() {
	o.hub.remove(o)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.closed = true
	close(o.ended)
	var stops []func()
	for _, w := range o.watched {
		if w.stop != nil {
			stops = append(stops, w.stop)
		}
	}
	o.watched = map[string]*watched{}
	if len(stops) > 0 {
		// A connector may have to ask another machine.
		o.hub.ending.Go(func() {
			for _, stop := range stops {
				stop()
			}
		})
	}
}
