package tests

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// nearTie is how close the two best logits may lie before the choice between
// them is a matter of rounding; texts are compared up to there.
const nearTie = 1e-3

// generated is how many tokens each prompt gets; least is how many of them have
// to be compared where no near tie comes first.
const (
	generated = 40
	least     = 32
)

// step is one generated token with the gap to the runner-up.
type step struct {
	token string
	gap   float64 // between the log probabilities of the two best: that of their logits
}

// logprobs reads the two forms in which text completions carry them.
type logprobs struct {
	Tokens []string             `json:"tokens"`
	Top    []map[string]float64 `json:"top_logprobs"`

	Content []struct {
		Token   string  `json:"token"`
		Logprob float64 `json:"logprob"`
		Top     []struct {
			Logprob float64 `json:"logprob"`
		} `json:"top_logprobs"`
	} `json:"content"`
}

func (l *logprobs) steps() ([]step, error) {
	var steps []step
	for i, token := range l.Tokens {
		// Two tokens may look alike in this form and then share one entry.
		best := []float64{}
		for _, p := range l.Top[i] {
			best = append(best, p)
		}
		if len(best) != 2 {
			return nil, fmt.Errorf("token %d has %d alternatives, want 2", i, len(best))
		}
		steps = append(steps, step{token, max(best[0], best[1]) - min(best[0], best[1])})
	}
	for i, c := range l.Content {
		if len(c.Top) != 2 {
			return nil, fmt.Errorf("token %d has %d alternatives, want 2", i, len(c.Top))
		}
		steps = append(steps, step{c.Token, c.Top[0].Logprob - c.Top[1].Logprob})
	}
	return steps, nil
}

// greedy returns the greedy continuation of a prompt, and how much of the prompt
// came from a cache.
func greedy(p *process, path string, body map[string]any) (steps []step, cached int) {
	p.t.Helper()
	body["temperature"], body["model"] = 0, ""
	var answer struct {
		Choices []struct {
			Logprobs json.RawMessage `json:"logprobs"`
		} `json:"choices"`
		Usage struct {
			Details struct {
				Cached int `json:"cached_tokens"`
			} `json:"prompt_tokens_details"`
		} `json:"usage"`
	}
	p.post(path, body, &answer)
	if len(answer.Choices) != 1 {
		p.t.Fatalf("%d choices, want 1", len(answer.Choices))
	}
	var l logprobs
	if err := json.Unmarshal(answer.Choices[0].Logprobs, &l); err != nil {
		p.t.Fatalf("read log probabilities: %v\n%s", err, answer.Choices[0].Logprobs)
	}
	steps, err := l.steps()
	if err != nil {
		p.t.Fatalf("read log probabilities: %v", err)
	}
	return steps, answer.Usage.Details.Cached
}

// question is one prompt, either a text to continue or a chat.
type question struct{ text, chat string }

func (q question) path() string {
	if q.chat != "" {
		return "/v1/chat/completions"
	}
	return "/v1/completions"
}

func (q question) body() map[string]any {
	if q.chat != "" {
		return map[string]any{"messages": []map[string]string{{"role": "user", "content": q.chat}}, "max_tokens": generated, "logprobs": true, "top_logprobs": 2}
	}
	return map[string]any{"prompt": q.text, "max_tokens": generated, "logprobs": 2}
}

// questions are fifty prompts of different kinds and lengths.
func questions() []question {
	topics := []string{
		"a lighthouse keeper", "the history of bread", "how rain is made", "a lost key", "the first day of school",
		"growing tomatoes", "an old bridge", "the moon and the tides", "a train in winter", "learning to swim",
		"a market in the morning", "why leaves are green", "the invention of paper", "a friendly dog", "cooking rice",
		"building a small boat", "the sound of thunder", "a garden at night", "planning a long walk", "how bees live",
		"a clock that stopped", "the colours of the sea", "repairing a bicycle", "a letter from far away", "the life of a river",
	}
	var all []question
	for i, topic := range topics {
		all = append(all, question{chat: "Write a long and detailed story about " + topic + "."})
		switch i % 3 {
		case 0:
			all = append(all, question{text: "This is a text about " + topic + ". It begins long ago, when"})
		case 1:
			all = append(all, question{text: strings.Repeat("Notes on "+topic+": first, second, third. ", 6) + "In summary, the notes say that"})
		default:
			all = append(all, question{text: "def describe():\n    \"\"\"Return a text about " + topic + ".\"\"\"\n    return \""})
		}
	}
	return all
}

// compare returns how many tokens are equal, up to the first near tie of either.
func compare(a, b []step) (equal int, tie bool, err error) {
	for i := range min(len(a), len(b)) {
		if a[i].gap < nearTie || b[i].gap < nearTie {
			return i, true, nil
		}
		if a[i].token != b[i].token {
			return i, false, fmt.Errorf("token %d is %q (ahead by %.4f) and %q (ahead by %.4f)", i, a[i].token, a[i].gap, b[i].token, b[i].gap)
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b)), false, fmt.Errorf("%d tokens and %d", len(a), len(b))
	}
	return len(a), false, nil
}

// engineConfig has the settings that llama-server gets too: layout and batch
// sizes change roundings.
const engineConfig = `
engine:
  context: 8192
  sequences: 8
  batch: 2048
  micro_batch: 512
  kv_layout: unified
  flash_attention: auto
  prefix_cache:
    off: %t
`

func TestGreedyTokensEqualLlamaServers(t *testing.T) {
	all := questions()
	if len(all) != 50 {
		t.Fatalf("%d prompts, want 50", len(all))
	}
	alone := make([][]step, len(all))

	t.Run("alone", func(t *testing.T) {
		hearth := startHearth(t, "--config", writeConfig(t, fmt.Sprintf(engineConfig, true)))
		for i, q := range all {
			steps, cached := greedy(hearth, q.path(), q.body())
			if cached != 0 {
				t.Fatalf("prompt %d took %d tokens from a cache that is off", i, cached)
			}
			alone[i] = steps
		}
		hearth.stop()
		yardstick := startLlamaServer(t, "-c", "8192", "-np", "8", "--kv-unified", "-b", "2048", "-ub", "512", "-fa", "auto", "--cache-ram", "0")
		for i, q := range all {
			body := q.body()
			body["cache_prompt"] = false
			theirs, _ := greedy(yardstick, q.path(), body)
			check(t, fmt.Sprintf("prompt %d", i), alone[i], theirs)
		}
	})

	t.Run("with a shared prefix", func(t *testing.T) {
		hearth := startHearth(t, "--config", writeConfig(t, fmt.Sprintf(engineConfig, false)))
		reused := 0
		for i, q := range all {
			first := q.body()
			first["max_tokens"] = 1
			greedy(hearth, q.path(), first)
			steps, cached := greedy(hearth, q.path(), q.body())
			if cached > 0 {
				reused++
			}
			check(t, fmt.Sprintf("prompt %d (%d tokens shared)", i, cached), alone[i], steps)
		}
		// A prompt shorter than the shortest prefix worth sharing is computed anew.
		if reused < len(all)/2 {
			t.Errorf("only %d of %d prompts shared a prefix: the comparison says little", reused, len(all))
		}
	})
}

// check reports a difference, or a comparison that was too short.
func check(t *testing.T, name string, a, b []step) {
	t.Helper()
	equal, tie, err := compare(a, b)
	switch {
	case err != nil:
		t.Errorf("%s: %v", name, err)
	case !tie && equal < least:
		t.Errorf("%s: the answer ended after %d tokens, of which at least %d have to be compared", name, equal, least)
	case tie:
		t.Logf("%s: %d tokens equal, then a near tie", name, equal)
	}
}

func TestCompareStopsAtNearTiesOnly(t *testing.T) {
	tests := []struct {
		name  string
		a, b  []step
		equal int
		tie   bool
		fails bool
	}{
		{"equal", []step{{"a", 1}, {"b", 1}}, []step{{"a", 1}, {"b", 1}}, 2, false, false},
		{"different", []step{{"a", 1}, {"b", 1}}, []step{{"a", 1}, {"c", 1}}, 1, false, true},
		{"different at a tie", []step{{"a", 1}, {"b", 0.0001}, {"x", 1}}, []step{{"a", 1}, {"c", 1}, {"y", 1}}, 1, true, false},
		{"one is shorter", []step{{"a", 1}}, []step{{"a", 1}, {"b", 1}}, 1, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			equal, tie, err := compare(tt.a, tt.b)
			if equal != tt.equal || tie != tt.tie || (err != nil) != tt.fails {
				t.Errorf("compare = %d, %v, %v; want %d, %v, error %v", equal, tie, err, tt.equal, tt.tie, tt.fails)
			}
		})
	}
}
