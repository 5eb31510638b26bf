package llama

/*
#include "shim.h"
*/
import "C"

import (
	"slices"
	"unsafe"

	"hearth/inference"
)

// gbnfTables is a grammar as C takes it.
type gbnfTables struct {
	places  []int32 // of all alternatives, each ended by gbnfEnd
	alts    []int32 // where each alternative begins in places
	rules   []int32 // where each rule begins in alts, and the end
	classes []int32 // where each class begins in ranges, in pairs, and the end
	ranges  []int32 // lowest and highest, in order
	root    int32
}

// tables lays g out for C.
func (g *gbnfGrammar) tables() *gbnfTables {
	t := &gbnfTables{root: int32(g.root), rules: []int32{0}, classes: []int32{0}}
	for i := range g.rules {
		for _, alt := range g.rules[i].alts {
			t.alts = append(t.alts, int32(len(t.places)))
			t.places = append(append(t.places, alt...), gbnfEnd)
		}
		t.rules = append(t.rules, int32(len(t.alts)))
	}
	for _, spans := range g.classes {
		for _, s := range spans {
			t.ranges = append(t.ranges, int32(s.lo), int32(s.hi))
		}
		t.classes = append(t.classes, int32(len(t.ranges)/2))
	}
	return t
}

// clientRules reads the grammar of a client; nil if g is none.
func clientRules(g *inference.Grammar) (*gbnfTables, error) {
	if g == nil || !g.Client {
		return nil, nil
	}
	parsed, err := parseGBNF(g.GBNF)
	if err != nil {
		return nil, err
	}
	return parsed.tables(), nil
}

// give hands the rules to a sampler; 0, or -1 with the reason in err.
func (t *gbnfTables) give(s *C.hearth_sampler, err **C.char) C.int32_t {
	n := C.hearth_rule_counts{
		root: C.int32_t(t.root), n_places: C.int32_t(len(t.places)), n_alts: C.int32_t(len(t.alts)),
		n_rules: C.int32_t(len(t.rules) - 1), n_classes: C.int32_t(len(t.classes) - 1), n_ranges: C.int32_t(len(t.ranges) / 2),
	}
	all := slices.Concat(t.places, t.alts, t.rules, t.classes, t.ranges)
	return C.hearth_sampler_rules(s, &n, (*C.int32_t)(unsafe.SliceData(all)), err)
}
