package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// waiting makes choices named "principal/class" in order of submission.
func waiting(names ...string) []*choice {
	var all []*choice
	for i, name := range names {
		principal, class, _ := strings.Cut(name, "/")
		r := &request{Request: &Request{ID: name, Caller: inference.Caller{Principal: principal}}, order: uint64(i + 1)}
		switch class {
		case "low":
			r.class = classLow
		case "probe":
			r.class = classProbe
		}
		all = append(all, &choice{req: r})
	}
	return all
}

// drain takes the first candidate until the queue is empty.
func drain(q *queue) (names []string) {
	for q.size > 0 {
		c := q.candidates()[0]
		q.take(c)
		names = append(names, c.req.ID)
	}
	return names
}

func TestQueueOrder(t *testing.T) {
	for _, c := range []struct {
		name     string
		in, want []string
	}{
		{"one principal keeps its order", []string{"a/1", "a/2", "a/3"}, []string{"a/1", "a/2", "a/3"}},
		{"principals take turns", []string{"a/1", "a/2", "a/3", "b/1", "c/1", "b/2"}, []string{"a/1", "b/1", "c/1", "a/2", "b/2", "a/3"}},
		{"low waits", []string{"a/low", "b/1", "a/2"}, []string{"b/1", "a/2", "a/low"}},
		{"probe waits longest", []string{"p/probe", "a/low", "b/1"}, []string{"b/1", "a/low", "p/probe"}},
		{
			"low has its turn after eight",
			[]string{"a/low", "a/low", "b/0", "b/1", "b/2", "b/3", "b/4", "b/5", "b/6", "b/7", "b/8", "b/9"},
			[]string{"b/0", "b/1", "b/2", "b/3", "b/4", "b/5", "b/6", "b/7", "a/low", "b/8", "b/9", "a/low"},
		},
	} {
		var q queue
		for _, w := range waiting(c.in...) {
			q.push(w)
		}
		if got := drain(&q); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestQueueCandidatesAreHeads(t *testing.T) {
	var q queue
	for _, w := range waiting("a/1", "a/2", "b/1", "c/low", "c/low") {
		q.push(w)
	}
	var got []string
	for _, c := range q.candidates() {
		got = append(got, c.req.ID)
	}
	if want := []string{"a/1", "b/1", "c/low"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestQueueResumedComeFirstAndOldestBeforeAll(t *testing.T) {
	var q queue
	all := waiting("a/1", "a/2", "a/3", "b/1")
	q.push(all[3])
	for _, i := range []int{1, 2, 0} {
		q.pushResumed(all[i])
	}
	if got, want := drain(&q), []string{"a/1", "a/2", "a/3", "b/1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestQueueRemove(t *testing.T) {
	var q queue
	all := waiting("a/1", "a/2", "b/1", "b/low", "a/4")
	for _, w := range all[:4] {
		q.push(w)
	}
	q.pushResumed(all[4])
	for _, w := range []*choice{all[0], all[2], all[4], all[3]} {
		if !q.remove(w) || q.remove(w) {
			t.Errorf("%s was not removed exactly once", w.req.ID)
		}
	}
	if got := drain(&q); !slices.Equal(got, []string{"a/2"}) || q.size != 0 {
		t.Errorf("left: %v, size %d", got, q.size)
	}
	for class, lanes := range q.lanes {
		if len(lanes) != 0 {
			t.Errorf("class %d keeps %d empty lanes", class, len(lanes))
		}
	}
}

// TestLowPriorityWaitsAndIsServed: on a machine with one sequence, requests that
// may wait let those go first that came later, but for one in nine, and end
// while others still come.
func TestLowPriorityWaitsAndIsServed(t *testing.T) {
	h := newHarness(t, enginetest.Options{Cells: 2000}, Config{Sequences: 1})
	var order []string
	streams := map[string]*Stream{}
	note := func() {
		for name, s := range streams {
			if ended(s) {
				order = append(order, name) // one sequence: at most one ends in a turn
				delete(streams, name)
			}
		}
	}
	put := func(name string, p inference.Priority) {
		r := ask(unique(name[:1], 20), 3)
		r.Priority = p
		streams[name] = h.put(r)
	}
	put("first", inference.PriorityNormal)
	h.turn()
	put("low 1", inference.PriorityLow)
	put("low 2", inference.PriorityLow)
	const came = 30
	for i := range came {
		put(fmt.Sprintf("%c", 'A'+i), inference.PriorityNormal)
	}
	for h.turn() {
		note()
	}
	h.shut()
	if len(streams) > 0 || len(order) != came+3 {
		t.Fatalf("%d requests have not ended: %v", len(streams), order)
	}
	for i, name := range []string{"low 1", "low 2"} {
		if at, want := slices.Index(order, name), (i+1)*(agingTurns+1); at != want {
			t.Errorf("%s ended as number %d, want %d: %v", name, at, want, order)
		}
	}
}
