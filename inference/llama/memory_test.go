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
		only   bool // the window alone is kept
		traits inference.Traits
		want   string // part of the sentence; empty: shared
	}{
		{"shared", memoryKind{}, false, inference.Traits{Sequences: 4, Unified: true, Share: true, TrimTail: true}, ""},
		{"recurrent", memoryKind{recurrent: true}, false, inference.Traits{Sequences: 4, Unified: true}, "recurrent state"},
		{"hybrid", memoryKind{hybrid: true}, false, inference.Traits{Sequences: 4, Unified: true}, "hybrid"},
		{"window", memoryKind{window: 512}, false, inference.Traits{Sequences: 4, Unified: true, Share: true, TrimTail: true}, ""},
		{"window alone", memoryKind{window: 512}, true, inference.Traits{Sequences: 4, Unified: true, TrimTail: true}, "sliding window of 512 tokens"},
		{"window, probe", memoryKind{window: 512}, false, inference.Traits{Sequences: 4, Unified: true, TrimTail: true}, "did not give the tokens"},
		{"alone", memoryKind{}, false, inference.Traits{Sequences: 1, TrimTail: true}, "one sequence"},
		{"probe", memoryKind{}, false, inference.Traits{Sequences: 4, Unified: true, TrimTail: true}, "did not give the tokens"},
		{"no tail", memoryKind{}, false, inference.Traits{Sequences: 4, Unified: true, Share: true}, "did not give the tokens"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := (&Context{m: &Model{memory: c.kind}, traits: c.traits, windowOnly: c.only}).WhyNotShared()
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
