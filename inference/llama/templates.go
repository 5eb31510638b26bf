package llama

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"unsafe"

	"hearth/inference"
)

const (
	// maxApplyBytes bounds the JSON that Apply takes.
	maxApplyBytes = 16 << 20
	// maxApplyDepth bounds how deep it nests, and the arguments of calls in it.
	maxApplyDepth = 256
	// maxAnswerDepth bounds how deep brackets nest in an answer: the parser takes
	// several kilobytes of stack for each.
	maxAnswerDepth = 256
	// maxTemplateBytes bounds a template that replaces the model's.
	maxTemplateBytes = 1 << 20
)

// Templates is a model's chat template, or one that replaces it.
type Templates struct {
	mu     sync.RWMutex
	closed bool
	m      *Model
	h      *C.hearth_templates
	caps   map[string]bool
}

// Templates reads the model's chat template, or override if it is not empty. A
// model without a template gets ChatML's.
func (m *Model) Templates(override string) (*Templates, error) {
	if len(override) > maxTemplateBytes {
		return nil, fmt.Errorf("read chat template: it has %d bytes, at most %d are possible", len(override), maxTemplateBytes)
	}
	if strings.ContainsRune(override, 0) {
		return nil, fmt.Errorf("read chat template: it holds a zero byte")
	}
	t := &Templates{m: m}
	err := m.use(func(h *C.hearth_model) error {
		csource := C.CString(override)
		defer C.free(ptr(csource))
		var cerr *C.char
		if t.h = C.hearth_templates_new(h, csource, &cerr); t.h == nil {
			return takeError(&cerr)
		}
		caps := C.hearth_templates_caps(t.h, &cerr)
		var err error
		if caps == nil {
			err = takeError(&cerr)
		} else {
			err = json.Unmarshal([]byte(takeString(caps)), &t.caps)
		}
		if err != nil {
			C.hearth_templates_free(t.h)
			return err
		}
		m.users.add(&m.users.templates, 1)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read chat template: %w", err)
	}
	return t, nil
}

// Close frees the templates; it waits for an Apply that runs. Parsers made from
// them stay usable.
func (t *Templates) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return fmt.Errorf("close templates: %w", ErrClosed)
	}
	t.closed = true
	C.hearth_templates_free(t.h)
	t.m.users.add(&t.m.users.templates, -1)
	return nil
}

// Caps tells what the template can render, found by rendering: supports_tools,
// supports_tool_calls, supports_parallel_tool_calls, supports_system_role,
// supports_thinking and more. The map is the caller's.
func (t *Templates) Caps() map[string]bool {
	caps := make(map[string]bool, len(t.caps))
	for k, v := range t.caps {
		caps[k] = v
	}
	return caps
}

// applyFields names the request's field that each HEARTH_FIELD_* is about.
var applyFields = [...]string{
	C.HEARTH_FIELD_MESSAGES: "messages",
	C.HEARTH_FIELD_TOOLS:    "tools",
	C.HEARTH_FIELD_CHOICE:   "tool_choice",
	C.HEARTH_FIELD_SCHEMA:   "response_format",
	C.HEARTH_FIELD_KWARGS:   "chat_template_kwargs",
}

// Apply renders a conversation. input is JSON:
//
//	{"messages": [...], "tools": [...], "tool_choice": "auto|none|required",
//	 "parallel_tool_calls": bool, "json_schema": {...}, "add_generation_prompt": bool,
//	 "enable_thinking": bool, "template_kwargs": {name: value}}
//
// with messages and tools in OpenAI's form. The answer is JSON:
//
//	{"prompt": "…", "grammar": "…", "grammar_lazy": bool,
//	 "triggers": [{"type": n, "value": "…", "token": n}], "preserved_tokens": [n],
//	 "stops": ["…"], "generation_prompt": "…", "supports_thinking": bool,
//	 "thinking_start": "…", "thinking_ends": ["…"], "parser": "…"}
//
// What the template or a bound refuses is an *inference.InvalidError.
func (t *Templates) Apply(input []byte) ([]byte, error) {
	if err := checkApply(input); err != nil {
		return nil, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return nil, fmt.Errorf("apply chat template: %w", ErrClosed)
	}
	deep <- struct{}{}
	defer func() { <-deep }()
	var cerr *C.char
	var n C.int64_t
	var field C.int32_t
	out := C.hearth_templates_apply(t.h, (*C.char)(ptr(unsafe.SliceData(input))), C.int64_t(len(input)), &n, &field, &cerr)
	if out == nil {
		return nil, inference.Invalid(applyFields[field], "the model's chat template cannot render this: %s", templateSentence(takeError(&cerr).Error()))
	}
	return takeBytes(out, n), nil
}

// templateSentence returns what a template itself says in an error of the program
// that ran it, without the place in the template's source.
func templateSentence(text string) string {
	for _, before := range []string{"Jinja Exception: ", "\nError: "} {
		if _, after, ok := strings.Cut(text, before); ok && strings.TrimSpace(after) != "" {
			return strings.TrimSpace(after)
		}
	}
	return text
}

// checkApply bounds what goes into the template and into schemas' conversion.
func checkApply(input []byte) error {
	if len(input) > maxApplyBytes {
		return inference.Invalid("messages", "messages and tools have %d bytes together, and at most %d are possible", len(input), maxApplyBytes)
	}
	if depth, _ := measureJSON(input); depth > maxApplyDepth {
		return inference.Invalid("messages", "messages and tools are nested %d deep, and at most %d is possible", depth, maxApplyDepth)
	}
	var in struct {
		Messages []struct {
			ToolCalls []struct {
				Function struct {
					Arguments json.RawMessage `json:"arguments"`
				} `json:"function"`
			} `json:"tool_calls"`
		} `json:"messages"`
		Tools []struct {
			Function struct {
				Parameters json.RawMessage `json:"parameters"`
			} `json:"function"`
		} `json:"tools"`
		Schema json.RawMessage `json:"json_schema"`
	}
	if err := json.Unmarshal(input, &in); err != nil {
		return inference.Invalid("messages", "the conversation is not in OpenAI's form: %v", err)
	}
	if len(in.Messages) > inference.MaxMessages {
		return inference.Invalid("messages", "at most %d messages are possible, got %d", inference.MaxMessages, len(in.Messages))
	}
	if len(in.Tools) > inference.MaxTools {
		return inference.Invalid("tools", "at most %d tools are possible, got %d", inference.MaxTools, len(in.Tools))
	}
	for i, m := range in.Messages {
		for j, c := range m.ToolCalls {
			// llama.cpp parses arguments that are given as text
			var text string
			if json.Unmarshal(c.Function.Arguments, &text) != nil {
				continue
			}
			if depth, _ := measureJSON([]byte(text)); depth > maxApplyDepth {
				return inference.Invalid(fmt.Sprintf("messages[%d].tool_calls[%d].function.arguments", i, j), "is nested %d deep, and at most %d is possible", depth, maxApplyDepth)
			}
		}
	}
	for i, tool := range in.Tools {
		if p := tool.Function.Parameters; p != nil {
			if err := checkSchema(fmt.Sprintf("tools[%d].function.parameters", i), p); err != nil {
				return err
			}
		}
	}
	if in.Schema != nil {
		if err := checkSchema("response_format", in.Schema); err != nil {
			return err
		}
		return checkFeasible("response_format", in.Schema)
	}
	return nil
}

// Parser reads what a model answers: content, reasoning and tool calls, as the
// template prescribes.
type Parser struct {
	once
	h *C.hearth_parser
}

// NewParser makes a parser for the answer to a prompt that Apply made.
// parseToolCalls false leaves tool calls in the content.
func (t *Templates) NewParser(applyOutput []byte, parseToolCalls bool) (*Parser, error) {
	var out struct {
		Parser string `json:"parser"`
	}
	if err := json.Unmarshal(applyOutput, &out); err != nil {
		return nil, fmt.Errorf("create parser: %w", err)
	}
	var cerr *C.char
	h := C.hearth_parser_new((*C.char)(ptr(unsafe.StringData(out.Parser))), C.int64_t(len(out.Parser)), flag(parseToolCalls), &cerr)
	if h == nil {
		return nil, fmt.Errorf("create parser: %w", takeError(&cerr))
	}
	return &Parser{h: h}, nil
}

// Close frees the parser.
func (p *Parser) Close() error {
	if !p.close() {
		return fmt.Errorf("close parser: %w", ErrClosed)
	}
	C.hearth_parser_free(p.h)
	return nil
}

// Parse reads all of an answer so far; partial says that more may come. The
// result is JSON:
//
//	{"content": "…", "reasoning_content": "…",
//	 "tool_calls": [{"id": "…", "name": "…", "arguments": "…"}]}
//
// An answer that does not have the prescribed form is ErrUnparsed.
func (p *Parser) Parse(text string, partial bool) ([]byte, error) {
	if p.closed.Load() {
		return nil, fmt.Errorf("parse answer: %w", ErrClosed)
	}
	if len(text) > MaxTextBytes {
		return nil, fmt.Errorf("parse answer: %w: it has %d bytes, at most %d are parsed", ErrUnparsed, len(text), MaxTextBytes)
	}
	if d := nesting(text); d > maxAnswerDepth {
		return nil, fmt.Errorf("parse answer: %w: its brackets nest %d deep, at most %d are parsed", ErrUnparsed, d, maxAnswerDepth)
	}
	stack := stackFor(len(text))
	if stack > 0 {
		deep <- struct{}{}
		defer func() { <-deep }()
	}
	var cerr *C.char
	var n C.int64_t
	out := C.hearth_parser_parse(p.h, (*C.char)(ptr(unsafe.StringData(text))), C.int64_t(len(text)), flag(partial), stack, &n, &cerr)
	if out == nil {
		return nil, fmt.Errorf("parse answer: %w: %w", ErrUnparsed, takeError(&cerr))
	}
	return takeBytes(out, n), nil
}

// nesting returns how many brackets are open at once in text, quoted ones
// included: it may say too much, never too little.
func nesting(text string) int {
	open, most := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '[', '{':
			open++
			most = max(most, open)
		case ']', '}':
			open = max(0, open-1)
		}
	}
	return most
}
