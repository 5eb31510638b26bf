package chat

import (
	"encoding/json"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/llama"
	"hearth/internal/testkit"
)

// frame is what a template's parser wants around a document that stands behind a
// thought.
type frame struct {
	before, after string
	// thought is how the model thinks where the template's marks are not known.
	thought string
	// args are what the template needs to let its model think.
	args map[string]json.RawMessage
}

const (
	fenceOpen  = "```json\n"
	fenceClose = "\n```"
)

var frames = map[string]frame{
	"Cohere2MoE":                               {before: "<|START_TEXT|>"},
	"Kimi-K3":                                  {before: "<|open|>response<|sep|>"},
	"MiniMax-M3":                               {before: fenceOpen, after: fenceClose},
	"deepseek-ai-DeepSeek-V3.2":                {before: fenceOpen, after: fenceClose},
	"deepseek-ai-DeepSeek-V4":                  {before: fenceOpen, after: fenceClose},
	"deepseek-ai-DeepSeek-V4-Flash-0731":       {before: fenceOpen, after: fenceClose},
	"google-gemma-4-31B-it":                    {before: fenceOpen, after: fenceClose},
	"google-gemma-4-31B-it-interleaved":        {before: fenceOpen, after: fenceClose},
	"meetkai-functionary-medium-v3.2":          {before: "all\n"},
	"mistralai-Ministral-3-14B-Reasoning-2512": {before: fenceOpen, after: fenceClose},
	"muse-glimmer":                             {thought: " to=self<|message|>Hm, hm.<|eom|><|start|>assistant", before: " to=user<|message|>"},
	"openai-gpt-oss-120b":                      {before: "<|start|>assistant<|channel|>final<|message|>"},
	"tencent-Hy3":                              {args: map[string]json.RawMessage{"reasoning_effort": json.RawMessage(`"high"`)}},
	"unsloth-mistral-Devstral-Small-2507":      {before: fenceOpen, after: fenceClose},
}

// noThoughts are the templates that mark thoughts, but whose parser reads none in a
// chat without tools: under a schema their models answer at once.
var noThoughts = map[string]string{
	"LFM2-8B-A1B":     "the parser reads no thought",
	"LFM2.5-Instruct": "the parser reads no thought",
}

// follower asks the real constraint of a prepared conversation.
type follower struct {
	t  *testing.T
	lm *llama.Model
	s  *llama.Sampler
}

// write accepts text, in tokens of one byte or as the vocabulary cuts it, and
// returns how much of it was allowed.
func (f *follower) write(text string, bytes bool) int {
	f.t.Helper()
	for at := 0; at < len(text); {
		piece := text[at:]
		if bytes {
			piece = text[at : at+1]
		}
		tokens, err := f.lm.Tokenize(piece, inference.TokenizeOptions{})
		if err != nil {
			f.t.Fatal(err)
		}
		for _, token := range tokens {
			if f.s.Accept(token) != nil {
				return at
			}
			at += len(f.lm.Piece(token, true))
		}
	}
	return len(text)
}

// ends reports whether the answer may end here.
func (f *follower) ends() bool {
	f.t.Helper()
	allowed, err := f.s.Allowed()
	if err != nil {
		f.t.Fatal(err)
	}
	for token, ok := range allowed {
		if ok != 0 && f.lm.EndOfGeneration(int32(token)) {
			return true
		}
	}
	return false
}

// forced returns what has to be written now, for as long as it is one token.
func (f *follower) forced(most int) string {
	f.t.Helper()
	text := ""
	for len(text) < most {
		allowed, err := f.s.Allowed()
		if err != nil {
			f.t.Fatal(err)
		}
		next := int32(-1)
		for token, ok := range allowed {
			if ok != 0 && next >= 0 {
				return text
			}
			if ok != 0 {
				next = int32(token)
			}
		}
		if next < 0 || f.s.Accept(next) != nil {
			f.t.Fatalf("nothing can follow %q", text)
		}
		text += string(f.lm.Piece(next, true))
	}
	return text
}

// Whatever the template, a schema holds: in an answer without a thought, behind a
// thought, and behind one that a spent budget ended. An answer cannot be over
// before its document is whole, and the client gets the document as content.
func TestCollectionHoldsSchemas(t *testing.T) {
	if err := llama.Init(testkit.LibDir(t), nil); err != nil {
		t.Fatal(err)
	}
	lm, err := llama.Load(testkit.Model(t), llama.ModelOptions{Mmap: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lm.Close()
	c, err := lm.NewContext(llama.ContextOptions{Cells: 64, Sequences: 1, Threads: 1, Unified: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const document, wrong = `{"city": "Bonn"}`, `{"town": "Bonn"}`
	thinking := 0
	collection(t, func(t *testing.T, m *Model, e *fakeEngine) {
		name := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
		fr := frames[name]
		request := func(budget int) *inference.ChatRequest {
			return ask(func(r *inference.ChatRequest) {
				r.TemplateArgs = fr.args
				r.Format = inference.Format{Kind: inference.FormatJSONSchema, Schema: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`)}
				if budget >= 0 {
					r.ReasoningBudget = &budget
				}
			})
		}
		begin := func(budget int) (*prepared, *follower) {
			p, err := m.prepare(request(budget))
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.NewSampler(&inference.SamplerSpec{Sampling: inference.DefaultSampling(), Grammar: p.grammar})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return p, &follower{t, lm, s.(*llama.Sampler)}
		}
		// follow writes a thought that may be empty, then a document.
		follow := func(how, thought, before string) {
			for _, bytes := range []bool{true, false} {
				_, f := begin(-1)
				inside := strings.TrimSuffix(thought, ".") // a place within it
				if i := strings.Index(thought, "hm."); i >= 0 {
					inside = thought[:i]
				}
				if n := f.write(inside, bytes); n < len(inside) || bytes && f.ends() {
					t.Errorf("%s: of the beginning %q only %d bytes are allowed, or the answer may end there", how, inside, n)
				}
				rest := thought[len(inside):] + before + document[:len(document)-1]
				if n := f.write(rest, bytes); n < len(rest) {
					t.Errorf("%s: %q is refused at %q", how, thought+before+document, rest[n:])
					return
				}
				if bytes && f.ends() {
					t.Errorf("%s: the answer may end before its document does", how)
				}
				if n := f.write("}"+fr.after, bytes); n < 1+len(fr.after) || !f.ends() {
					t.Errorf("%s: the document cannot end, or the answer not after it", how)
				}
				_, f = begin(-1)
				if n := f.write(thought+before+wrong, true) - len(thought+before); n != strings.Index(wrong, "town") {
					t.Errorf("%s: of %s, %d bytes were allowed", how, wrong, n)
				}
			}
			text := thought + before + document + fr.after
			for _, parts := range [][]string{{text}, runes(text)} {
				e.events = says(inference.FinishStop, parts...)
				s, err := m.Chat(t.Context(), request(-1))
				if err != nil {
					t.Fatal(err)
				}
				got, err := read(t, s)
				if err != nil {
					t.Fatal(err)
				}
				if strings.TrimSpace(got.Content) != document || (thought != "") != strings.HasSuffix(strings.TrimSpace(got.Reasoning), "Hm, hm.") {
					t.Errorf("%s, %d pieces: %q became %+v", how, len(parts), text, got)
				}
			}
		}

		p, _ := begin(-1)
		th := p.thinking
		if why := noThoughts[name]; why != "" {
			if _, f := begin(-1); f.write(th.Start, true) > 0 {
				t.Errorf("thinks under a schema now: it is not so that %s", why)
			}
			th = nil
		}
		if th == nil {
			if fr.thought != "" {
				follow("thought", fr.thought, fr.before)
			}
			follow("no thought", "", fr.before)
			return
		}
		thinking++
		thought := "Hm, hm." + th.Ends[0]
		before := ""
		if !th.Open {
			before = th.Start
			follow("no thought", "", strings.TrimPrefix(fr.before, p.grammar.Prefill))
		}
		follow("thought", before+thought, fr.before)
		for _, budget := range []int{0, 3} {
			_, f := begin(budget)
			said := before + "Hm,"[:budget]
			if n := f.write(said, true); n < len(said) {
				t.Errorf("%q is refused at %d", said, n)
			}
			if end := f.forced(len(th.Ends[0])); end != th.Ends[0] {
				t.Errorf("a budget of %d forces %q, the mark is %q", budget, end, th.Ends[0])
				continue
			}
			if n := f.write(fr.before+document+fr.after, true); n < len(fr.before+document+fr.after) || !f.ends() {
				t.Errorf("after a budget of %d the document is refused at %d", budget, n)
			}
		}
	})
	if thinking != 43 {
		t.Errorf("%d templates let their models think under a schema", thinking)
	}
}
