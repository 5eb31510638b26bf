package mcpserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// maxRounds is how often a client is asked for what it left out of its answers.
const maxRounds = 10

// asker is the client of a call as connectors ask it. It outlives the message that
// began the call where the answers come with another one. It is safe for concurrent
// use.
type asker struct {
	can  func(method string) bool
	asks chan *asking // to whoever attends the call

	mu    sync.Mutex
	given map[string]json.RawMessage // answers that came before the question
}

// asking is a set of questions that waits for its answers.
type asking struct {
	questions map[string]router.Question
	done      chan struct{} // closed when all answers are there, or err

	mu      sync.Mutex
	answers map[string]json.RawMessage
	open    int
	err     error
}

// answer files the answer to one question. It is called once for each.
func (a *asking) answer(name string, result json.RawMessage, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == 0 {
		return
	}
	if a.open--; err != nil {
		a.err, a.open = err, 0
	} else if result != nil {
		a.answers[name] = result
	}
	if a.open == 0 {
		close(a.done)
	}
}

// Can implements router.Asker.
func (p *asker) Can(method string) bool { return p.can(method) }

// Ask implements router.Asker.
func (p *asker) Ask(ctx context.Context, questions map[string]router.Question) (map[string]json.RawMessage, error) {
	got := map[string]json.RawMessage{}
	for range maxRounds {
		missing := map[string]router.Question{}
		p.mu.Lock()
		for name, q := range questions {
			if !p.can(q.Method) {
				p.mu.Unlock()
				return nil, router.Missing(q.Method)
			}
			if fits(q.Method, p.given[name]) {
				got[name] = p.given[name]
			}
			delete(p.given, name)
			if got[name] == nil {
				missing[name] = q
			}
		}
		p.mu.Unlock()
		if len(missing) == 0 {
			return got, nil
		}
		a := &asking{questions: missing, done: make(chan struct{}), answers: map[string]json.RawMessage{}, open: len(missing)}
		select {
		case p.asks <- a:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if a.err != nil {
			return nil, a.err
		}
		p.mu.Lock()
		p.given = a.answers
		p.mu.Unlock()
	}
	return nil, &router.ToolError{Message: fmt.Sprintf("the client was asked %d times and did not answer what it was asked", maxRounds)}
}

// Elicit implements router.Peer.
func (p *asker) Elicit(ctx context.Context, message string, schema json.RawMessage) (action string, values json.RawMessage, err error) {
	params, err := json.Marshal(map[string]any{"message": message, "requestedSchema": schema})
	if err != nil {
		return "", nil, fmt.Errorf("encode a question: %w", err)
	}
	const name = "input"
	got, err := p.Ask(ctx, map[string]router.Question{name: {Method: router.AskElicitation, Params: params}})
	if err != nil {
		return "", nil, err
	}
	var answer struct {
		Action  string          `json:"action"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(got[name], &answer); err != nil {
		return "", nil, fmt.Errorf("decode an answer: %w", err)
	}
	return answer.Action, answer.Content, nil
}

// fits reports whether an answer has the form that its method asks for.
func fits(method string, answer json.RawMessage) bool {
	var a struct {
		Action  string          `json:"action"`
		Content json.RawMessage `json:"content"`
		Roots   []struct {
			URI string `json:"uri"`
		} `json:"roots"`
	}
	if len(answer) == 0 || json.Unmarshal(answer, &a) != nil {
		return false
	}
	switch method {
	case router.AskElicitation:
		return a.Action == "accept" || a.Action == "decline" || a.Action == "cancel"
	case router.AskSampling:
		return len(a.Content) > 0
	}
	return a.Roots != nil
}

// declared says what a client that declared these capabilities can be asked.
func declared(c *mcp.ClientCapabilities) func(method string) bool {
	return func(method string) bool {
		switch method {
		case router.AskElicitation:
			return c.Elicitation != nil
		case router.AskSampling:
			return c.Sampling != nil
		case router.AskRoots:
			return c.Roots != nil
		}
		return false
	}
}

// askerOf returns the client of c as connectors may ask it; nil: it cannot be asked.
func askerOf(ctx context.Context, c *call, given mcp.InputResponses) *asker {
	p := &asker{asks: make(chan *asking), given: responses(given)}
	if info := server.RequestProtocolInfoFromContext(ctx); info != nil && info.Modern {
		if info.ClientCapabilities == nil {
			return nil
		}
		p.can = declared(info.ClientCapabilities)
		return p
	}
	q := c.questions()
	if q == nil || c.emit == nil {
		return nil
	}
	p.can = q.can
	return p
}

// responses returns the answers in a request as they came.
func responses(given mcp.InputResponses) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for name, r := range given {
		if raw, err := json.Marshal(r); err == nil {
			out[name] = raw
		}
	}
	return out
}

// questions are those that a session or a stdio connection was asked and has not
// answered, in protocols where a server sends requests. It is safe for concurrent
// use.
type questions struct {
	mu           sync.Mutex
	capabilities mcp.ClientCapabilities
	open         map[string]func(result json.RawMessage, err error) // by the id of the request
}

func newQuestions() *questions {
	return &questions{open: map[string]func(json.RawMessage, error){}}
}

func (q *questions) declare(c mcp.ClientCapabilities) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.capabilities = c
}

func (q *questions) can(method string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return declared(&q.capabilities)(method)
}

// put files a question and returns the id of its request.
func (q *questions) put(answer func(json.RawMessage, error)) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	id := `"ask-` + rand.Text() + `"`
	q.open[id] = answer
	return id
}

func (q *questions) drop(ids []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		delete(q.open, id)
	}
}

// answered takes the client's response. One to a question that nobody asked, or
// that is not open any more, means nothing.
func (q *questions) answered(m *message) {
	q.mu.Lock()
	answer := q.open[m.id]
	delete(q.open, m.id)
	q.mu.Unlock()
	if answer == nil {
		return
	}
	var r struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.raw, &r); err != nil || r.Error != nil {
		text := "the client did not answer what it was asked"
		if r.Error != nil {
			text = fmt.Sprintf("the client did not answer what it was asked: %.300s (%d)", r.Error.Message, r.Error.Code)
		}
		answer(nil, &router.ToolError{Message: text})
		return
	}
	answer(r.Result, nil)
}

// send asks a client of the older protocols, by requests in the stream of the call.
func (a *asking) send(c *call) (ids []string, err error) {
	names := make([]string, 0, len(a.questions))
	for name := range a.questions {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		q := a.questions[name]
		params := q.Params
		if params == nil {
			params = json.RawMessage("{}")
		}
		id := c.questions().put(func(result json.RawMessage, err error) { a.answer(name, result, err) })
		ids = append(ids, id)
		data, err := json.Marshal(struct {
			JSONRPC string          `json:"jsonrpc"`
			ID      json.RawMessage `json:"id"`
			Method  string          `json:"method"`
			Params  json.RawMessage `json:"params"`
		}{mcp.JSONRPC_VERSION, json.RawMessage(id), q.Method, params})
		if err != nil {
			return ids, fmt.Errorf("encode a question: %w", err)
		}
		if err := c.emit(data); err != nil {
			return ids, errors.Join(inference.ErrCancelled, err)
		}
	}
	return ids, nil
}

// required tells the questions as the result of a request of protocol 2026-07-28.
func (a *asking) required(state string) (mcp.MultiRoundTripResult, error) {
	out := mcp.MultiRoundTripResult{InputRequests: mcp.InputRequests{}, RequestState: state}
	for name, q := range a.questions {
		raw, err := json.Marshal(struct {
			Method string          `json:"method"`
			Params json.RawMessage `json:"params,omitempty"`
		}{q.Method, q.Params})
		if err != nil {
			return out, fmt.Errorf("encode a question: %w", err)
		}
		var r mcp.InputRequest
		if err := json.Unmarshal(raw, &r); err != nil {
			return out, fmt.Errorf("encode a question: %w", err)
		}
		out.InputRequests[name] = r
	}
	return out, nil
}
