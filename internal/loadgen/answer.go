package loadgen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Call is a tool call of an answer.
type Call struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"` // as the server wrote them
}

// maxCalls bounds the tool calls that are kept of one answer.
const maxCalls = 64

// answer gathers what the events of a stream bring.
type answer struct {
	text  strings.Builder
	calls []Call
}

// add takes in what one event says of the only choice that is asked for.
func (a *answer) add(c *chunk) {
	for _, choice := range c.Choices {
		a.text.WriteString(choice.Delta.Content)
		for _, d := range choice.Delta.ToolCalls {
			if d.Index < 0 || d.Index >= maxCalls {
				continue
			}
			for len(a.calls) <= d.Index {
				a.calls = append(a.calls, Call{})
			}
			call := &a.calls[d.Index]
			call.ID += d.ID
			call.Name += d.Function.Name
			call.Arguments += d.Function.Arguments
		}
	}
}

// checker tells whether answers are whole documents. Nil: none are asked for.
type checker struct {
	schema *jsonschema.Schema            // of the text
	tools  map[string]*jsonschema.Schema // of the arguments of each tool
}

func newChecker(g *Group) (*checker, error) {
	if g.Tools == 0 {
		if len(g.Schema) == 0 {
			return nil, nil
		}
		schema, err := compile(g.Schema)
		return &checker{schema: schema}, err
	}
	c := &checker{tools: map[string]*jsonschema.Schema{}}
	for _, t := range tools[:g.Tools] {
		schema, err := compile(t.Function.Parameters)
		if err != nil {
			return nil, fmt.Errorf("tool %s: %w", t.Function.Name, err)
		}
		c.tools[t.Function.Name] = schema
	}
	return c, nil
}

func compile(raw json.RawMessage) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	const name = "answer.json"
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	schema, err := compiler.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	return schema, nil
}

// whole tells whether s is a whole document: text that follows the schema, or
// calls of offered tools with arguments that follow theirs.
func (c *checker) whole(s *Sample) bool {
	switch {
	case c == nil:
		return false
	case c.schema != nil:
		return follows(c.schema, s.Text)
	}
	return len(s.Calls) > 0 && !slices.ContainsFunc(s.Calls, func(call Call) bool {
		schema := c.tools[call.Name]
		return schema == nil || !follows(schema, call.Arguments)
	})
}

func follows(schema *jsonschema.Schema, text string) bool {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	return err == nil && schema.Validate(doc) == nil
}
