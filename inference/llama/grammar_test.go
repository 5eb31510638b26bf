package llama

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"hearth/inference"
)

var schemas = map[string]string{
	"object": `{"type":"object","properties":{"name":{"type":"string","maxLength":12},"age":{"type":"integer","minimum":0,"maximum":150},
		"tags":{"type":"array","items":{"enum":["red","green"]},"minItems":1,"maxItems":3}},"required":["name","age","tags"],"additionalProperties":false}`,
	"enum":    `{"enum":["yes","no"]}`,
	"boolean": `{"type":"boolean"}`,
	"nested":  `{"type":"object","properties":{"p":{"type":"object","properties":{"x":{"type":"number"},"y":{"type":"number"}},"required":["x","y"],"additionalProperties":false}},"required":["p"],"additionalProperties":false}`,
	"oneOf":   `{"oneOf":[{"type":"object","properties":{"k":{"const":"a"}},"required":["k"],"additionalProperties":false},{"type":"object","properties":{"k":{"const":"b"}},"required":["k"],"additionalProperties":false}]}`,
	"unicode": `{"type":"object","properties":{"grüße":{"const":"日本語"}},"required":["grüße"],"additionalProperties":false}`,
	"ref":     `{"$defs":{"c":{"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":9}},"required":["n"],"additionalProperties":false}},"type":"array","items":{"$ref":"#/$defs/c"},"minItems":2,"maxItems":2}`,
}

func compileSchema(t *testing.T, schema string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	must(t, c.AddResource("schema.json", doc))
	compiled, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// Whatever the sampling, the output is JSON that an independent validator
// accepts, and the fast path draws what the whole chain under a full mask draws.
func TestSchemaIsEnforced(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 1024, Sequences: 2, Unified: true})
	tokens := tokenize(t, m, "<|im_start|>user\nDescribe a person named Ada.<|im_end|>\n<|im_start|>assistant\n")
	last := int32(len(tokens)) - 1
	prompt(t, c, 1, 0, tokens[:last])
	all := specs()
	finished := 0
	defer func() {
		if finished < 15 {
			t.Errorf("only %d answers came to an end", finished)
		}
	}()
	for name, schema := range schemas {
		compiled := compileSchema(t, schema)
		gbnf, err := m.SchemaToGrammar([]byte(schema))
		if err != nil {
			t.Fatal(err)
		}
		for _, how := range []string{"greedy", "defaults", "min-p", "greedy tamed"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				spec := all[how]
				spec.Grammar = &inference.Grammar{GBNF: gbnf}
				var got [2][]int32
				for i, reference := range []bool{false, true} {
					s := newSampler(t, m, spec, reference)
					c.SeqCopy(1, 0, 0, last)
					index := prompt(t, c, 0, last, tokens[last:])
					got[i] = generate(t, c, s, 0, last+1, index, 100)
					c.SeqRemove(0, -1, -1)
				}
				equalTokens(t, m, "fast path", got[0], got[1])
				if !m.EndOfGeneration(got[0][len(got[0])-1]) {
					t.Logf("still writing after %d tokens: %q", len(got[0]), text(m, got[0]))
					return
				}
				finished++
				var v any
				if err := json.Unmarshal([]byte(text(m, got[0])), &v); err != nil {
					t.Fatalf("%q: %v", text(m, got[0]), err)
				}
				if err := compiled.Validate(v); err != nil {
					t.Errorf("%q: %v", text(m, got[0]), err)
				}
			})
		}
	}
}

func TestGrammarThatNothingFits(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 2, Unified: true})
	index := prompt(t, c, 0, 0, tokenize(t, m, "The sky is"))
	eog := tokenize(t, m, "<|im_end|>")[0]
	// biases push what the grammar wants out of reach, and the end of the answer in
	// front: it is not accepted in the middle of a grammar
	spec := greedySpec()
	spec.LogitBias = map[int32]float32{eog: 100}
	spec.Grammar = &inference.Grammar{GBNF: `root ::= "blue"`}
	s := newSampler(t, m, spec, false)
	other := newSampler(t, m, greedySpec(), false)
	var got string
	out := make([]inference.Sampled, 2)
	for range 4 {
		must(t, c.Sample([]inference.SampleRow{{Index: index, Sampler: s}, {Index: index, Sampler: other}}, out))
		must(t, out[0].Err)
		must(t, out[1].Err)
		if got += string(m.Piece(out[0].Token, true)); m.EndOfGeneration(out[0].Token) {
			break
		}
	}
	if got != "blue<|im_end|>" {
		t.Errorf("wrote %q", got)
	}
	must(t, c.Sample([]inference.SampleRow{{Index: index, Sampler: s}, {Index: index, Sampler: other}}, out))
	must(t, out[0].Err) // the end may come again
	must(t, out[1].Err)

	// a grammar over a character that begins no token
	spec = greedySpec()
	spec.Grammar = &inference.Grammar{GBNF: `root ::= "\x00"`}
	if s, err := m.newSampler(&spec, false); err == nil {
		must(t, c.Sample([]inference.SampleRow{{Index: index, Sampler: s}, {Index: index, Sampler: other}}, out))
		if out[0].Err == nil || out[1].Err != nil {
			t.Errorf("errors are %v and %v", out[0].Err, out[1].Err)
		}
		must(t, s.Close())
	}
}

// feed gives a sampler the tokens of script as if it had drawn them, then lets it
// draw and returns what it wrote.
func feed(t *testing.T, c *Context, index int, spec inference.SamplerSpec, script string, then int) string {
	t.Helper()
	m := c.m
	ids, err := m.Tokenize(script, inference.TokenizeOptions{ParseSpecial: true})
	if err != nil {
		t.Fatal(err)
	}
	s := newSampler(t, m, spec, false)
	for _, id := range ids {
		if err := s.Accept(id); err != nil {
			t.Fatalf("accepting %q: %v", m.Piece(id, true), err)
		}
	}
	var got strings.Builder
	out := make([]inference.Sampled, 1)
	for range then {
		must(t, c.Sample([]inference.SampleRow{{Index: index, Sampler: s}}, out))
		if out[0].Err != nil {
			t.Fatal(out[0].Err)
		}
		got.Write(m.Piece(out[0].Token, true))
		if m.EndOfGeneration(out[0].Token) {
			break
		}
	}
	return got.String()
}

func TestLazyGrammar(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 1, Unified: true})
	index := prompt(t, c, 0, 0, tokenize(t, m, "The sky is"))
	free := greedySpec()
	unconstrained := feed(t, c, index, free, "", 1)
	call := `root ::= "<call>" [0-9] "</call>"`
	im := tokenize(t, m, "<|im_start|>")[0]
	for _, tc := range []struct {
		name     string
		gbnf     string
		triggers []inference.Trigger
		script   string
		held     bool // the grammar holds after the script
	}{
		{"not yet", call, []inference.Trigger{{Kind: inference.TriggerWord, Value: "<call>"}}, "I will <cal", false},
		{"word", call, []inference.Trigger{{Kind: inference.TriggerWord, Value: "<call>"}}, "I will <call>", true},
		{"word at once", call, []inference.Trigger{{Kind: inference.TriggerWord, Value: "<call>"}}, "<call>", true},
		{"word late", call, []inference.Trigger{{Kind: inference.TriggerWord, Value: "<call>"}}, strings.Repeat("some words. ", 4000) + "<call>", true},
		{"second word", call, []inference.Trigger{{Kind: inference.TriggerWord, Value: "[x]"}, {Kind: inference.TriggerWord, Value: "<call>"}}, "a <call>", true},
		{"pattern", call, []inference.Trigger{{Kind: inference.TriggerPattern, Value: `so:\s*(<call>)`}}, "so:  <call>", true},
		{"pattern without its start", call, []inference.Trigger{{Kind: inference.TriggerPattern, Value: `so:\s*(<call>)`}}, "oh:  <call>", false},
		{"pattern late", call, []inference.Trigger{{Kind: inference.TriggerPattern, Value: `(<call>)`}}, strings.Repeat("some words. ", 4000) + "<call>", true},
		{"full pattern", call, []inference.Trigger{{Kind: inference.TriggerPatternFull, Value: `hm (<call>)`}}, "hm <call>", true},
		{"full pattern with more before", call, []inference.Trigger{{Kind: inference.TriggerPatternFull, Value: `hm (<call>)`}}, "well hm <call>", false},
		{"token", `root ::= "<|im_start|>" [0-9] "</call>"`, []inference.Trigger{{Kind: inference.TriggerToken, Token: im}}, "so <|im_start|>", true},
		// the text after the trigger does not fit: it stays free text
		{"false alarm", call, []inference.Trigger{{Kind: inference.TriggerPattern, Value: `(<call>)x`}}, "so <call>x", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec := greedySpec()
			spec.Grammar = &inference.Grammar{GBNF: tc.gbnf, Lazy: true, Triggers: tc.triggers}
			if !tc.held {
				if got := feed(t, c, index, spec, tc.script, 1); got != unconstrained {
					t.Errorf("wrote %q, unconstrained %q", got, unconstrained)
				}
				return
			}
			got := feed(t, c, index, spec, tc.script, 8)
			if len(got) < 8 || got[0] < '0' || got[0] > '9' || !strings.HasPrefix(got[1:], "</call>") {
				t.Errorf("wrote %q", got)
			}
		})
	}
}

func TestGrammarPrefill(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 1, Unified: true})
	index := prompt(t, c, 0, 0, tokenize(t, m, "The sky is"))
	spec := greedySpec()
	spec.Grammar = &inference.Grammar{GBNF: `root ::= "<|im_start|>" "assistant\n" "blue"`, Prefill: "<|im_start|>assistant\n"}
	if got := feed(t, c, index, spec, "", 8); !strings.HasPrefix(got, "blue") {
		t.Errorf("wrote %q", got)
	}
	spec.Grammar.Prefill = "something else"
	if s, err := m.newSampler(&spec, false); !errors.Is(err, inference.ErrInvalid) {
		if err == nil {
			must(t, s.Close())
		}
		t.Errorf("a prefill that does not fit: %v", err)
	}
}

func TestGrammarBounds(t *testing.T) {
	m := sharedModel(t)
	nest := func(n int) string { return "root ::= " + strings.Repeat("(", n) + `"a"` + strings.Repeat(")", n) }
	chain := func(n int) string {
		var b strings.Builder
		b.WriteString("root ::= r0\n")
		for i := range n {
			fmt.Fprintf(&b, "r%d ::= r%d\n", i, i+1)
		}
		fmt.Fprintf(&b, "r%d ::= \"x\"\n", n)
		return b.String()
	}
	for _, tc := range []struct {
		name, gbnf string
		ok         bool
	}{
		{"nested at the bound", nest(MaxGrammarNesting), true},
		{"nested above it", nest(MaxGrammarNesting + 1), false},
		{"30,000 parentheses", nest(30_000), false},
		{"parentheses in a text", `root ::= "` + strings.Repeat("(", 1000) + `"`, true},
		{"parentheses in a class", `root ::= [` + strings.Repeat("(", 1000) + `]`, true},
		{"parentheses in a comment", "# " + strings.Repeat("(", 1000) + "\nroot ::= \"a\"", true},
		{"long chain of rules", chain(10_000), true},
		{"too long", `root ::= "` + strings.Repeat("x", MaxGrammarBytes) + `"`, false},
		{"zero byte", "root ::= \"a\"\x00", false},
		{"left recursion", "root ::= root \"a\"", false},
		{"no root", "start ::= \"a\"", false},
		{"no rule", "x", false},
		{"nothing", " \n# only a comment", false},
		{"undefined", "root ::= nowhere", false},
		{"open text", `root ::= "abc`, false},
		{"open class", `root ::= [a-`, false},
		{"open brace", `root ::= "a"{2`, false},
		{"repeat", `root ::= "a"{2,5} ("b" "c"){1,3}`, true},
		{"repeat backwards", `root ::= "a"{5,3}`, false},
		{"repeat without a lower bound", `root ::= "a"{,3}`, false},
		{"repeat nothing", `root ::= "a"{} "b"`, false},
		{"repeat up to very often", `root ::= "a"{1,100000}`, true},
		{"repeat too often", `root ::= "a"{100000}`, false},
		{"repeat beyond numbers", `root ::= "a"{99999999999999999999}`, false},
		{"unfolds too far", "root ::= " + strings.Repeat(`"`+strings.Repeat("x", 500)+`"{2000} `, 5), false},
		{"token of the vocabulary", "root ::= <[5]>", true},
		{"llguidance", "%llguidance {}", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec := greedySpec()
			spec.Grammar = &inference.Grammar{GBNF: tc.gbnf}
			s, err := m.newSampler(&spec, false)
			if err == nil {
				must(t, s.Close())
			}
			if (err == nil) != tc.ok || err != nil && !errors.Is(err, inference.ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
	for name, g := range map[string]inference.Grammar{
		"lazy without a trigger": {GBNF: nest(1), Lazy: true},
		"unknown kind":           {GBNF: nest(1), Lazy: true, Triggers: []inference.Trigger{{Kind: 9, Value: "x"}}},
		"empty word":             {GBNF: nest(1), Lazy: true, Triggers: []inference.Trigger{{Kind: inference.TriggerWord}}},
		"broken pattern":         {GBNF: nest(1), Lazy: true, Triggers: []inference.Trigger{{Kind: inference.TriggerPattern, Value: "((("}}},
		"many triggers":          {GBNF: nest(1), Lazy: true, Triggers: make([]inference.Trigger, 100)},
		"long prefill":           {GBNF: nest(1), Prefill: strings.Repeat("x", 1<<20)},
	} {
		spec := greedySpec()
		spec.Grammar = &g
		if s, err := m.newSampler(&spec, false); !errors.Is(err, inference.ErrInvalid) {
			if err == nil {
				must(t, s.Close())
			}
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemaBounds(t *testing.T) {
	m := sharedModel(t)
	nest := func(n int) string {
		return strings.Repeat(`{"type":"array","items":`, n) + `{"type":"null"}` + strings.Repeat("}", n)
	}
	many := func(n int) string {
		return `{"enum":[` + strings.Repeat(`"a",`, n) + `"b"]}`
	}
	for _, tc := range []struct {
		name, schema string
		ok           bool
	}{
		{"empty", `{}`, true},
		{"depth at the bound", nest(inference.MaxSchemaDepth - 1), true},
		{"depth above it", nest(inference.MaxSchemaDepth), false},
		{"400 deep", nest(400), false},
		{"20,000 deep", nest(2_600), false},
		{"100,000 brackets", strings.Repeat("[", 60_000), false},
		{"many values", many(1_900), true},
		{"too many values", many(inference.MaxSchemaNodes), false},
		{"too long", `{"description":"` + strings.Repeat("x", inference.MaxSchemaBytes) + `"}`, false},
		{"not JSON", `{"type":`, false},
		{"not a schema", `42`, false},
		{"unknown type", `{"type":"unicorn"}`, false},
		{"dangling ref", `{"$ref":"#/$defs/none"}`, false},
		{"remote ref", `{"$ref":"https://example.com/schema.json"}`, false},
		{"recursive ref", `{"$defs":{"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"}},"additionalProperties":false}},"$ref":"#/$defs/n"}`, true},
		{"endless ref", `{"$defs":{"n":{"$ref":"#/$defs/n"}},"$ref":"#/$defs/n"}`, false},
		{"ref to the root", `{"$ref":"#"}`, false},
		{"long strings", `{"type":"string","maxLength":1000}`, true},
		{"unbounded strings", `{"type":"string","maxLength":100000000}`, true},
		{"at least too much", `{"type":"string","minLength":100000000}`, false},
		{"many long strings", `{"anyOf":[` + strings.Repeat(`{"type":"string","maxLength":2000},`, 200) + `{"type":"null"}]}`, false},
		{"pattern", `{"type":"string","pattern":"^[a-z]{2,8}$"}`, true},
		{"pattern with escapes", `{"type":"string","pattern":"^\\+[0-9]{1,3}\\.(?:a|b\\x41)[^\\]\\n]*$"}`, true},
		{"pattern backwards", `{"type":"string","pattern":"^a{5,3}$"}`, false},
		{"lengths backwards", `{"type":"string","minLength":5,"maxLength":3}`, false},
		{"items backwards", `{"type":"array","items":{"type":"null"},"minItems":5,"maxItems":3}`, false},
		{"range backwards", `{"type":"integer","minimum":5,"maximum":3}`, false},
		{"pattern without anchors", `{"type":"string","pattern":"[a-z]"}`, false},
		{"pattern with a class escape", `{"type":"string","pattern":"^\\d+$"}`, false},
		{"pattern with look-ahead", `{"type":"string","pattern":"^(?=a)b$"}`, false},
		{"pattern with an anchor inside", `{"type":"string","pattern":"^a$|^b$"}`, false},
		{"pattern in a property", `{"type":"object","properties":{"a":{"type":"string","pattern":"x"}}}`, false},
		{"property named pattern", `{"type":"object","properties":{"pattern":{"type":"string"}}}`, true},
		{"constant with a pattern", `{"const":{"pattern":"x"}}`, true},
		{"nested pattern", `{"type":"string","pattern":"^` + strings.Repeat("(", 5000) + "a" + strings.Repeat(")", 5000) + `$"}`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			gbnf, err := m.SchemaToGrammar([]byte(tc.schema))
			if (err == nil) != tc.ok || err != nil && !errors.Is(err, inference.ErrInvalid) {
				t.Errorf("got %.200q, %.300v", gbnf, err)
			}
		})
	}
}

func FuzzSchemaToGrammar(f *testing.F) {
	m := sharedModel(f)
	for _, s := range schemas {
		f.Add([]byte(s))
	}
	f.Add([]byte(`{"type":"string","pattern":"^a{1,3}(b|c)*$","minLength":2}`))
	f.Add([]byte(`{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"type":["integer","null"]}}}`))
	f.Fuzz(func(t *testing.T, schema []byte) {
		gbnf, err := m.SchemaToGrammar(schema)
		if err != nil {
			if !errors.Is(err, inference.ErrInvalid) {
				t.Errorf("%v", err)
			}
			return
		}
		if len(gbnf) > MaxGrammarBytes || !utf8.ValidString(gbnf) && utf8.Valid(schema) {
			t.Errorf("the grammar has %d bytes", len(gbnf))
		}
	})
}
