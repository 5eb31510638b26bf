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

// system returns the system prompt that all clients of a group send; false if
// they send none.
func system(seed uint64, scenario string, g *Group) (message, bool) {
	if g.SharedSystemWords == 0 {
		return message{}, false
	}
	words := newText(seed, scenario, g.Name, "system").words(g.SharedSystemWords)
	return message{Role: "system", Content: "Keep these notes in mind. " + words + "."}, true
}

// question returns what a client asks first in one of its conversations.
func question(seed uint64, scenario string, g *Group, client, conversation int) message {
	own := newText(seed, scenario, g.Name, "client", strconv.Itoa(client), "request", strconv.Itoa(conversation))
	return message{Role: "user", Content: g.Instruction + " " + own.words(g.PromptWords) + "."}
}

// news returns the new words of a turn after the first.
func news(seed uint64, scenario string, g *Group, client, conversation, turn int) string {
	own := newText(seed, scenario, g.Name, "client", strconv.Itoa(client), "request", strconv.Itoa(conversation), "turn", strconv.Itoa(turn))
	return own.words(g.TurnWords) + "."
}
