package chat

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"hearth/inference"
)

// fits reports whether the schemas of tools are within the bounds of one schema
// together. Above them a grammar takes longer to compile than an answer to write.
func fits(tools []inference.Tool) bool {
	schema := callSchema(tools)
	depth, values, err := measure(schema)
	return err == nil && len(schema) <= inference.MaxSchemaBytes && depth <= inference.MaxSchemaDepth && values <= inference.MaxSchemaNodes
}

// anyObject is the schema of arguments of which a grammar holds only the form.
var anyObject = json.RawMessage(`{"type":"object"}`)

// reduce leaves the tools' schemas out of a grammar that would be too large: the
// arguments may be any object. Names and the form of calls stay enforced, and the
// prompt is not touched. A strict tool's schema cannot be left out.
func reduce(tools []inference.Tool) ([]inference.Tool, error) {
	out := make([]inference.Tool, len(tools))
	for i := range tools {
		if tools[i].Strict {
			return nil, inference.Invalid("tools", "the parameters of all tools together are too large to be enforced, as strict asks for %q: offer fewer tools, or leave strict out", tools[i].Name)
		}
		out[i] = inference.Tool{Name: tools[i].Name, Description: tools[i].Description, Parameters: anyObject}
	}
	return out, nil
}

// callOpenToken returns the token that callOpen is in the vocabulary, -1 if it
// is ordinary text there.
func (m *Model) callOpenToken() (int32, error) {
	tokens, err := m.lm.Tokenize(callOpen, inference.TokenizeOptions{ParseSpecial: true})
	if err != nil {
		return -1, fmt.Errorf("tokenize %s: %w", callOpen, err)
	}
	if len(tokens) == 1 {
		return tokens[0], nil
	}
	return -1, nil
}

// beforeCall matches text without callOpen's first letters: what a model that
// thinks aloud may write before the call that is required of it.
const beforeCall = `hearth-before ::= ([^<] | "<"+ ([^<t] | "t" ([^<o] | "o" [^<o])))*` + "\n"

// callGrammar returns the grammar of calls written as text. Where calls are
// required it holds from the first token; otherwise from callOpen on.
func (m *Model) callGrammar(tools []inference.Tool, parallel bool, mode inference.ToolMode, open int32) (*inference.Grammar, error) {
	object, err := m.callObject(tools)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	root := "hearth-call"
	if parallel {
		root += ` ([ \n]? hearth-call)*`
	}
	if mode == inference.ToolRequired && !m.plain {
		root = "hearth-before " + root
		b.WriteString(beforeCall)
	}
	fmt.Fprintf(&b, "root ::= %s\n", root)
	fmt.Fprintf(&b, "hearth-call ::= %q [ \\n]? hearth-object [ \\n]? %q\n", callOpen, callClose)
	b.WriteString(object)

	g := &inference.Grammar{GBNF: b.String()}
	if mode == inference.ToolAuto {
		g.Lazy = true
		g.Triggers = []inference.Trigger{{Kind: inference.TriggerWord, Value: callOpen}}
		if open >= 0 {
			g.Triggers = []inference.Trigger{{Kind: inference.TriggerToken, Value: callOpen, Token: open}}
		}
	}
	return g, nil
}

// callObject returns the rules of the object inside a call, hearth-object and
// those that it refers to.
func (m *Model) callObject(tools []inference.Tool) (string, error) {
	if fits(tools) {
		gbnf, err := m.lm.SchemaToGrammar(callSchema(tools))
		if err == nil {
			return renameRoot(gbnf), nil
		}
		// Is it one of them, or all of them together? What no grammar can say of
		// one tool is left to whoever runs it, unless strict promises it.
		offered := slices.Clone(tools)
		for i := range offered {
			if _, err := m.lm.SchemaToGrammar(parameters(&tools[i])); err == nil {
				continue
			} else if tools[i].Strict {
				return "", schemaError("tools", fmt.Sprintf("the parameters of %q: ", tools[i].Name), err)
			}
			offered[i].Parameters = anyObject
		}
		if gbnf, err = m.lm.SchemaToGrammar(callSchema(offered)); err == nil {
			return renameRoot(gbnf), nil
		}
	}
	reduced, err := reduce(tools)
	if err != nil {
		return "", err
	}
	gbnf, err := m.lm.SchemaToGrammar(callSchema(reduced))
	if err != nil {
		return "", schemaError("tools", "", err)
	}
	return renameRoot(gbnf), nil
}

// localRef is a reference within the schema of a tool. A JSON string escapes its
// quotes, so the expression matches nothing inside of one.
var localRef = regexp.MustCompile(`("\$ref"\s*:\s*")#/`)

// callSchema describes {"name", "arguments"} for any of the tools. Their schemas
// are kept as text, because the order of properties is the order in which a
// model has to write them; only references move with the schema they belong to.
func callSchema(tools []inference.Tool) json.RawMessage {
	alternatives := make([]string, len(tools))
	for i := range tools {
		params := localRef.ReplaceAll(parameters(&tools[i]), fmt.Appendf(nil, "${1}#/oneOf/%d/properties/arguments/", i))
		alternatives[i] = fmt.Sprintf(`{"type":"object","properties":{"name":{"const":%q},"arguments":%s},"required":["name","arguments"],"additionalProperties":false}`, tools[i].Name, params)
	}
	return json.RawMessage(`{"oneOf":[` + strings.Join(alternatives, ",") + `]}`)
}

var rootRule = regexp.MustCompile(`(?m)^root ::=`)

// renameRoot makes room for a root rule around the one of a grammar. A grammar
// made of a schema does not refer to its own root.
func renameRoot(gbnf string) string {
	return rootRule.ReplaceAllString(gbnf, "hearth-object ::=")
}
