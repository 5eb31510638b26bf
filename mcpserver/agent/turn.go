package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"hearth/inference"
)

// leastAnswer is how many tokens are kept free for the model's next answer when
// results are cut to fit the context.
const leastAnswer = 256

// mostUnknown is how many answers that are a call of no tool there is are answered
// with the names of those there are. The next such answer is text: it may be meant.
const mostUnknown = 2

// turn is one request whose tools the server runs. It belongs to its goroutine.
type turn struct {
	lease        *lease
	offer        *offer
	config       Config
	log          zerolog.Logger
	request      *inference.ChatRequest // grows by what each round says
	conversation string
	untrusted    bool // the conversation came with what strangers may have written
	out          *stream
	pending      []pending
	seen         map[string]int    // runs of each call, by its key
	results      map[string]string // the newest of each

	round int      // of the answer being made, from 1
	said  bool     // an earlier round wrote text
	stuck []string // tools of the last answer's calls, if all were made often enough before
	must  bool     // the answer being made is to be a call
	lost  int      // answers with nothing but calls of tools that there are not
	stale []span   // of the messages: calls that were made before, with nothing new from them
	last  bool     // the answer being made is the last: the model has no tools
	left  int      // tokens that may still be written; 0: no bound
	used  inference.Usage
	began time.Time
}

// run asks and calls until the model has answered.
func (t *turn) run(ctx context.Context, first inference.Stream) error {
	t.began = time.Now()
	for i := range t.offer.lists {
		t.out.send(inference.Event{Kind: inference.EventTools, Tools: &t.offer.lists[i]})
	}
	if err := t.resume(ctx); err != nil {
		return err
	}
	for t.round = 1; ; t.round++ {
		s, err := first, error(nil)
		if first = nil; s == nil {
			if s, err = t.ask(ctx); err != nil {
				return err
			}
		}
		a, err := t.read(ctx, s)
		if err != nil {
			return err
		}
		finish, err := t.follow(ctx, a)
		if err != nil {
			return err
		}
		if finish == "" {
			continue
		}
		t.out.send(inference.Event{Kind: inference.EventFinish, Finish: finish})
		t.used.Duration = time.Since(t.began)
		t.out.send(inference.Event{Kind: inference.EventUsage, Usage: t.used})
		return nil
	}
}

// ask asks the model for the next answer.
func (t *turn) ask(ctx context.Context) (inference.Stream, error) {
	q := *t.request
	if t.round > 1 && q.ToolChoice.Mode == inference.ToolRequired {
		q.ToolChoice = inference.ToolChoice{Mode: inference.ToolAuto} // it has called
	}
	if t.must && q.ToolChoice.Mode != inference.ToolNone {
		q.ToolChoice = inference.ToolChoice{Mode: inference.ToolRequired}
	}
	t.must = false
	q.MaxTokens = t.left
	out := t.narrow(&q)
	if t.last = out || t.round >= t.config.Rounds && t.round > 1; t.last {
		return t.conclude(ctx, q)
	}
	return t.put(ctx, &q, nil)
}

// put asks q, cut to what has room, its messages written anew by form unless that is
// nil.
func (t *turn) put(ctx context.Context, q *inference.ChatRequest, form func([]inference.Message) []inference.Message) (inference.Stream, error) {
	shown := func() *inference.ChatRequest {
		if form == nil {
			return q
		}
		r := *q
		r.Messages = form(q.Messages)
		return &r
	}
	if err := t.fit(q, shown); err != nil {
		return nil, err
	}
	t.request.Messages = q.Messages
	return t.lease.Lease.Chat(ctx, shown())
}

// span is some messages in a row.
type span struct{ from, to int }

// narrow takes from q the tools with which the model is stuck, and the messages that
// show it how to be: a small model goes on as it sees itself begin. It reports
// whether no tool is left.
func (t *turn) narrow(q *inference.ChatRequest) bool {
	if len(t.stuck) == 0 {
		return false
	}
	q.Tools = slices.DeleteFunc(slices.Clone(q.Tools), func(tool inference.Tool) bool {
		return t.offer.hidden && t.offer.hosts(tool.Name) || slices.Contains(t.stuck, tool.Name)
	})
	t.forget(q)
	t.request.Tools, t.stuck = q.Tools, nil
	return len(q.Tools) == 0
}

// forget leaves the stale messages out of q.
func (t *turn) forget(q *inference.ChatRequest) {
	var kept []inference.Message
	at := 0
	for _, s := range t.stale {
		kept = append(kept, q.Messages[at:s.from]...)
		at = s.to
	}
	q.Messages, t.stale = append(kept, q.Messages[at:]...), nil
}

// conclude asks for an answer without calls. Small models that read of tools call
// them, whether they may or not, so the prompt tells of none and what was found stands
// in it as plain text (recast.go), although that has to be computed anew.
func (t *turn) conclude(ctx context.Context, q inference.ChatRequest) (inference.Stream, error) {
	q.ToolChoice = inference.ToolChoice{Mode: inference.ToolNone}
	t.forget(&q)
	q.Tools = nil
	return t.put(ctx, &q, recast)
}

// account adds what one answer took.
func (t *turn) account(u inference.Usage) {
	if t.used.TTFT == 0 {
		t.used.TTFT = u.TTFT
	}
	t.used.PromptTokens += u.PromptTokens
	t.used.CachedTokens += u.CachedTokens
	t.used.CompletionTokens += u.CompletionTokens
	if t.left > 0 {
		t.left = max(t.left-u.CompletionTokens, 0)
		if t.left == 0 {
			t.left = -1 // nothing is left, which 0 does not say
		}
	}
	t.out.send(inference.Event{Kind: inference.EventRound, Usage: u})
}

// follow does what the answer asks for. It returns how the turn ended, or "" if
// the model is to be asked again.
func (t *turn) follow(ctx context.Context, a *answer) (inference.FinishReason, error) {
	t.said = t.said || a.content.Len() > 0
	if len(a.calls) == 0 {
		return a.finish, nil
	}
	if a.finish == inference.FinishLength {
		for _, h := range a.calls {
			t.done(h, Outcome{IsError: true, Text: "the answer ended at its limit of tokens within this call: nothing was done"})
		}
		return a.finish, nil
	}
	results, err := t.calls(ctx, a.calls)
	if err != nil {
		return "", err
	}
	waits := slices.ContainsFunc(results, func(o Outcome) bool { return o.Approval != "" })
	if !t.astray(a) {
		t.remember(a, results)
	}
	switch {
	case len(a.client) > 0:
		return inference.FinishToolCalls, nil
	case waits:
		return inference.FinishStop, nil
	case t.left < 0:
		return inference.FinishLength, nil
	case t.last || t.round >= t.config.Rounds:
		// Models that call without having tools end here.
		return inference.FinishLength, nil
	}
	return "", nil
}

// remember adds an answer and what its calls found to what the model reads next.
func (t *turn) remember(a *answer, results []Outcome) {
	fresh, from := false, len(t.request.Messages)
	t.request.Messages = append(t.request.Messages, a.message())
	for i, h := range a.calls {
		t.request.Messages = append(t.request.Messages, inference.Message{
			Role: inference.RoleTool, ToolCallID: h.id, Name: h.name, Content: results[i].Text,
		})
		fresh = fresh || !h.refused && t.results[h.key()] != results[i].Text
		t.results[h.key()] = results[i].Text
	}
	if !fresh {
		t.stale = append(t.stale, span{from, len(t.request.Messages)})
	}
}

// astray notes whether all calls of an answer are of tools that there are not. It
// reports whether the answer is to be left out: seen, it would be made again. The model
// is told first, where it read last, which tools there are; when it goes on, and all
// that it could call only reads, it has to call one of them.
func (t *turn) astray(a *answer) bool {
	if slices.ContainsFunc(a.calls, func(h *hosted) bool { return t.offer.knows(h.name) }) {
		return false
	}
	t.lost++
	t.request.UnknownCalls = t.lost < mostUnknown
	switch {
	case a.content.Len() > 0 || len(a.client) > 0 || t.lost > mostUnknown:
		return false
	case t.lost == 1:
		m := &t.request.Messages[len(t.request.Messages)-1]
		m.Content += "\n\n" + strings.TrimSpace(t.hint())
		return true
	}
	t.must = t.offer.reads()
	return t.must
}

// fit cuts the newest results, the longest first, until prompt and answer have
// room in the context. What counts is q as it is shown.
func (t *turn) fit(q *inference.ChatRequest, shown func() *inference.ChatRequest) error {
	room := t.lease.Info().Context - min(max(q.MaxTokens, 1), leastAnswer)
	if q.MaxTokens == 0 {
		room = t.lease.Info().Context - leastAnswer
	}
	// Each pass either fits, or takes from one result what is too much; some tokens
	// may come back where texts are joined, so it is not always done at once.
	for range 8 {
		n, err := t.lease.Lease.CountChat(shown())
		if err != nil || n <= room {
			return err
		}
		longest := -1
		for i := len(q.Messages) - 1; i >= 0 && q.Messages[i].Role == inference.RoleTool; i-- {
			if longest < 0 || len(q.Messages[i].Content) > len(q.Messages[longest].Content) {
				longest = i
			}
		}
		if longest < 0 {
			return nil // the model says that it is too long, and by how much
		}
		m := &q.Messages[longest]
		if m.Content, err = t.shorten(m.Content, n-room); err != nil {
			return err
		}
	}
	return nil
}

// shorten takes so many tokens from the end of text and says so.
func (t *turn) shorten(text string, tokens int) (string, error) {
	const note = 40 // tokens of the sentence below, at most
	all, err := t.lease.Tokenize(text, inference.TokenizeOptions{})
	if err != nil {
		return "", err
	}
	keep := max(len(all)-tokens-note, 0)
	head, err := t.lease.Detokenize(all[:keep])
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s\n[Cut here: the context has no room for the other %d tokens of this result.]", whole(head), len(all)-keep), nil
}
