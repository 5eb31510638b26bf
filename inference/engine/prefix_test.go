package engine

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestPrefixesEqualSearch compares the tree with a search through all keys.
func TestPrefixesEqualSearch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := newPrefixes()
		type entry struct {
			in  scope
			key []int32
		}
		entries := map[int32]entry{}
		key := rapid.Custom(func(t *rapid.T) []int32 {
			// Few letters and runs, so that keys share a lot and end in each other.
			var k []int32
			for range rapid.IntRange(0, 4).Draw(t, "runs") {
				k = append(k, slices.Repeat([]int32{rapid.Int32Range(0, 2).Draw(t, "token")}, rapid.IntRange(1, 4).Draw(t, "times"))...)
			}
			return k
		})
		in := rapid.SampledFrom([]scope{{tenant: "red"}, {tenant: "blue"}, {tenant: "red", adapters: "a"}})
		for range rapid.IntRange(1, 60).Draw(rt, "actions") {
			id := rapid.SampledFrom([]int32{0, 1, 2, 63, 64, 65, 255}).Draw(rt, "id")
			if e, ok := entries[id]; ok {
				p.remove(e.in, id)
				delete(entries, id)
			} else {
				e := entry{in.Draw(rt, "scope"), key.Draw(rt, "key")}
				p.insert(e.in, id, e.key)
				entries[id] = e
			}
			who, want := in.Draw(rt, "asks"), map[int32]int{}
			asked := key.Draw(rt, "asked")
			for id, e := range entries {
				if n := common(e.key, asked); e.in == who && n > 0 {
					want[id] = n
				}
			}
			got := map[int32]int{}
			last := len(asked)
			p.match(who, asked, func(id int32, n int) {
				if _, twice := got[id]; twice || n > last {
					rt.Fatalf("sequence %d came twice or out of order", id)
				}
				got[id], last = n, n
			})
			if !maps.Equal(got, want) {
				rt.Fatalf("%v among %v: got %v, want %v", asked, entries, got, want)
			}
			for _, root := range p.roots {
				checkBranch(rt, p, root, nil)
			}
		}
		for id, e := range entries {
			p.remove(e.in, id)
		}
		if len(p.roots) != 0 {
			rt.Fatalf("%d scopes left", len(p.roots))
		}
	})
}

// checkBranch checks that nodes branch, or end a key, and hold who they should.
func checkBranch(rt *rapid.T, p *prefixes, b *branch, path []int32) {
	path = append(slices.Clone(path), b.label...)
	if b.seqs.empty() {
		rt.Fatalf("an empty branch at %v", path)
	}
	for id := range int32(maxSequences) {
		if b.seqs[id>>6]&(1<<(id&63)) != 0 && (len(p.keys[id]) < len(path) || !slices.Equal(p.keys[id][:len(path)], path)) {
			rt.Fatalf("sequence %d with key %v is at %v", id, p.keys[id], path)
		}
	}
	if len(path) > 0 && len(b.children) == 1 && b.children[0].seqs == b.seqs {
		rt.Fatalf("two runs at %v could be one", path)
	}
	for _, c := range b.children {
		checkBranch(rt, p, c, path)
	}
}

func BenchmarkPrefixMatch(b *testing.B) {
	p := newPrefixes()
	key := make([]int32, 8000)
	for i := range key {
		key[i] = int32(i % 1000)
	}
	for id := range int32(64) {
		p.insert(scope{}, id, append(slices.Clone(key[:int(id)*100]), -id))
	}
	b.ReportAllocs()
	for b.Loop() {
		p.match(scope{}, key, func(int32, int) {})
	}
}
