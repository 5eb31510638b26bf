package llama

import (
	"strings"
	"testing"

	"hearth/inference"
)

func TestWhyNotShared(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   memoryKind
		traits inference.Traits
		want   string // part of the sentence; empty: shared
	}{
		{"shared", memoryKind{}, inference.Traits{Sequences: 4, Unified: true, Share: true, TrimTail: true}, ""},
		{"recurrent", memoryKind{recurrent: true}, inference.Traits{Sequences: 4, Unified: true}, "recurrent state"},
		{"hybrid", memoryKind{hybrid: true}, inference.Traits{Sequences: 4, Unified: true}, "hybrid"},
		{"window", memoryKind{window: 512}, inference.Traits{Sequences: 4, Unified: true, TrimTail: true}, "sliding window of 512 tokens"},
		{"alone", memoryKind{}, inference.Traits{Sequences: 1, TrimTail: true}, "one sequence"},
		{"probe", memoryKind{}, inference.Traits{Sequences: 4, Unified: true, TrimTail: true}, "did not give the tokens"},
		{"no tail", memoryKind{}, inference.Traits{Sequences: 4, Unified: true, Share: true}, "did not give the tokens"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := (&Context{m: &Model{memory: c.kind}, traits: c.traits}).WhyNotShared()
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestArchitecturesWithBounds(t *testing.T) {
	if got := sequencesOf("plamo2", 8); got != 1 {
		t.Errorf("plamo2 gets %d sequences", got)
	}
	if got := sequencesOf("llama", 8); got != 8 {
		t.Errorf("llama gets %d sequences", got)
	}
	if err := checkArchitecture("cogvlm"); err == nil || !strings.Contains(err.Error(), "cogvlm") {
		t.Errorf("cogvlm: %v", err)
	}
	if err := checkArchitecture("llama"); err != nil {
		t.Error(err)
	}
}
