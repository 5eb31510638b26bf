package router

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"hearth/inference"
)

// maxApprovals bounds the approvals that are kept: the most that wait, and the most
// of one principal.
const (
	maxApprovals          = 1024
	maxApprovalsPrincipal = 64
)

// ApprovalState is where an approval is in its life.
type ApprovalState string

// The states. One that is used, or forgotten, is not there any more.
const (
	ApprovalPending  ApprovalState = "pending"
	ApprovalApproved ApprovalState = "approved"
	ApprovalDenied   ApprovalState = "denied"
)

// Approval is a call that waits for a person, or may be made once. It is bound to
// the principal, the tool's definition and the canonical arguments: a call that
// differs in any of them is another one.
type Approval struct {
	ID        string
	State     ApprovalState
	Principal string
	Tool      string
	Arguments json.RawMessage
	Why       string
	Asked     time.Time
	Until     time.Time

	key string
}

// Approvals keeps the calls that need a person. They live in memory: a restart
// forgets them, and the calls have to be made again. It is safe for concurrent use.
type Approvals struct {
	time time.Duration

	mu    sync.Mutex
	all   map[string]*Approval // by id
	byKey map[string]*Approval
	turn  chan struct{} // closed and made anew at every decision
}

func newApprovals(d time.Duration) *Approvals {
	return &Approvals{time: d, all: map[string]*Approval{}, byKey: map[string]*Approval{}, turn: make(chan struct{})}
}

// find returns the approval of this very call, or asks for it. It is used by spend,
// when the call runs: one that limits turn away keeps it.
func (a *Approvals) find(q *Request, e *Entry, arguments json.RawMessage, why string, now time.Time) (id string, err error) {
	key := digest([]byte(q.Caller.Principal), []byte(e.Name), []byte(e.Definition), arguments)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire(now)
	one := a.byKey[key]
	switch {
	case one == nil:
	case one.State == ApprovalApproved:
		return one.ID, nil
	case one.State == ApprovalDenied:
		a.drop(one)
		return "", Refused(e.Name)
	}
	if one == nil {
		if err := a.room(q.Caller.Principal); err != nil {
			return "", err
		}
		one = &Approval{
			ID: "ap-" + rand.Text(), State: ApprovalPending, Principal: q.Caller.Principal, Tool: e.Name,
			Arguments: slices.Clone(arguments), Why: why, Asked: now, Until: now.Add(a.time), key: key,
		}
		a.all[one.ID], a.byKey[key] = one, one
	}
	return "", &ApprovalError{ID: one.ID, Tool: one.Tool, Why: one.Why, Until: one.Until}
}

// Refused says that a person refused a call of tool.
func Refused(tool string) error {
	return fmt.Errorf("%w: a person refused this call of %s. Nothing was done, and asking again does not help", inference.ErrApproval, tool)
}

// spend uses an approval. False: another call has.
func (a *Approvals) spend(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.all[id]
	if one == nil || one.State != ApprovalApproved {
		return false
	}
	a.drop(one)
	return true
}

// room refuses to keep more than there may be.
func (a *Approvals) room(principal string) error {
	mine := 0
	for _, one := range a.all {
		if one.Principal == principal {
			mine++
		}
	}
	if mine >= maxApprovalsPrincipal || len(a.all) >= maxApprovals {
		return busy(a.time, "%d calls wait for approvals already: answer them first", max(mine, len(a.all)))
	}
	return nil
}

func (a *Approvals) drop(one *Approval) {
	delete(a.all, one.ID)
	delete(a.byKey, one.key)
}

func (a *Approvals) expire(now time.Time) {
	for _, one := range a.all {
		if !now.Before(one.Until) {
			a.drop(one)
		}
	}
}

// List returns the approvals there are, the oldest first.
func (a *Approvals) List() []Approval {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire(now())
	out := make([]Approval, 0, len(a.all))
	for _, one := range a.all {
		out = append(out, *one)
	}
	slices.SortFunc(out, func(x, y Approval) int {
		return cmp.Or(x.Asked.Compare(y.Asked), cmp.Compare(x.ID, y.ID))
	})
	return out
}

// Get returns the approval under id.
func (a *Approvals) Get(id string) (Approval, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expire(now())
	one := a.all[id]
	if one == nil {
		return Approval{}, false
	}
	return *one, true
}

// Decide approves a pending call or refuses it. An approved one may be made once,
// within the time of approvals from now on. The error is an inference.ErrInvalid if
// nothing waits under id.
func (a *Approvals) Decide(id string, approve bool) (Approval, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := now()
	a.expire(at)
	one := a.all[id]
	if one == nil || one.State != ApprovalPending {
		return Approval{}, inference.Invalid("id", "no call waits under %.80q: it was answered, was forgotten, or never was", id)
	}
	if one.State = ApprovalDenied; approve {
		one.State = ApprovalApproved
	}
	one.Until = at.Add(a.time)
	close(a.turn)
	a.turn = make(chan struct{})
	return *one, nil
}

// Wait waits until the call under id is decided. False: it was refused, or nobody
// answered in time; all who wait hear it, and the refusal is told by that: the next such
// call asks anew. The error is of ctx.
func (a *Approvals) Wait(ctx context.Context, id string) (approved bool, err error) {
	for {
		a.mu.Lock()
		a.expire(now())
		one, turn := a.all[id], a.turn
		state, until := ApprovalDenied, time.Time{}
		if one != nil {
			state, until = one.State, one.Until
			if state == ApprovalDenied {
				a.drop(one)
			}
		}
		a.mu.Unlock()
		if state != ApprovalPending {
			return state == ApprovalApproved, nil
		}
		left := time.NewTimer(time.Until(until))
		select {
		case <-turn:
			left.Stop()
		case <-left.C:
		case <-ctx.Done():
			left.Stop()
			return false, context.Cause(ctx)
		}
	}
}
