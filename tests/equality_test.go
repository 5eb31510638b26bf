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

// Where sums are made in another order, the last bit of a float differs, and the
// rounding of activations to 8 bits turns that into up to a few tenths of a
// logit. The order is the same, hence every logit the same bits, only where
//   - the cells of a sequence lie in the order of its positions, and
//   - each step of a prompt has fewer tokens than maxTile, from where on the CPU's
//     flash attention works in tiles.
//
// The fifty prompts are such, and they are long enough (minShare) for their
// prefixes to be shared. roughTie is what longer ones are compared by.
const (
	minShare = 32
	maxTile  = 64
	roughTie = 0.5
)

// generated is how many tokens each prompt gets; least is how many of them have
// to be compared where no near tie comes first.
const (
	generated = 34
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

// continuation is a greedy answer, with the tokens of its prompt and how many of
// those came from a cache.
type continuation struct {
	steps          []step
	prompt, cached int
}

// greedy returns the greedy continuation of a prompt.
func greedy(p *process, path string, body map[string]any) continuation {
	p.t.Helper()
	body["temperature"], body["model"] = 0, ""
	var answer struct {
		Choices []struct {
			Logprobs json.RawMessage `json:"logprobs"`
		} `json:"choices"`
		Usage struct {
			Prompt  int `json:"prompt_tokens"`
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
	return continuation{steps, answer.Usage.Prompt, answer.Usage.Details.Cached}
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

// topics make the prompts.
var topics = []string{
	"a lighthouse keeper", "the history of bread", "how rain is made", "a lost key", "the first day of school",
	"growing tomatoes", "an old bridge", "the moon and the tides", "a train in winter", "learning to swim",
	"a market in the morning", "why leaves are green", "the invention of paper", "a friendly dog", "cooking rice",
	"building a small boat", "storms over the hills", "a garden at night", "planning a long walk", "how bees live",
	"a clock that stopped", "the colours of the sea", "repairing a bicycle", "a letter from far away", "the life of a river",
}

// questions are fifty prompts, half of them chats and half texts to continue, of
// minShare to maxTile tokens.
func questions() []question {
	var all []question
	for i, topic := range topics {
		all = append(all, question{chat: "Write a long and detailed story about " + topic + "."})
		switch i % 3 {
		case 0:
			all = append(all, question{text: "This is the first chapter of a long book about " + topic + ". It has three hundred pages and many pictures. The author says on its first page: Long ago, when the world was young, there"})
		case 1:
			all = append(all, question{text: "Notes on " + topic + ": first, second, third. More notes on " + topic + ": fourth, fifth, sixth. In summary, after all these years of work, the notes say that"})
		default:
			all = append(all, question{text: "The teacher asked the class to write about " + topic + ". Everybody took a pen and a sheet of paper and began to think about it. One of them wrote: \"My text is about"})
		}
	}
	return all
}

// longQuestions are prompts of several hundred tokens. They repeat themselves, so
// that the model is sure how they go on.
func longQuestions() []question {
	var all []question
	for _, topic := range topics[:4] {
		notes := strings.Repeat("Notes on "+topic+": somebody said that it matters, and somebody else did not agree at all. ", 12)
		all = append(all, question{text: notes + "Notes on"})
	}
	return all
}

// compare returns how many tokens are equal, up to the first near tie of either.
func compare(a, b []step, nearTie float64) (equal int, tie bool, err error) {
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

// aloneConfig has the settings that llama-server gets too: one sequence, so that
// every prompt finds the cells empty.
const aloneConfig = `
engine:
  context: 2048
  sequences: 1
  batch: 2048
  micro_batch: 512
  kv_layout: unified
  flash_attention: auto
  prefix_cache:
    off: true
`

// sharingConfig keeps every prefix, so that no cell is freed below a running one.
const sharingConfig = `
engine:
  context: 16384
  sequences: 4
  batch: 2048
  micro_batch: 512
  kv_layout: unified
  flash_attention: auto
  prefix_cache:
    cells: 12288
    min_keep: 1
    idle_tokens: 1000000
`

func TestGreedyTokensEqualLlamaServers(t *testing.T) {
	all := questions()
	if len(all) != 50 {
		t.Fatalf("%d prompts, want 50", len(all))
	}
	long := longQuestions()
	alone, aloneLong := make([][]step, len(all)), make([][]step, len(long))

	t.Run("alone", func(t *testing.T) {
		hearth := startHearth(t, "--config", writeConfig(t, aloneConfig))
		for i, q := range all {
			got := greedy(hearth, q.path(), q.body())
			if got.cached != 0 || got.prompt <= minShare || got.prompt >= maxTile {
				t.Errorf("prompt %d has %d tokens, %d from a cache; want %d to %d and none", i, got.prompt, got.cached, minShare+1, maxTile-1)
			}
			alone[i] = got.steps
		}
		for i, q := range long {
			aloneLong[i] = greedy(hearth, q.path(), q.body()).steps
		}
		hearth.stop()
		yardstick := startLlamaServer(t, "-c", "2048", "-np", "1", "-b", "2048", "-ub", "512", "-fa", "auto", "--cache-ram", "0")
		theirs := func(q question) []step {
			body := q.body()
			body["cache_prompt"] = false
			return greedy(yardstick, q.path(), body).steps
		}
		for i, q := range all {
			check(t, fmt.Sprintf("prompt %d", i), alone[i], theirs(q), nearTie)
		}
		for i, q := range long {
			check(t, fmt.Sprintf("long prompt %d", i), aloneLong[i], theirs(q), nearTie)
		}
	})

	t.Run("with a shared prefix", func(t *testing.T) {
		hearth := startHearth(t, "--config", writeConfig(t, sharingConfig))
		again := func(name string, q question) []step {
			first := q.body()
			first["max_tokens"] = 1
			greedy(hearth, q.path(), first)
			got := greedy(hearth, q.path(), q.body())
			if got.cached != got.prompt-1 {
				t.Errorf("%s shares %d of %d tokens, want all but one", name, got.cached, got.prompt)
			}
			return got.steps
		}
		for i, q := range all {
			name := fmt.Sprintf("prompt %d", i)
			check(t, name, alone[i], again(name, q), nearTie)
		}
		for i, q := range long {
			name := fmt.Sprintf("long prompt %d", i)
			check(t, name, aloneLong[i], again(name, q), roughTie)
		}
	})
}

// check reports a difference, or a comparison that was too short.
func check(t *testing.T, name string, a, b []step, tie float64) {
	t.Helper()
	equal, tied, err := compare(a, b, tie)
	switch {
	case err != nil:
		t.Errorf("%s: %v", name, err)
	case tied:
		t.Logf("%s: %d tokens equal, then the two best lie closer than %g", name, equal, tie)
	case equal < least:
		t.Errorf("%s: the answer ended after %d tokens, of which at least %d have to be compared", name, equal, least)
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
			equal, tie, err := compare(tt.a, tt.b, nearTie)
			if equal != tt.equal || tie != tt.tie || (err != nil) != tt.fails {
				t.Errorf("compare = %d, %v, %v; want %d, %v, error %v", equal, tie, err, tt.equal, tt.tie, tt.fails)
			}
		})
	}
}
