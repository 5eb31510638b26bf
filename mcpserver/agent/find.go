package agent

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/rs/zerolog"

	"hearth/inference"
)

// The tools that stand for all others where those would fill the prompt.
const (
	findName = "find_tool"
	callName = "call_tool"
)

var (
	findTool = inference.Tool{
		Name:        findName,
		Description: "Find tools by what they do. Returns names, descriptions and arguments of those that fit best. Call one with call_tool.",
		Parameters:  json.RawMessage(`{"type":"object","properties":{"query":{"type":"string","description":"what the tool shall do, in a few words"}},"required":["query"],"additionalProperties":false}`),
	}
	callTool = inference.Tool{
		Name:        callName,
		Description: "Call a tool that find_tool has shown.",
		Parameters:  json.RawMessage(`{"type":"object","properties":{"name":{"type":"string","description":"the tool's name"},"arguments":{"type":"object","description":"its arguments, as find_tool shows them"}},"required":["name","arguments"],"additionalProperties":false}`),
	}
)

// throughCall reads the arguments of call_tool.
func throughCall(arguments []byte) (name string, inner []byte, problem string) {
	var in struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	}
	if err := json.Unmarshal(arguments, &in); err != nil || in.Name == "" {
		return "", nil, callName + " needs the name of a tool and its arguments: " + string(callTool.Parameters)
	}
	if len(in.Arguments) == 0 || string(in.Arguments) == "null" {
		in.Arguments = json.RawMessage("{}")
	}
	if !isObject(in.Arguments) {
		return "", nil, "arguments must be a JSON object"
	}
	return in.Name, in.Arguments, ""
}

// find answers find_tool.
func (t *turn) find(ctx context.Context, h *hosted, arguments []byte) Outcome {
	var in struct {
		Query string `json:"query"`
	}
	if json.Unmarshal(arguments, &in) != nil || strings.TrimSpace(in.Query) == "" {
		return Outcome{IsError: true, Text: findName + " needs a query: what the tool shall do, in a few words"}
	}
	var b strings.Builder
	for _, i := range t.lease.agent.finder.best(ctx, t.request.Caller, t.offer.tools, in.Query, t.config.Found) {
		tool := &t.offer.tools[i]
		fmt.Fprintf(&b, "%s: %s\narguments: %s\n\n", tool.Full, tool.Description, tool.Input)
	}
	return Outcome{Text: strings.TrimSpace(b.String())}
}

// finder compares what is looked for with what tools say of themselves: by the
// meaning, where a model makes embeddings, and by the words. The vectors of a list
// of tools are computed once.
type finder struct {
	models inference.Models
	model  string
	log    zerolog.Logger

	mu      sync.Mutex
	vectors map[[32]byte][]float32 // of a tool, by what it says
}

// maxVectors bounds the vectors that are kept: more than any list there is.
const maxVectors = 8192

func newFinder(models inference.Models, model string, log zerolog.Logger) *finder {
	return &finder{models: models, model: model, log: log, vectors: map[[32]byte][]float32{}}
}

// best returns the indices of the n tools that fit the query best, the best first.
func (f *finder) best(ctx context.Context, caller inference.Caller, tools []Tool, query string, n int) []int {
	score := byWords(tools, query)
	meaning, err := f.byMeaning(ctx, caller, tools, query)
	if err != nil {
		f.log.Warn().Err(err).Msg("tools are found by their words alone")
	}
	for i := range meaning {
		score[i] += 2 * meaning[i] // cosines: what is meant weighs more than how it is put
	}
	order := make([]int, len(tools))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case score[a] > score[b]:
			return -1
		case score[a] < score[b]:
			return 1
		}
		return 0
	})
	return order[:min(n, len(order))]
}

// described is what a tool is found by.
func described(t *Tool) string { return strings.ReplaceAll(t.Full, "_", " ") + ". " + t.Description }

// byMeaning returns the cosines of query and tools; nil where no model makes
// embeddings.
func (f *finder) byMeaning(ctx context.Context, caller inference.Caller, tools []Tool, query string) ([]float32, error) {
	model := f.model
	for _, s := range f.models.List() {
		if model == "" && s.State == inference.ModelReady && s.Info.Embedding.Pooling != "" {
			model = s.Info.ID
		}
	}
	if model == "" {
		return nil, nil
	}
	l, err := f.models.Acquire(ctx, model)
	if err != nil {
		return nil, fmt.Errorf("find tools: %w", err)
	}
	defer l.Release()
	keys := make([][32]byte, len(tools))
	inputs, missing := []inference.EmbedInput{{Text: query}}, [][32]byte{}
	f.mu.Lock()
	for i := range tools {
		keys[i] = sha256.Sum256([]byte(model + "\x00" + described(&tools[i])))
		if _, have := f.vectors[keys[i]]; !have && len(inputs) < inference.MaxEmbedInputs {
			inputs = append(inputs, inference.EmbedInput{Text: described(&tools[i])})
			missing = append(missing, keys[i])
		}
	}
	f.mu.Unlock()
	out, err := inference.Embed(ctx, l, &inference.EmbedRequest{Caller: caller, Inputs: inputs, Truncate: true})
	if err != nil {
		return nil, fmt.Errorf("find tools: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.vectors)+len(missing) > maxVectors {
		clear(f.vectors)
	}
	for i, key := range missing {
		f.vectors[key] = out.Vectors[i+1]
	}
	score := make([]float32, len(tools))
	for i, key := range keys {
		if v := f.vectors[key]; len(v) == len(out.Vectors[0]) {
			for k := range v {
				score[i] += v[k] * out.Vectors[0][k]
			}
		}
	}
	return score, nil
}

// byWords scores by shared words, rare ones more: BM25 (Robertson and Zaragoza,
// "The Probabilistic Relevance Framework", 2009) with k1 1.2 and b 0.75, scaled so
// that the best is 1.
func byWords(tools []Tool, query string) []float32 {
	const k1, b = 1.2, 0.75
	texts, in, total := make([]map[string]int, len(tools)), map[string]int{}, 0
	sizes := make([]int, len(tools))
	for i := range tools {
		texts[i] = map[string]int{}
		for _, w := range words(described(&tools[i])) {
			texts[i][w]++
			sizes[i]++
		}
		for w := range texts[i] {
			in[w]++
		}
		total += sizes[i]
	}
	mean := math.Max(float64(total)/math.Max(float64(len(tools)), 1), 1)
	out, top := make([]float32, len(tools)), float32(0)
	for i := range tools {
		for _, w := range words(query) {
			n := float64(texts[i][w])
			if n == 0 {
				continue
			}
			idf := math.Log(1 + (float64(len(tools))-float64(in[w])+0.5)/(float64(in[w])+0.5))
			out[i] += float32(idf * n * (k1 + 1) / (n + k1*(1-b+b*float64(sizes[i])/mean)))
		}
		top = max(top, out[i])
	}
	for i := range out {
		if top > 0 {
			out[i] /= top
		}
	}
	return out
}

// words cuts a text into its words, in lower case and without a plural's s.
func words(text string) []string {
	out := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for i, w := range out {
		if len(w) > 3 {
			out[i] = strings.TrimSuffix(w, "s")
		}
	}
	return out
}
