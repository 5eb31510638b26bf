package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// maxListens is how many requests subscriptions/listen are answered at the same time.
const maxListens = 1024

// pulse is how often a stream that has nothing to say says so: proxies cut
// connections that are silent, and a client that is gone is noticed.
const pulse = 25 * time.Second

// hub passes changes of what connectors offer on to all clients.
type hub struct {
	router   *router.Router
	draining chan struct{} // closed when streams are to end
	once     sync.Once
	ending   sync.WaitGroup // subscriptions that are being ended

	mu      sync.Mutex
	outlets map[*outlet]struct{}
	listens int
}

func newHub(r *router.Router) *hub {
	return &hub{router: r, draining: make(chan struct{}), outlets: map[*outlet]struct{}{}}
}

// open returns an outlet that hears of changes until it is closed.
func (h *hub) open() *outlet {
	o := &outlet{hub: h, ready: make(chan struct{}, 1), ended: make(chan struct{}), watched: map[string]*watched{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outlets[o] = struct{}{}
	return o
}

func (h *hub) remove(o *outlet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.outlets, o)
}

func (h *hub) changed(c router.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for o := range h.outlets {
		o.add(c)
	}
}

// drain ends all streams, and those that are yet to come.
func (h *hub) drain() { h.once.Do(func() { close(h.draining) }) }

// listen counts a request subscriptions/listen. done is called at its end.
func (h *hub) listen() (done func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listens >= maxListens {
		return nil, &inference.RetryError{Err: fmt.Errorf("%d clients listen already: %w", maxListens, inference.ErrBusy)}
	}
	h.listens++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.listens--
	}, nil
}

// allLists is what clients of the protocols before 2026-07-28 hear of unasked.
var allLists = mcp.SubscriptionFilter{ToolsListChanged: true, PromptsListChanged: true, ResourcesListChanged: true}

// changeHooks has mcp-go say what this server tells of changes, and tells it. mcp-go
// itself broadcasts nothing: its queue would drop what a slow client leaves.
func (s *Server) changeHooks(hooks *server.Hooks) {
	declare := func(c *mcp.ServerCapabilities) {
		if c.Tools != nil {
			c.Tools.ListChanged = true
		}
		if c.Prompts != nil {
			c.Prompts.ListChanged = true
		}
		if c.Resources != nil {
			c.Resources.ListChanged = true
		}
	}
	hooks.AddAfterInitialize(func(ctx context.Context, _ any, request *mcp.InitializeRequest, result *mcp.InitializeResult) {
		if q := callFrom(ctx).questions(); q != nil {
			q.declare(request.Params.Capabilities)
		}
		declare(&result.Capabilities)
	})
	hooks.AddAfterDiscover(func(_ context.Context, _ any, _ *mcp.DiscoverRequest, result *mcp.DiscoverResult) {
		declare(&result.Capabilities)
	})
	hooks.AddAfterSubscribe(func(ctx context.Context, _ any, request *mcp.SubscribeRequest, _ *mcp.EmptyResult) {
		c := callFrom(ctx)
		if err := s.subscribe(ctx, c.outlet(), request.Params.URI); err != nil {
			c.failure = translate(ctx, request, err)
		}
	})
	hooks.AddAfterUnsubscribe(func(ctx context.Context, _ any, request *mcp.UnsubscribeRequest, _ *mcp.EmptyResult) {
		if o := callFrom(ctx).outlet(); o != nil {
			o.unsubscribe(request.Params.URI)
		}
	})
	hooks.AddBeforeSubscriptionsListen(func(ctx context.Context, _ any, request *mcp.SubscriptionsListenRequest) {
		c := callFrom(ctx)
		if err := s.listen(ctx, c, request.Params.Notifications); err != nil {
			c.failure = failed(err)
		}
		// All is said: mcp-go has only the end of the stream to tell.
		request.Params.Notifications, c.listened = mcp.SubscriptionFilter{}, true
	})
}

// subscribe subscribes a client to a resource.
func (s *Server) subscribe(ctx context.Context, o *outlet, uri string) error {
	if o == nil {
		return inference.Invalid("params.uri", "there is no session whose stream could tell of changes: initialize one first")
	}
	if !s.routes(uri) {
		if _, err := s.readModel(uri); err != nil && uri != modelsURI {
			return &notFoundError{uri: uri, err: router.ErrNoResource}
		}
		return fmt.Errorf("%w: changes of %s are not told", inference.ErrUnsupported, uri)
	}
	return o.subscribe(ctx, uri)
}

// listen answers subscriptions/listen until the client is gone or the server drains.
func (s *Server) listen(ctx context.Context, c *call, want mcp.SubscriptionFilter) error {
	if c.emit == nil {
		return inference.Invalid("Accept", "must hold text/event-stream: what changes is told as a stream")
	}
	if len(want.ResourceSubscriptions) > maxWatched {
		return inference.Invalid("params.notifications.resourceSubscriptions", "must name at most %d resources, got %d", maxWatched, len(want.ResourceSubscriptions))
	}
	done, err := s.hub.listen()
	if err != nil {
		return err
	}
	defer done()
	o := s.hub.open()
	defer o.close()
	allowed := want
	allowed.ResourceSubscriptions = nil
	for _, uri := range want.ResourceSubscriptions {
		// The acknowledgement says which could be: the others are left out of it.
		if err := s.subscribe(ctx, o, uri); err == nil {
			allowed.ResourceSubscriptions = append(allowed.ResourceSubscriptions, uri)
		}
	}
	o.want(allowed)
	id := json.RawMessage(c.msg.id)
	if err := c.notify(mcp.MethodNotificationSubscriptionsAcknowledged, struct {
		Meta          map[string]json.RawMessage `json:"_meta"`
		Notifications mcp.SubscriptionFilter     `json:"notifications"`
	}{map[string]json.RawMessage{mcp.MetaKeySubscriptionID: id}, allowed}); err != nil {
		return err
	}
	if allowed.IsEmpty() {
		return nil
	}
	return o.deliver(ctx, c.until, c.emit, id, c.tick)
}

// get is the stream on which a session hears of changes.
func (e *endpoint) get(w http.ResponseWriter, r *http.Request) {
	id, named := sessionID(r)
	if !named || mcp.IsModernProtocol(r.Header.Get(mcp.HeaderProtocolVersion)) {
		w.Header().Set("Allow", "POST, DELETE")
		refuse(w, http.StatusMethodNotAllowed, "", mcp.INVALID_REQUEST, "GET is the stream of a session and needs its Mcp-Session-Id; in protocol "+mcp.ProtocolVersion20260728+" POST subscriptions/listen instead")
		return
	}
	s, err := e.sessions.find(id, callerOf(r.Context()))
	if err != nil {
		refuse(w, http.StatusNotFound, "", mcp.INVALID_REQUEST, err.Error())
		return
	}
	reply := newReply(w, r)
	if !reply.accepts {
		refuse(w, http.StatusNotAcceptable, "", mcp.INVALID_REQUEST, "Accept must hold text/event-stream")
		return
	}
	replaced, detach := s.outlet.attach()
	defer detach()
	defer reply.reset()
	if err := reply.begin(); err != nil {
		return
	}
	if err := s.outlet.deliver(r.Context(), replaced, reply.event, nil, reply.comment); err != nil {
		e.log.Debug().Err(err).Msg("mcp stream of changes ended")
	}
}

// heartbeat is a ticker that may not be.
type heartbeat struct{ t *time.Ticker }

func newHeartbeat(tick func() error) heartbeat {
	if tick == nil {
		return heartbeat{}
	}
	return heartbeat{time.NewTicker(pulse)}
}

func (h heartbeat) c() <-chan time.Time {
	if h.t == nil {
		return nil
	}
	return h.t.C
}

func (h heartbeat) stop() {
	if h.t != nil {
		h.t.Stop()
	}
}
