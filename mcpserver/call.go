package mcpserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/rs/zerolog"

	"hearth/inference"
)

// call is one message on its way through mcp-go. mcp-go sees it as the client
// session of that message alone: what mcp-go wants to tell the client lands
// here and is written in order before the result, and the key under which
// mcp-go files a running call is nobody else's. A call belongs to the goroutine
// that handles its message.
type call struct {
	msg     *message
	session *session
	// Made when mcp-go asks for them: key is random, what it takes for the id of a
	// session, and queued gets the few notifications that it sends itself.
	filed  sync.Once
	key    string
	queued chan mcp.JSONRPCNotification
	// emit writes one notification to the client, in order and before the
	// result. It is nil where the exchange carries nothing but the result.
	emit    func(notification []byte) error
	failure *failure
	server  *Server        // that handles it
	event   *zerolog.Event // the line of the log that a call of a tool ends with

	// Of a call of a tool, for what is told of it when it is over.
	requestID string // "" until a tool runs
	reached   bool   // a model was asked: it knows of the request
	refused   string // the code of what the tool failed with before that

	// Of what is told of changes.
	conn     *stdioConn      // nil over HTTP
	least    int             // severity of the least severe log message it gets; 0: none
	until    <-chan struct{} // closed when streams of this client are to end; nil: with the request
	tick     func() error    // makes sure that the client is there; nil: there is no need
	listened bool            // it was subscriptions/listen, and all was said

	// Of resources of connectors.
	cursor   string                           // where a page of a list begins
	resource map[string]server.ServerResource // the one to be read, by its URI
}

func newCall(msg *message, s *session) *call {
	return &call{msg: msg, session: s}
}

// file makes c known to mcp-go.
func (c *call) file() {
	c.filed.Do(func() { c.key, c.queued = rand.Text(), make(chan mcp.JSONRPCNotification, 8) })
}

// Initialize, Initialized, NotificationChannel and SessionID make a call the
// ClientSession that mcp-go asks for.
func (c *call) Initialize() {}

// Initialized reports that notifications may be sent.
func (c *call) Initialized() bool { return true }

// NotificationChannel takes the few notifications that mcp-go itself sends.
// Progress does not pass through it.
func (c *call) NotificationChannel() chan<- mcp.JSONRPCNotification {
	c.file()
	return c.queued
}

// SessionID returns the key of this one message.
func (c *call) SessionID() string {
	c.file()
	return c.key
}

// GetSessionResources returns the resource that this very message reads, where
// mcp-go does not know of it.
func (c *call) GetSessionResources() map[string]server.ServerResource { return c.resource }

// SetSessionResources implements server.SessionWithResources; nothing uses it.
func (c *call) SetSessionResources(r map[string]server.ServerResource) { c.resource = r }

// outlet returns where the client hears of changes; nil: nowhere.
func (c *call) outlet() *outlet {
	switch {
	case c.session != nil:
		return c.session.outlet
	case c.conn != nil:
		return c.conn.outlet
	}
	return nil
}

// questions returns what the client was asked; nil: it cannot be.
func (c *call) questions() *questions {
	switch {
	case c.session != nil:
		return c.session.questions
	case c.conn != nil:
		return c.conn.questions
	}
	return nil
}

// notify writes a notification.
func (c *call) notify(method string, params any) error {
	data, err := notification(method, params)
	if err != nil {
		return err
	}
	return c.emit(data)
}

// notification returns one as it is written.
func notification(method string, params any) ([]byte, error) {
	data, err := json.Marshal(struct {
		JSONRPC string `json:"jsonrpc"`
		Method  string `json:"method"`
		Params  any    `json:"params"`
	}{mcp.JSONRPC_VERSION, method, params})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", method, err)
	}
	return data, nil
}

// finish writes what mcp-go queued and returns the response as it goes out,
// with the error code that belongs to the failure.
func (c *call) finish(response []byte) ([]byte, error) {
	for len(c.queued) > 0 {
		n := <-c.queued
		if c.emit == nil || c.listened {
			continue
		}
		if err := c.notify(n.Method, n.Params); err != nil {
			return nil, err
		}
	}
	if c.failure == nil {
		return response, nil
	}
	return c.failure.response(c.msg.id), nil
}

// conversation tells the talk of one session from others of the same caller, for
// what strangers may have put into it; empty: there is no session.
func (c *call) conversation() string {
	if c.session == nil {
		return ""
	}
	return "mcp " + c.session.id
}

type callKey struct{}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

func callFrom(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// callerOf returns on whose behalf the message is handled.
func callerOf(ctx context.Context) inference.Caller { return inference.CallerFrom(ctx) }
