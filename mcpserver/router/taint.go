package router

import (
	"context"
	"sync"
	"time"
)

// taint remembers which conversations have read what strangers may have written.
type taint struct {
	time time.Duration

	mu    sync.Mutex
	since map[string]time.Time // by conversation
}

// maxTainted bounds what is remembered. Beyond it the oldest is forgotten, so it is
// far more than a server has at a time.
const maxTainted = 1 << 16

func newTaint(d time.Duration) *taint { return &taint{time: d, since: map[string]time.Time{}} }

// key names the conversation of q; where there is none, its principal.
func (t *taint) key(q *Request) string {
	if q.Conversation != "" {
		return digest([]byte(q.Caller.Principal), []byte(q.Conversation))
	}
	return digest([]byte(q.Caller.Principal))
}

// is says whether the conversation of q has read such a thing.
func (t *taint) is(q *Request, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	since, ok := t.since[t.key(q)]
	// A conversation stays what it is; a principal without one has others later.
	return ok && (q.Conversation != "" || now.Sub(since) < t.time)
}

// note remembers a result.
func (t *taint) note(q *Request, result *Result, now time.Time) {
	if !result.Untrusted {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.since) >= maxTainted {
		oldest, at := "", now
		for key, since := range t.since {
			if !since.After(at) {
				oldest, at = key, since
			}
		}
		delete(t.since, oldest)
	}
	t.since[t.key(q)] = now
}

type conversationKey struct{}

// withConversation says in which conversation the calls are that a tool makes itself.
func withConversation(ctx context.Context, conversation string) context.Context {
	return context.WithValue(ctx, conversationKey{}, conversation)
}

// ConversationFrom returns the conversation that ctx belongs to, as Request has it: of
// the call of a tool that makes calls itself. False: there is no such call.
func ConversationFrom(ctx context.Context) (string, bool) {
	c, ok := ctx.Value(conversationKey{}).(string)
	return c, ok
}
