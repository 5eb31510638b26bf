package llama_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine"
	"hearth/inference/llama"
	"hearth/internal/testkit"
)

// longKeys is a schema whose documents are mostly keys.
const longKeys = `{"type":"object","properties":{
	"customer_full_name":{"type":"string","maxLength":24},
	"date_of_first_purchase":{"type":"string","maxLength":16},
	"number_of_open_invoices":{"type":"integer","minimum":0,"maximum":99},
	"preferred_contact_channel":{"enum":["electronic mail","telephone","letter"]},
	"billing_address":{"type":"object","properties":{"street_and_number":{"type":"string","maxLength":20},"postal_code":{"type":"string","maxLength":8}},
		"required":["street_and_number","postal_code"],"additionalProperties":false}},
	"required":["customer_full_name","date_of_first_purchase","number_of_open_invoices","preferred_contact_channel","billing_address"],
	"additionalProperties":false}`

// letterForm is a client's grammar, whose lines begin with what is fixed.
const letterForm = `root ::= "Dear customer,\n" line{2} "With kind regards,\nthe department of " word "\n"
line ::= "The status of your order is " ("open" | "closed") ", and its number is " [1-9] [0-9]{3} ".\n"
word ::= [a-z]{3,12}`

// constrained are grammars by name, with a task for each.
func constrained(t *testing.T, m *llama.Model) map[string]inference.Grammar {
	t.Helper()
	gbnf, err := m.SchemaToGrammar([]byte(longKeys))
	if err != nil {
		t.Fatal(err)
	}
	call := strings.NewReplacer("root ::=", "arguments ::=").Replace(gbnf)
	return map[string]inference.Grammar{
		"schema": {GBNF: gbnf},
		"client": {GBNF: letterForm, Client: true},
		"tool":   {GBNF: `root ::= "<tool_call>\n{\"name\": \"register_customer\", \"arguments\": " arguments "}\n</tool_call>"` + "\n" + call},
		"lazy": {
			GBNF: `root ::= arguments` + "\n" + call, Lazy: true,
			Triggers: []inference.Trigger{{Kind: inference.TriggerWord, Value: "{"}},
		},
	}
}

var people = []string{"Ann Lee", "Bob Stone", "Carla Diaz", "Dmitri Orlov", "Eve Adams", "Farid Khan", "Grace Hopper", "Hans Meyer"}

// tasks are n prompts.
func tasks(t *testing.T, m *llama.Model, n int) [][]int32 {
	t.Helper()
	var all [][]int32
	for i := range n {
		who := people[i%len(people)]
		if i >= len(people) {
			who = fmt.Sprintf("%s %d", who, i)
		}
		ids, err := m.Tokenize("<|im_start|>user\nWrite a record of "+who+
			", who lives at 12 Oak Road, 54321, bought first on 2020-03-04, has 2 open invoices and wants letters, as JSON.<|im_end|>\n<|im_start|>assistant\n",
			inference.TokenizeOptions{ParseSpecial: true})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ids)
	}
	return all
}

// answerAll answers requests, so many at the same time of as many as there are streams,
// their prompts computed in pieces of microBatch tokens (0: as it comes).
func answerAll(t *testing.T, m *llama.Model, c engine.Config, seen engine.Observer, streams, together, microBatch int, requests []*engine.Request) answers {
	t.Helper()
	ctx, err := m.NewContext(llama.ContextOptions{Cells: 1024 * streams, Sequences: streams, Threads: 1, Unified: streams == 1, Guesses: c.Guesses(), MicroBatch: microBatch})
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(ctx, c, seen)
	if err != nil {
		t.Fatal(err)
	}
	var all answers
	for len(requests) > 0 {
		n := min(together, len(requests))
		var open []*engine.Stream
		for _, r := range requests[:n] {
			s, err := e.Submit(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, s)
		}
		for _, s := range open {
			a, u, err := collect(s)
			if err != nil {
				t.Fatal(err)
			}
			if u.CompletionTokens == 0 {
				t.Error("an answer without tokens")
			}
			all = append(all, a)
		}
		requests = requests[n:]
	}
	if err := errors.Join(e.Close(), ctx.Close()); err != nil {
		t.Error(err)
	}
	return all
}

// TestForcedTextIsExact: tokens that are guessed from a grammar are those that
// come one by one, in fewer steps, but where two are as likely as far as the order of
// computing allows to say: that is measured first. HEARTH_PROMPTS asks for more prompts.
func TestForcedTextIsExact(t *testing.T) {
	initBackends(t)
	m := load(t, testkit.Model(t))
	prompts := tasks(t, m, int(testkit.Number(t, "HEARTH_PROMPTS", 3)))
	for name, g := range constrained(t, m) {
		for _, streams := range []int{1, 8} {
			list := prompts
			if streams == 1 {
				list = prompts[:(len(prompts)+1)/2]
			}
			if streams == 1 && name != "schema" && len(prompts) <= 4 {
				continue // for make test-exact
			}
			t.Run(fmt.Sprintf("%s/%d", name, streams), func(t *testing.T) {
				run := func(mode inference.ForcedText, seen *guesses, together, microBatch int) answers {
					var requests []*engine.Request
					for i, p := range list {
						r := greedy(p, 64)
						r.TopLogprobs = 8
						r.Grammar, r.Forced = &g, mode
						if streams == 1 && i%2 == 1 { // drawn, by a seed
							seed := uint32(i)
							r.Sampling.Temperature, r.Sampling.Seed = 0.8, &seed
						}
						requests = append(requests, r)
					}
					c := engine.Config{Sequences: streams, Forced: engine.ForcedConfig{Rows: streams}, Lookup: engine.LookupConfig{Off: true}, Prefix: engine.PrefixConfig{Off: true}}
					return answerAll(t, m, c, seen, streams, together, microBatch, requests)
				}
				off, on := &guesses{}, &guesses{}
				want := run(inference.ForcedOff, off, streams, 0)
				got := run(inference.ForcedGuess, on, streams, 0)
				departed, moved := want.compare(got)
				plain, noise := departed, 0.0
				if len(departed) > 0 || moved > nearTie {
					// What the order of computing alone changes: other companions, other pieces.
					plain, noise = want.compare(run(inference.ForcedOff, &guesses{}, max(1, min(streams-3, len(list)-1)), pieces))
				}
				bound := max(2*noise, nearTie)
				if moved > bound {
					t.Errorf("the same tokens' logprobs differ by %g, by %g without guesses", moved, noise)
				}
				// A tie is as likely to break either way with guesses as without: many
				// departures are no ties, however close the tokens.
				if len(departed) > 2*len(plain)+1+len(list)/20 {
					t.Errorf("%d of %d answers depart with guesses, %d without", len(departed), len(list), len(plain))
				}
				tokens := 0
				for i := range want {
					at, differs := departed[i]
					if !differs {
						tokens += len(want[i])
						continue
					}
					tokens += at
					if at == min(len(want[i]), len(got[i])) {
						t.Errorf("prompt %d: %d tokens, one by one %d", i, len(got[i]), len(want[i]))
						continue
					}
					if gap := behind(&want[i][at], &got[i][at]); gap > bound {
						t.Errorf("prompt %d, token %d: %q, one by one %q, which is likelier by %g (bound %g)", i, at, got[i][at].Bytes, want[i][at].Bytes, gap, bound)
					}
				}
				if on.confirmed < on.foreseen/3 || on.steps > 9*off.steps/10 {
					t.Errorf("%d steps with guesses, of which %d of %d were right, %d without", on.steps, on.confirmed, on.foreseen, off.steps)
				}
				t.Logf("%d of %d answers are the same, %d of them without guesses in another order, noise %g and %g; %d equal tokens; %d steps without guesses, %d with, of which %d of %d were right",
					len(list)-len(departed), len(list), len(list)-len(plain), moved, noise, tokens, off.steps, on.steps, on.confirmed, on.foreseen)
			})
		}
	}
}

// TestAppendedText: an answer of which a part was appended keeps its grammar. How
// that part is cut into tokens is TestForeseen's.
func TestAppendedText(t *testing.T) {
	initBackends(t)
	m := load(t, testkit.Model(t))
	all := constrained(t, m)
	for name, whole := range map[string]string{
		"schema": `^\{\s*"customer_full_name"\s*:.*\}$`,
		"client": `^Dear customer,\n(The status of your order is (open|closed), and its number is [1-9][0-9]{3}\.\n){2}With kind regards,\nthe department of [a-z]{3,12}\n$`,
	} {
		t.Run(name, func(t *testing.T) {
			g := all[name]
			var texts []string
			var seen guesses
			var tokens [2]int
			for i, mode := range []inference.ForcedText{inference.ForcedOff, inference.ForcedAppend} {
				r := greedy(tasks(t, m, 1)[0], 240)
				r.Grammar, r.Forced = &g, mode
				r.Logprobs, r.TopLogprobs = false, 0
				text, usage := write(t, m, r, &seen)
				texts = append(texts, text)
				tokens[i] = usage.CompletionTokens
				if !regexp.MustCompile("(?s)"+whole).MatchString(text) || name == "schema" && !json.Valid([]byte(text)) {
					t.Errorf("%s: %q breaks the grammar", mode, text)
				}
			}
			if seen.appended < 8 || seen.appended >= tokens[1] {
				t.Errorf("%d of %d tokens were appended", seen.appended, tokens[1])
			}
			t.Logf("%d tokens, %d appended: %q\n%d tokens: %q", tokens[1], seen.appended, texts[1], tokens[0], texts[0])
		})
	}
}

// write answers one request alone.
func write(t *testing.T, m *llama.Model, r *engine.Request, seen engine.Observer) (text string, u inference.Usage) {
	t.Helper()
	ctx, err := m.NewContext(llama.ContextOptions{Cells: 1024, Sequences: 1, Threads: 1, Unified: true, Guesses: 32})
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(ctx, engine.Config{Sequences: 1, Lookup: engine.LookupConfig{Off: true}}, seen)
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Submit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for {
		event, err := s.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text += event.Text
		if event.Kind == engine.KindUsage {
			u = event.Usage
		}
	}
	if err := errors.Join(e.Close(), ctx.Close()); err != nil {
		t.Error(err)
	}
	return text, u
}
