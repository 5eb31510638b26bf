package openai

import (
	"encoding/json"
	"slices"
	"strings"

	"hearth/inference"
)

// response is the object of the Responses API.
type response struct {
	ID          string         `json:"id"`
	Object      string         `json:"object"`
	Created     int64          `json:"created_at"`
	Status      string         `json:"status"`
	Background  bool           `json:"background"`
	Error       *responseError `json:"error"`
	Incomplete  *incomplete    `json:"incomplete_details"`
	Model       string         `json:"model"`
	Output      []any          `json:"output"`
	Previous    *string        `json:"previous_response_id"`
	Tier        string         `json:"service_tier,omitempty"`
	Store       bool           `json:"store"` // nothing is stored
	TopLogprobs int            `json:"top_logprobs"`
	Truncation  string         `json:"truncation"`
	Usage       *responseUsage `json:"usage"`
	echo
}

type responseError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

type responseUsage struct {
	Input        int `json:"input_tokens"`
	InputDetails struct {
		Cached int `json:"cached_tokens"`
	} `json:"input_tokens_details"`
	Output        int `json:"output_tokens"`
	OutputDetails struct {
		Reasoning int `json:"reasoning_tokens"`
	} `json:"output_tokens_details"`
	Total  int          `json:"total_tokens"`
	Rounds []roundUsage `json:"rounds,omitempty"`
}

// The items of an answer.
type (
	messageItem struct {
		Type    string       `json:"type"`
		ID      string       `json:"id"`
		Status  string       `json:"status"`
		Role    string       `json:"role"`
		Content []outputText `json:"content"`
	}
	outputText struct {
		Type        string      `json:"type"`
		Text        string      `json:"text"`
		Annotations []any       `json:"annotations"`
		Logprobs    []chatToken `json:"logprobs"`
	}
	reasoningItem struct {
		Type    string          `json:"type"`
		ID      string          `json:"id"`
		Status  string          `json:"status"`
		Summary []any           `json:"summary"`
		Content []reasoningText `json:"content"`
	}
	reasoningText struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	functionItem struct {
		Type      string `json:"type"`
		ID        string `json:"id"`
		CallID    string `json:"call_id"`
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
		Status    string `json:"status"`
	}
	listItem struct {
		Type  string     `json:"type"`
		ID    string     `json:"id"`
		Label string     `json:"server_label"`
		Tools []listTool `json:"tools"`
		Error *string    `json:"error"`
	}
	listTool struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Input       json.RawMessage `json:"input_schema"`
		Annotations map[string]bool `json:"annotations"`
	}
	callItem struct {
		Type      string     `json:"type"`
		ID        string     `json:"id"`
		Label     string     `json:"server_label"`
		Name      string     `json:"name"`
		Arguments string     `json:"arguments"`
		Output    *string    `json:"output"`
		Error     *callError `json:"error"`
		Status    string     `json:"status"`
		Approval  *string    `json:"approval_request_id"`
	}
	callError struct {
		Type    string      `json:"type"`
		Content []errorText `json:"content"`
	}
	errorText struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	approvalItem struct {
		Type      string `json:"type"`
		ID        string `json:"id"`
		Label     string `json:"server_label"`
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	}
)

// toolError is what a tool could not do, as the API has it.
func toolError(text string) *callError {
	return &callError{Type: "mcp_tool_execution_error", Content: []errorText{{Type: "text", Text: text}}}
}

// openItem is an item of the output that still grows.
type openItem struct {
	index    int
	id       string
	kind     string
	text     strings.Builder
	logprobs []chatToken
	call     functionItem
	hosted   callItem
}

// responseBuilder makes a response of events, and, where emit is set, tells each
// step of it.
type responseBuilder struct {
	response  response
	id        func(prefix string) string
	count     func(text string) int
	logprobs  bool
	emit      func(name string, event map[string]any) error
	begun     bool
	round     int
	text      *openItem            // message that grows
	reasoning *openItem            // thoughts that grow
	calls     map[string]*openItem // hosted calls, by the model's id
	functions map[int]*openItem
	thought   strings.Builder
	rounds    []roundUsage
	finish    inference.FinishReason
}

func (b *responseBuilder) tell(name string, event map[string]any) error {
	if b.emit == nil {
		return nil
	}
	return b.emit(name, event)
}

// take adds one event.
func (b *responseBuilder) take(ev *inference.Event) error {
	if err := b.begin(); err != nil {
		return err
	}
	switch ev.Kind {
	case inference.EventTools:
		return b.list(ev.Tools)
	case inference.EventDelta:
		return b.delta(ev)
	case inference.EventHosted:
		return b.hosted(ev.Hosted)
	case inference.EventRound:
		b.rounds = append(b.rounds, wireRound(&ev.Usage))
		b.round++
		return b.closeTexts()
	case inference.EventFinish:
		b.finish = ev.Finish
		return b.closeAll()
	case inference.EventUsage:
		return b.complete(&ev.Usage)
	}
	return nil
}

// begin tells that there is a response, once.
func (b *responseBuilder) begin() error {
	if b.begun {
		return nil
	}
	b.begun = true
	for _, name := range []string{"response.created", "response.in_progress"} {
		if err := b.tell(name, map[string]any{"response": b.response}); err != nil {
			return err
		}
	}
	return nil
}

// open adds an item to the output; final values replace it when it is closed.
func (b *responseBuilder) open(kind, id string, item any) (*openItem, error) {
	o := &openItem{index: len(b.response.Output), id: id, kind: kind}
	b.response.Output = append(b.response.Output, item)
	return o, b.tell("response.output_item.added", map[string]any{"output_index": o.index, "item": item})
}

// close puts the final item in its place.
func (b *responseBuilder) close(o *openItem, item any) error {
	b.response.Output[o.index] = item
	return b.tell("response.output_item.done", map[string]any{"output_index": o.index, "item": item})
}

// at returns an event about o with the members of pairs.
func (o *openItem) at(pairs ...any) map[string]any {
	event := map[string]any{"item_id": o.id, "output_index": o.index}
	for i := 0; i < len(pairs); i += 2 {
		event[pairs[i].(string)] = pairs[i+1]
	}
	return event
}

// list shows what a connector offers.
func (b *responseBuilder) list(l *inference.HostedList) error {
	item := listItem{Type: "mcp_list_tools", ID: b.id("mcpl_"), Label: l.Label, Tools: []listTool{}}
	o, err := b.open("list", item.ID, item)
	if err != nil {
		return err
	}
	if err := b.tell("response.mcp_list_tools.in_progress", o.at()); err != nil {
		return err
	}
	for _, t := range l.Tools {
		item.Tools = append(item.Tools, listTool{Name: t.Name, Description: t.Description, Input: t.Input, Annotations: map[string]bool{"read_only": t.ReadOnly}})
	}
	if err := b.tell("response.mcp_list_tools.completed", o.at()); err != nil {
		return err
	}
	return b.close(o, item)
}

// delta adds a piece of what the model says.
func (b *responseBuilder) delta(ev *inference.Event) error {
	if ev.Reasoning != "" {
		if err := b.think(ev.Reasoning); err != nil {
			return err
		}
	}
	if ev.Content != "" {
		if err := b.closeReasoning(); err != nil {
			return err
		}
		if err := b.say(ev); err != nil {
			return err
		}
	}
	if ev.ToolCall != nil {
		return b.function(ev.ToolCall)
	}
	return nil
}

func (b *responseBuilder) think(text string) (err error) {
	if b.reasoning == nil {
		item := reasoningItem{Type: "reasoning", ID: b.id("rs_"), Status: callRunning, Summary: []any{}, Content: []reasoningText{}}
		if b.reasoning, err = b.open("reasoning", item.ID, item); err != nil {
			return err
		}
		part := reasoningText{Type: "reasoning_text"}
		if err := b.tell("response.content_part.added", b.reasoning.at("content_index", 0, "part", part)); err != nil {
			return err
		}
	}
	b.reasoning.text.WriteString(text)
	b.thought.WriteString(text)
	return b.tell("response.reasoning_text.delta", b.reasoning.at("content_index", 0, "delta", text))
}

func (b *responseBuilder) closeReasoning() error {
	o := b.reasoning
	if o == nil {
		return nil
	}
	b.reasoning = nil
	part := reasoningText{Type: "reasoning_text", Text: o.text.String()}
	if err := b.tell("response.reasoning_text.done", o.at("content_index", 0, "text", part.Text)); err != nil {
		return err
	}
	if err := b.tell("response.content_part.done", o.at("content_index", 0, "part", part)); err != nil {
		return err
	}
	return b.close(o, reasoningItem{Type: "reasoning", ID: o.id, Status: callCompleted, Summary: []any{}, Content: []reasoningText{part}})
}

func (b *responseBuilder) say(ev *inference.Event) (err error) {
	text := ev.Content
	if b.text == nil {
		text = strings.TrimPrefix(text, "\n\n") // a message of its own needs no paragraph
		item := messageItem{Type: "message", ID: b.id("msg_"), Status: callRunning, Role: "assistant", Content: []outputText{}}
		if b.text, err = b.open("message", item.ID, item); err != nil {
			return err
		}
		part := outputText{Type: "output_text", Annotations: []any{}, Logprobs: []chatToken{}}
		if err := b.tell("response.content_part.added", b.text.at("content_index", 0, "part", part)); err != nil {
			return err
		}
	}
	logprobs := []chatToken{}
	if b.logprobs {
		logprobs = wireTokens(ev.Logprobs)
		b.text.logprobs = append(b.text.logprobs, logprobs...)
	}
	b.text.text.WriteString(text)
	return b.tell("response.output_text.delta", b.text.at("content_index", 0, "delta", text, "logprobs", logprobs))
}

func (b *responseBuilder) closeText() error {
	o := b.text
	if o == nil {
		return nil
	}
	b.text = nil
	part := outputText{Type: "output_text", Text: o.text.String(), Annotations: []any{}, Logprobs: append([]chatToken{}, o.logprobs...)}
	if err := b.tell("response.output_text.done", o.at("content_index", 0, "text", part.Text, "logprobs", part.Logprobs)); err != nil {
		return err
	}
	if err := b.tell("response.content_part.done", o.at("content_index", 0, "part", part)); err != nil {
		return err
	}
	status := callCompleted
	if b.finish == inference.FinishLength {
		status = "incomplete"
	}
	return b.close(o, messageItem{Type: "message", ID: o.id, Status: status, Role: "assistant", Content: []outputText{part}})
}

func (b *responseBuilder) closeTexts() error {
	if err := b.closeReasoning(); err != nil {
		return err
	}
	return b.closeText()
}

// function adds a piece of a call that the client runs.
func (b *responseBuilder) function(d *inference.ToolCallDelta) (err error) {
	o := b.functions[d.Index]
	if o == nil {
		if err := b.closeTexts(); err != nil {
			return err
		}
		item := functionItem{Type: "function_call", ID: b.id("fc_"), CallID: d.ID, Name: d.Name, Status: callRunning}
		if o, err = b.open("function", item.ID, item); err != nil {
			return err
		}
		o.call = item
		b.functions[d.Index] = o
	}
	o.call.Arguments += d.Arguments
	if d.Arguments == "" {
		return nil
	}
	return b.tell("response.function_call_arguments.delta", o.at("delta", d.Arguments))
}

// closeAll ends what is still open, in the order of the output.
func (b *responseBuilder) closeAll() error {
	if err := b.closeTexts(); err != nil {
		return err
	}
	open := make([]*openItem, 0, len(b.functions))
	for _, o := range b.functions {
		open = append(open, o)
	}
	slices.SortFunc(open, func(x, y *openItem) int { return x.index - y.index })
	clear(b.functions)
	for _, o := range open {
		if o.call.Status = callCompleted; b.finish == inference.FinishLength {
			o.call.Status = "incomplete"
		}
		if err := b.tell("response.function_call_arguments.done", o.at("arguments", o.call.Arguments, "name", o.call.Name)); err != nil {
			return err
		}
		if err := b.close(o, o.call); err != nil {
			return err
		}
	}
	return nil
}

// complete ends the response.
func (b *responseBuilder) complete(u *inference.Usage) error {
	r := &b.response
	r.Usage = &responseUsage{Input: u.PromptTokens, Output: u.CompletionTokens, Total: u.PromptTokens + u.CompletionTokens, Rounds: b.rounds}
	r.Usage.InputDetails.Cached = u.CachedTokens
	if b.thought.Len() > 0 {
		r.Usage.OutputDetails.Reasoning = min(b.count(b.thought.String()), u.CompletionTokens)
	}
	r.Status = callCompleted
	name := "response.completed"
	if b.finish == inference.FinishLength {
		r.Status, r.Incomplete = "incomplete", &incomplete{Reason: "max_output_tokens"}
		name = "response.incomplete"
	}
	return b.tell(name, map[string]any{"response": *r})
}

// fail ends the response with an error.
func (b *responseBuilder) fail(code, message string) error {
	b.response.Status, b.response.Error = callFailed, &responseError{Code: code, Message: message}
	return b.tell("response.failed", map[string]any{"response": b.response})
}
