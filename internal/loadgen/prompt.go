package loadgen

import (
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
)

// text is a deterministic source of words for one purpose of one run.
type text struct{ rng *rand.Rand }

// newText returns the words that seed gives to the purpose which parts name. Two
// purposes of one seed, and one purpose of two seeds, have different words.
func newText(seed uint64, parts ...string) *text {
	h := fnv.New64a()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return &text{rng: rand.New(rand.NewPCG(seed, h.Sum64()))}
}

// words returns n random words in sentences of 12.
func (t *text) words(n int) string {
	var b strings.Builder
	for i := range n {
		switch {
		case i == 0:
		case i%12 == 0:
			b.WriteString(". ")
		default:
			b.WriteByte(' ')
		}
		b.WriteString(wordList[t.rng.IntN(len(wordList))])
	}
	return b.String()
}

// message is one turn of the conversation that a request sends.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// conversation returns the messages of request number index of a client.
func conversation(seed uint64, scenario string, g Group, client, index int) []message {
	var m []message
	if g.SharedSystemWords > 0 {
		system := newText(seed, scenario, g.Name, "system").words(g.SharedSystemWords)
		m = append(m, message{Role: "system", Content: "Keep these notes in mind. " + system + "."})
	}
	own := newText(seed, scenario, g.Name, "client", strconv.Itoa(client), "request", strconv.Itoa(index))
	return append(m, message{Role: "user", Content: g.Instruction + " " + own.words(g.PromptWords) + "."})
}
