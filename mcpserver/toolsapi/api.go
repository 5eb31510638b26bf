// Package toolsapi serves the tools of the router over plain HTTP, for `hearth
// tools`, `hearth approvals` and scripts: GET /v1/tools, POST /v1/tools/{name},
// GET /v1/approvals, POST /v1/approvals/{id}. It decides nothing: the router does.
// An API is safe for concurrent use.
package toolsapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// Config is what the routes need. Router is required.
type Config struct {
	Router *router.Router
	Log    zerolog.Logger
	// MaxBodyBytes bounds the body of a request.
	MaxBodyBytes int64
	// RequestID and Via say what logs and records call a request and its door.
	RequestID, Via func(*http.Request) string
}

// API is the set of handlers.
type API struct{ Config }

// Routes mounts the handlers.
func (a *API) Routes(r chi.Router) {
	r.Get("/v1/tools", a.list)
	r.Post("/v1/tools/{name}", a.call)
	r.Get("/v1/approvals", a.approvals)
	r.Post("/v1/approvals/{id}", a.decide)
}

// Tool is one tool in the answer of GET /v1/tools.
type Tool struct {
	Name        string          `json:"name"`
	Connector   string          `json:"connector"`
	Title       string          `json:"title,omitempty"`
	Description string          `json:"description"`
	Input       json.RawMessage `json:"input_schema"`
	Output      json.RawMessage `json:"output_schema,omitempty"`
	Effects     Effects         `json:"effects"`
	Definition  string          `json:"definition"` // hash of all that the tool says of itself
}

// Effects is what a call may do.
type Effects struct {
	Writes    bool `json:"writes"`
	Destroys  bool `json:"destroys"`
	Outside   bool `json:"outside"`
	Untrusted bool `json:"untrusted"`
}

// List is the answer of GET /v1/tools.
type List struct {
	Tools []Tool `json:"tools"`
}

func (a *API) list(w http.ResponseWriter, r *http.Request) {
	out := List{Tools: []Tool{}}
	for _, e := range a.Router.List(r.Context(), inference.CallerFrom(r.Context())) {
		t := &e.Tool
		out.Tools = append(out.Tools, Tool{
			Name: e.Name, Connector: e.Label, Title: t.Title, Description: t.Description, Input: t.Input, Output: t.Output,
			Effects: Effects(t.Effects), Definition: e.Definition,
		})
	}
	a.write(w, http.StatusOK, out)
}

// Result is the answer of POST /v1/tools/{name}. Its members are those of an MCP
// result.
type Result struct {
	Content    []Content       `json:"content"`
	Structured json.RawMessage `json:"structuredContent,omitempty"`
	IsError    bool            `json:"isError"`
}

// Content is one piece of a Result.
type Content struct {
	Type string `json:"type"`
	Text string `json:"text,omitempty"`
	Data []byte `json:"data,omitempty"` // base64
	MIME string `json:"mimeType,omitempty"`
	URI  string `json:"uri,omitempty"`
	Name string `json:"name,omitempty"`
}

func (a *API) call(w http.ResponseWriter, r *http.Request) {
	body, err := a.body(w, r)
	if err != nil {
		a.fail(w, err)
		return
	}
	result, err := a.Router.Call(r.Context(), &router.Request{
		ID: a.RequestID(r), Caller: inference.CallerFrom(r.Context()), Via: a.Via(r), Tool: chi.URLParam(r, "name"), Arguments: body,
	})
	if err != nil {
		a.fail(w, err)
		return
	}
	out := Result{Content: []Content{}, Structured: result.Structured, IsError: result.IsError}
	for i := range result.Content {
		out.Content = append(out.Content, wireContent(&result.Content[i]))
	}
	a.write(w, http.StatusOK, out)
}

func wireContent(c *router.Content) Content {
	out := Content{Type: string(c.Type), Text: c.Text, Data: c.Data, MIME: c.MIME}
	switch c.Type {
	case router.ContentLink:
		out.URI, out.Name, out.MIME = c.Resource.URI, c.Resource.Name, c.Resource.MIME
	case router.ContentResource:
		out.URI, out.MIME, out.Text, out.Data = c.Contents.URI, c.Contents.MIME, c.Contents.Text, c.Contents.Blob
	}
	return out
}

// Approval is a call that waits for a person.
type Approval struct {
	ID        string               `json:"id"`
	State     router.ApprovalState `json:"state"`
	Principal string               `json:"principal"`
	Tool      string               `json:"tool"`
	Arguments json.RawMessage      `json:"arguments"`
	Why       string               `json:"why"`
	Asked     time.Time            `json:"asked_at"`
	Until     time.Time            `json:"until"`
}

// Approvals is the answer of GET /v1/approvals.
type Approvals struct {
	Approvals []Approval `json:"approvals"`
}

func wireApproval(a router.Approval) Approval {
	return Approval{ID: a.ID, State: a.State, Principal: a.Principal, Tool: a.Tool, Arguments: a.Arguments, Why: a.Why, Asked: a.Asked.UTC(), Until: a.Until.UTC()}
}

func (a *API) approvals(w http.ResponseWriter, _ *http.Request) {
	out := Approvals{Approvals: []Approval{}}
	for _, one := range a.Router.Approvals().List() {
		out.Approvals = append(out.Approvals, wireApproval(one))
	}
	a.write(w, http.StatusOK, out)
}

// Decision is the body of POST /v1/approvals/{id}.
type Decision struct {
	Approve *bool `json:"approve"`
}

func (a *API) decide(w http.ResponseWriter, r *http.Request) {
	body, err := a.body(w, r)
	if err != nil {
		a.fail(w, err)
		return
	}
	var d Decision
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil || d.Approve == nil {
		a.fail(w, inference.Invalid("approve", `is missing: the body must be {"approve": true} or {"approve": false}`))
		return
	}
	one, err := a.Router.Approvals().Decide(chi.URLParam(r, "id"), *d.Approve)
	if err != nil {
		a.fail(w, err)
		return
	}
	a.Log.Info().Str("approval", one.ID).Str("tool", one.Tool).Str("principal", one.Principal).Str("state", string(one.State)).
		Str("by", inference.CallerFrom(r.Context()).Principal).Msg("a call was decided")
	a.write(w, http.StatusOK, wireApproval(one))
}

// body reads the body of a request.
func (a *API) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.MaxBodyBytes))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, inference.Invalid("", "the body is larger than %d bytes", large.Limit)
	}
	if err != nil {
		return nil, inference.Invalid("", "the body could not be read: %v", err)
	}
	return data, nil
}

// errorBody is an error in the form of the other routes below /v1.
type errorBody struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	} `json:"error"`
}

func (a *API) fail(w http.ResponseWriter, err error) {
	s := inference.Classify(err)
	if s.HTTP == http.StatusInternalServerError {
		a.Log.Error().Err(err).Msg("a request failed")
	}
	var out errorBody
	out.Error.Message, out.Error.Type, out.Error.Code = s.Message, s.Type, s.Code
	if s.Field != "" {
		out.Error.Param = &s.Field
	}
	if s.RetryAfter > 0 {
		w.Header().Set("Retry-After", retryAfter(s.RetryAfter))
	}
	a.write(w, s.HTTP, out)
}

func retryAfter(d time.Duration) string {
	seconds, _ := json.Marshal(max(int64((d+time.Second-1)/time.Second), 1)) // a number
	return string(seconds)
}

func (a *API) write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		a.Log.Debug().Err(err).Msg("the client left an answer")
	}
}
