package upstream

//lint:file-ignore SA1019 servers of the older protocols still sample and log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"hearth/inference"
)

// Bounds of what a server asks the model.
const (
	maxSamplingMessages = 256
	maxSamplingBytes    = 1 << 20
	maxSamplingStops    = 4
)

// samplingKey marks what a sampling led to.
type samplingKey struct{}

// taken is what samplings used in the last minute. Tokens are counted when they
// are asked for, and those that were not needed are given back.
type taken struct {
	mu    sync.Mutex
	limit int
	used  []spent
}

type spent struct {
	at     time.Time
	tokens int
}

func newTaken(limit int) *taken { return &taken{limit: limit} }

// take returns how many of the tokens there are left to use, and how to say how
// many were.
func (t *taken) take(want int) (got int, settle func(int)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	sum, kept := 0, t.used[:0]
	for _, u := range t.used {
		if now.Sub(u.at) < time.Minute {
			kept = append(kept, u)
			sum += u.tokens
		}
	}
	t.used = kept
	got = min(want, t.limit-sum)
	if got <= 0 {
		return 0, nil
	}
	t.used = append(t.used, spent{now, got})
	return got, func(n int) {
		t.mu.Lock()
		defer t.mu.Unlock()
		for i := range t.used {
			if t.used[i].at.Equal(now) && t.used[i].tokens == got {
				t.used[i].tokens = max(n, 1) // an answer is never for nothing
				return
			}
		}
	}
}

// refuse is the answer to a sampling that is not made.
func refuse(format string, args ...any) error {
	return &jsonrpc.Error{Code: -1, Message: "sampling is refused: " + fmt.Sprintf(format, args...)}
}

// sample answers a server's question by the local model, which gets no tools.
func (u *Upstream) sample(ctx context.Context, r *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	one := u.calls.asking(ctx)
	switch {
	case one == nil:
		return nil, refuse("it belongs to no call that is running")
	case one.sampled:
		return nil, refuse("the call came from a sampling itself")
	}
	request, err := u.chat(r.Params)
	if err != nil {
		return nil, err
	}
	if u.cfg.Sampling.Mode == samplingAsk {
		if err := u.askPerson(ctx, one, request); err != nil {
			return nil, err
		}
	}
	tokens, settle := u.taken.take(request.MaxTokens)
	if tokens == 0 {
		return nil, refuse("the %d tokens of this minute are used: try again later", u.cfg.Sampling.TokensPerMinute)
	}
	used := 0
	defer func() { settle(used) }()
	request.MaxTokens = tokens
	request.Caller = one.caller()
	ctx = context.WithValue(ctx, samplingKey{}, true)
	lease, err := u.deps.Models.Acquire(ctx, u.cfg.Sampling.Model)
	if err != nil {
		return nil, refuse("the model is not there")
	}
	defer lease.Release()
	text, finish, n, err := answer(ctx, lease, request)
	used = n
	if err != nil {
		u.log.Warn().Err(err).Msg("a sampling for an MCP server failed")
		return nil, refuse("the model could not answer")
	}
	u.log.Info().Int("tokens", n).Msg("the model answered an MCP server")
	stop := "endTurn"
	if finish == inference.FinishLength {
		stop = "maxTokens"
	}
	return &mcp.CreateMessageResult{Content: &mcp.TextContent{Text: text}, Model: lease.Info().ID, Role: "assistant", StopReason: stop}, nil
}

// chat turns the request into one for the model.
func (u *Upstream) chat(p *mcp.CreateMessageParams) (*inference.ChatRequest, error) {
	if len(p.Messages) == 0 || len(p.Messages) > maxSamplingMessages {
		return nil, refuse("it must have 1 to %d messages", maxSamplingMessages)
	}
	q := &inference.ChatRequest{}
	size := len(p.SystemPrompt)
	if p.SystemPrompt != "" {
		q.Messages = append(q.Messages, inference.Message{Role: inference.RoleSystem, Content: p.SystemPrompt})
	}
	for _, m := range p.Messages {
		if m == nil {
			return nil, refuse("a message is missing")
		}
		text, ok := m.Content.(*mcp.TextContent)
		if !ok {
			return nil, refuse("the model reads text only")
		}
		role := inference.RoleUser
		if m.Role == "assistant" {
			role = inference.RoleAssistant
		}
		q.Messages = append(q.Messages, inference.Message{Role: role, Content: text.Text})
		size += len(text.Text)
	}
	if size > maxSamplingBytes {
		return nil, refuse("its messages have more than %d bytes", maxSamplingBytes)
	}
	q.N = 1
	q.Priority = inference.PriorityNormal
	q.Sampling = inference.DefaultSampling()
	if p.Temperature > 0 && p.Temperature <= 2 {
		q.Sampling.Temperature = float32(p.Temperature)
	}
	if len(p.StopSequences) > maxSamplingStops {
		return nil, refuse("it has more than %d stop sequences", maxSamplingStops)
	}
	q.Stop = p.StopSequences
	q.MaxTokens = u.cfg.Sampling.Tokens
	if p.MaxTokens > 0 && p.MaxTokens < int64(q.MaxTokens) {
		q.MaxTokens = int(p.MaxTokens)
	}
	return q, nil
}

// askPerson asks whoever made the call.
func (u *Upstream) askPerson(ctx context.Context, one *running, q *inference.ChatRequest) error {
	if one.call.Peer == nil {
		return refuse("nobody can be asked whether it may")
	}
	last := q.Messages[len(q.Messages)-1].Content
	schema := json.RawMessage(`{"type":"object","properties":{"allow":{"type":"boolean","title":"Let it ask the model"}},"required":["allow"]}`)
	action, values, err := one.call.Peer.Elicit(ctx,
		fmt.Sprintf("The server %s wants to ask the model %d messages, the last: %s", u.label, len(q.Messages), cut(last, maxMessageBytes)), schema)
	var said struct {
		Allow bool `json:"allow"`
	}
	if err != nil || action != "accept" || json.Unmarshal(values, &said) != nil || !said.Allow {
		return refuse("the person did not allow it")
	}
	return nil
}

// answer reads the whole answer of a model, and how many tokens it has.
func answer(ctx context.Context, m inference.Model, q *inference.ChatRequest) (text string, finish inference.FinishReason, tokens int, err error) {
	stream, err := m.Chat(ctx, q)
	if err != nil {
		return "", "", 0, err
	}
	defer stream.Close()
	var b strings.Builder
	tokens = q.MaxTokens // unless the end says better
	for {
		e, err := stream.Next(ctx)
		if errors.Is(err, io.EOF) {
			return b.String(), finish, tokens, nil
		}
		if err != nil {
			return "", "", tokens, err
		}
		switch e.Kind {
		case inference.EventDelta:
			b.WriteString(e.Content)
		case inference.EventFinish:
			finish = e.Finish
		case inference.EventUsage:
			tokens = e.Usage.CompletionTokens
		}
	}
}
