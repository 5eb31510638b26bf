package router

import (
	"context"
	"encoding/json"
	"fmt"

	"hearth/inference"
)

// What can be asked of the client of a call, by the protocol's methods.
const (
	AskElicitation = "elicitation/create"     // a person, for values
	AskSampling    = "sampling/createMessage" // the client's model, for an answer
	AskRoots       = "roots/list"             // the client, for its folders
)

// capabilities are what a client declares to be asked.
var capabilities = map[string]string{AskElicitation: "elicitation", AskSampling: "sampling", AskRoots: "roots"}

// Question is one thing to ask of the client.
type Question struct {
	Method string
	// Params are the parameters of the method; nil: none.
	Params json.RawMessage
}

// Asker is a Peer that can be asked all that the protocol knows.
type Asker interface {
	Peer
	// Can says whether the client declared that it answers this method.
	Can(method string) bool
	// Ask puts questions, each under a name of the connector's choice, and waits for
	// the answers: results of the methods. A client may be asked again for what it
	// left out. A call that is answered later goes on where it was: nothing runs twice.
	Ask(ctx context.Context, questions map[string]Question) (map[string]json.RawMessage, error)
}

// CapabilityError says that a client did not declare what a call needs of it.
type CapabilityError struct {
	Capability string // as clients declare it
}

func (e *CapabilityError) Error() string {
	return fmt.Sprintf("this needs a client with the capability %q, which yours has not declared", e.Capability)
}

// Unwrap makes errors.Is(err, inference.ErrUnsupported) true.
func (e *CapabilityError) Unwrap() error { return inference.ErrUnsupported }

// Missing returns the error for a method that the client does not answer.
func Missing(method string) error { return &CapabilityError{Capability: capabilities[method]} }

// AskPeer puts questions to p. The error is a *CapabilityError where p cannot be asked.
func AskPeer(ctx context.Context, p Peer, questions map[string]Question) (map[string]json.RawMessage, error) {
	a, ok := p.(Asker)
	for _, q := range questions {
		if !ok || !a.Can(q.Method) {
			return nil, Missing(q.Method)
		}
	}
	return a.Ask(ctx, questions)
}

// LogMessage is what a connector tells the client of a call while it runs.
type LogMessage struct {
	Level  string          // debug, info, notice, warning, error, critical, alert, emergency
	Logger string          // who says it; may be empty
	Data   json.RawMessage // any JSON
}

type peerKey struct{}

// WithPeer says who can be asked while a prompt is filled in.
func WithPeer(ctx context.Context, p Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}

// PeerFrom returns who can be asked while a prompt is filled in; nil: nobody.
func PeerFrom(ctx context.Context) Peer {
	p, _ := ctx.Value(peerKey{}).(Peer)
	return p
}
