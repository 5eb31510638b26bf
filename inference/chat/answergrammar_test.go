package chat

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// The rules take every text without a mark, and stop at the character that would
// complete the first mark.
func TestWithoutRules(t *testing.T) {
	step := regexp.MustCompile(`\| \[(\^?)([a-z]+)\] w-(\d+)`)
	random := rand.New(rand.NewPCG(1, 2))
	for _, marks := range [][]string{{"a"}, {"abc"}, {"aab", "ab"}, {"abab"}, {"aa", "abaab", "bb"}, {"abcb", "bca", "ccc"}, {"ab", "b"}} {
		rules := strings.Split(strings.TrimSpace(withoutRules("w", marks)), "\n")
		for range 2000 {
			text, state, end := "", 0, -1
			for i := range 12 {
				c := string("abcd"[random.IntN(4)])
				text += c
				next := -1
				for _, m := range step.FindAllStringSubmatch(rules[state], -1) {
					if strings.Contains(m[2], c) != (m[1] == "^") {
						if _, err := fmt.Sscan(m[3], &next); err != nil {
							t.Fatal(err)
						}
					}
				}
				if next < 0 {
					end = i
					break
				}
				state = next
			}
			first := -1
			for i := range text {
				for _, mark := range marks {
					if first < 0 && strings.HasSuffix(text[:i+1], mark) {
						first = i
					}
				}
			}
			if end != first {
				t.Fatalf("%v: %q ends at %d, the first mark does at %d:\n%s", marks, text, end, first, strings.Join(rules, "\n"))
			}
		}
	}
}

func TestQuoteGBNF(t *testing.T) {
	if got, want := quoteGBNF("a\"]\\é"), `"a\U00000022\U0000005D\U0000005C\U000000E9"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
