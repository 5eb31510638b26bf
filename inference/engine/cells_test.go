package engine

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestLedgerEqualsCells compares the ledger with a model that knows each cell.
func TestLedgerEqualsCells(t *testing.T) {
	for _, unified := range []bool{true, false} {
		rapid.Check(t, func(rt *rapid.T) {
			g := ledger{unified: unified}
			chains := make([]chain, 5)
			cells := make([][]int, len(chains))
			next := 0
			pick := rapid.IntRange(0, len(chains)-1)
			for range rapid.IntRange(1, 60).Draw(rt, "actions") {
				i := pick.Draw(rt, "chain")
				switch rapid.IntRange(0, 4).Draw(rt, "action") {
				case 0:
					n := rapid.IntRange(0, 5).Draw(rt, "more")
					g.extend(&chains[i], n)
					for range n {
						cells[i] = append(cells[i], next)
						next++
					}
				case 1:
					j := pick.Draw(rt, "from")
					if i == j || len(cells[i]) > 0 {
						continue
					}
					n := rapid.IntRange(0, len(cells[j])).Draw(rt, "shared")
					g.share(&chains[i], &chains[j], n)
					cells[i] = slices.Clone(cells[j][:n])
					if !unified {
						for k := range cells[i] {
							cells[i][k] = next
							next++
						}
					}
				case 2:
					n := rapid.IntRange(0, 20).Draw(rt, "kept")
					g.trim(&chains[i], n)
					cells[i] = slices.Clone(cells[i][:min(n, len(cells[i]))])
				case 3:
					g.drop(&chains[i])
					cells[i] = nil
				case 4:
					g.setLive(&chains[i], !chains[i].live)
				}
				used, live := map[int]bool{}, map[int]bool{}
				for k := range cells {
					if chains[k].length != len(cells[k]) {
						rt.Fatalf("chain %d has %d cells, the ledger says %d", k, len(cells[k]), chains[k].length)
					}
					for _, c := range cells[k] {
						used[c] = true
						if chains[k].live {
							live[c] = true
						}
					}
				}
				if g.used != len(used) || g.live != len(live) {
					rt.Fatalf("%d cells used and %d live, the ledger says %d and %d", len(used), len(live), g.used, g.live)
				}
			}
		})
	}
}

func TestLedgerReusesSegments(t *testing.T) {
	g := ledger{unified: true}
	a, b := chain{live: true}, chain{}
	work := func() {
		g.extend(&a, 10)
		g.share(&b, &a, 4)
		g.extend(&a, 1)
		g.drop(&a)
		g.drop(&b)
	}
	work()
	if n := testing.AllocsPerRun(100, work); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
