package openai

import (
	"context"
	"encoding/json"
	"net/http"

	"hearth/inference"
)

// open reads the body and leases the model that it names. Where an error comes
// with fields, they are what could be read; without an error the lease is the
// caller's to release.
func (a *API) open(w http.ResponseWriter, r *http.Request) (*fields, inference.Lease, error) {
	f, err := a.readBody(w, r)
	if err != nil {
		return nil, nil, err
	}
	var id string
	f.str("model", &id)
	if err := f.err(); err != nil {
		return f, nil, err
	}
	lease, err := a.cfg.Models.Acquire(r.Context(), id)
	if err != nil {
		return f, nil, err
	}
	return f, lease, nil
}

// route is what a route that generates has of its own. A value serves one
// request.
type route interface {
	action() string   // as audit records name it
	idPrefix() string // of the answer's id
	// read takes the fields of the route; o holds what all have in common.
	read(f *fields, o inference.Options)
	start(ctx context.Context, m inference.Lease) (inference.Stream, error)
	// chunker and collect make the answer, in pieces or in one.
	chunker(head chatHead, send streaming) chunker
	collect(ctx context.Context, s inference.Stream, head chatHead) (any, error)
}

// generate serves a route that generates.
func (a *API) generate(w http.ResponseWriter, r *http.Request, g route) {
	f, lease, err := a.open(w, r)
	if err != nil {
		a.refuse(w, r, g.action(), modelOf(f), err)
		return
	}
	defer lease.Release()
	info := lease.Info()
	o := a.readOptions(r, f, info.Defaults)
	send := readStreaming(f)
	g.read(f, o)
	if err := f.err(); err != nil {
		a.refuse(w, r, g.action(), info.ID, err)
		return
	}
	a.ignored(r, f)
	// From here on the model knows of the request.
	s, err := g.start(r.Context(), lease)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	head := chatHead{ID: a.id(g.idPrefix()), Created: a.now().Unix(), Model: info.ID, Fingerprint: fingerprint(&info), Tier: tierServed(f, o.Priority)}
	if send.on {
		a.stream(w, r, s, g.chunker(head, send))
		return
	}
	out, err := g.collect(r.Context(), s, head)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.writeJSON(w, http.StatusOK, out)
}

// refuse answers err to a request that has not reached a model, and tells of it.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, action, model string, err error) {
	if a.cfg.Refused != nil {
		a.cfg.Refused(r.Context(), inference.Refusal{Action: action, Model: model, RequestID: requestID(r), Code: statusOf(err).Code})
	}
	a.fail(w, r, err)
}

// modelOf returns the name of the model that f asks for; "" if none can be read.
func modelOf(f *fields) string {
	var id string
	if f == nil || json.Unmarshal(f.value["model"], &id) != nil {
		return ""
	}
	return id
}
