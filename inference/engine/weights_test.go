package engine

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// waiter makes a choice of a principal of that weight.
func waiter(principal string, weight float64, order int) *choice {
	caller := inference.Caller{Principal: principal, Weight: weight}
	return &choice{req: &request{Request: &Request{Caller: caller}, order: uint64(order)}}
}

// TestTurnsGoByWeight: principals that all wait have turns by their weights, at
// any time.
func TestTurnsGoByWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.SampledFrom([]float64{0, 0.01, 0.3, 1, 2, 3.5, 100}), 2, 6).Draw(t, "weights")
		var q queue
		order := 0
		push := func(i int) {
			order++
			q.push(waiter(fmt.Sprint(i), weights[i], order))
		}
		for i := range weights {
			push(i)
			push(i)
		}
		turns := make([]float64, len(weights))
		share := func(i int) float64 {
			if weights[i] == 0 {
				return 1
			}
			return weights[i]
		}
		for range rapid.IntRange(1, 300).Draw(t, "turns") {
			c := q.candidates()[0]
			var i int
			fmt.Sscan(c.req.Caller.Principal, &i)
			q.take(c)
			turns[i]++
			push(i)
			for a := range weights {
				for b := range weights {
					if ahead := turns[a]/share(a) - turns[b]/share(b); ahead > 1/share(a)+1/share(b)+1e-9 {
						t.Fatalf("weights %v had %v turns", weights, turns)
					}
				}
			}
		}
	})
}

// TestNobodyWaitsLongerThanItsWeightSays: whatever else comes and goes, a principal
// that waits is passed by each other one a bounded number of times.
func TestNobodyWaitsLongerThanItsWeightSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.SampledFrom([]float64{0.1, 1, 2, 7}), 2, 5).Draw(t, "weights")
		var q queue
		waiting := make([][]*choice, len(weights))
		passed := make([][]int, len(weights)) // by whom, while the head waits
		for i := range weights {
			passed[i] = make([]int, len(weights))
		}
		order := 0
		for range rapid.IntRange(1, 200).Draw(t, "actions") {
			i := rapid.IntRange(0, len(weights)-1).Draw(t, "principal")
			switch rapid.IntRange(0, 4).Draw(t, "action") {
			case 0, 1:
				order++
				c := waiter(fmt.Sprint(i), weights[i], order)
				waiting[i] = append(waiting[i], c)
				q.push(c)
			case 2: // a client goes away
				if n := len(waiting[i]); n > 1 {
					q.remove(waiting[i][n-1])
					waiting[i] = waiting[i][:n-1]
				}
			default:
				if q.size == 0 {
					continue
				}
				c := q.candidates()[0]
				fmt.Sscan(c.req.Caller.Principal, &i)
				if c != waiting[i][0] {
					t.Fatal("a principal's choices change their order")
				}
				q.take(c)
				waiting[i] = waiting[i][1:]
				clear(passed[i])
				for other := range weights {
					if other == i || len(waiting[other]) == 0 {
						continue
					}
					if passed[other][i]++; float64(passed[other][i]) > weights[i]/weights[other]+1+1e-9 {
						t.Fatalf("one of weight %v waits, and one of weight %v had %d turns", weights[other], weights[i], passed[other][i])
					}
				}
			}
		}
		for q.size > 0 {
			q.take(q.candidates()[0])
		}
		for class, lanes := range q.lanes {
			if len(lanes) > 0 {
				t.Fatalf("class %d keeps empty lanes", class)
			}
		}
	})
}

// TestWhoMayWaitIsAged: requests of a class that waits are never passed more than
// agingTurns times in a row.
func TestWhoMayWaitIsAged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		order, low, row := 0, 0, 0
		for range rapid.IntRange(1, 200).Draw(t, "actions") {
			switch action := rapid.IntRange(0, 3).Draw(t, "action"); {
			case action < 2:
				order++
				c := waiter(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "principal"), float64(rapid.IntRange(1, 9).Draw(t, "weight")), order)
				if action == 1 {
					c.req.class = classLow
					low++
				}
				q.push(c)
			case q.size > 0:
				c := q.candidates()[0]
				q.take(c)
				if row++; c.req.class == classLow {
					low--
					row = 0
				}
				if low == 0 {
					row = 0
				}
				if row > agingTurns {
					t.Fatalf("%d requests went before those that may wait", row)
				}
			}
		}
	})
}

// TestPromptRoomGoesByWeight: of prompts that come together the one of the greater
// share is computed first, though it is longer.
func TestPromptRoomGoesByWeight(t *testing.T) {
	heavy, light, patient := ask(unique("h", 300), 1), ask(unique("l", 200), 1), ask(unique("p", 100), 1)
	heavy.Caller = inference.Caller{Principal: "heavy", Weight: 2}
	light.Caller = inference.Caller{Principal: "light"}
	patient.Priority = inference.PriorityLow
	h := newHarness(t, enginetest.Options{Cells: 4000, Batch: 50}, Config{Prefix: PrefixConfig{Off: true}})
	var streams []*Stream
	for _, r := range []*Request{patient, light, heavy} {
		streams = append(streams, h.put(r))
	}
	for _, i := range []int{2, 1, 0} {
		for !ended(streams[i]) {
			h.turn()
		}
		for _, k := range []int{0, 1} {
			if k < i && ended(streams[k]) {
				t.Errorf("prompt %d ended before prompt %d", k, i)
			}
		}
	}
	h.settle()
	h.shut()
}

// TestLightPromptIsNotPassedForEver: of the least weight, and one that may wait,
// while prompts of the greatest weight come with every step.
func TestLightPromptIsNotPassedForEver(t *testing.T) {
	h := newHarness(t, enginetest.Options{Cells: 4000, Batch: 64}, Config{Prefix: PrefixConfig{Off: true}})
	r := ask(unique("x", 200), 1)
	r.Priority = inference.PriorityLow
	r.Caller = inference.Caller{Principal: "light", Weight: 0.1}
	light := h.put(r)
	h.turn()
	for turns := 0; !ended(light); turns++ {
		if turns > 200/0.1*agingTurns/64+20 {
			t.Fatalf("the light prompt has %d of 200 tokens after %d steps", h.l.seqs[0].held, turns)
		}
		r := ask(unique(string(rune('a'+turns%20)), 64), 1)
		r.Caller = inference.Caller{Principal: "heavy", Weight: 4}
		h.put(r)
		h.turn()
	}
	h.settle()
	h.shut()
}
