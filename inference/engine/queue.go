package engine

import (
	"cmp"
	"slices"

	"hearth/inference"
)

// The classes of the queue, most urgent first.
const (
	classNormal = iota
	classLow
	classProbe
	classes
)

const (
	// agingTurns is how often more urgent classes go first before one request
	// of a waiting class does.
	agingTurns = 8
	// maxOvertaken is how often others may be admitted before a request that
	// does not fit; then all wait until it does.
	maxOvertaken = 16
)

// classOf maps a request's priority to a class.
func classOf(p inference.Priority) int {
	if p == inference.PriorityLow {
		return classLow
	}
	return classNormal
}

// queue holds the choices that wait for admission. Principals of a class take
// turns, one choice each; the choices of one principal keep their order. Those
// that were preempted come first, the oldest before all: they were admitted
// once already. Both rules are counted in turns, not in time, so that whoever
// waits knows a bound.
type queue struct {
	resumed []*choice // by order
	lanes   [classes][]*lane
	passed  [classes]int // turns that others had while this class waited
	size    int
	heads   []*choice // result of candidates; reused
}

type lane struct {
	principal string
	waiting   []*choice
}

// push puts c at the end of its principal's lane.
func (q *queue) push(c *choice) {
	q.size++
	class, principal := c.req.class, c.req.Caller.Principal
	for _, l := range q.lanes[class] {
		if l.principal == principal {
			l.waiting = append(l.waiting, c)
			return
		}
	}
	if len(q.lanes[class]) == 0 {
		q.passed[class] = 0
	}
	q.lanes[class] = append(q.lanes[class], &lane{principal, []*choice{c}})
}

// pushResumed puts back a choice that was preempted.
func (q *queue) pushResumed(c *choice) {
	q.size++
	i, _ := slices.BinarySearchFunc(q.resumed, c, compareAge)
	q.resumed = slices.Insert(q.resumed, i, c)
}

// compareAge orders choices by submission.
func compareAge(a, b *choice) int {
	return cmp.Or(cmp.Compare(a.req.order, b.req.order), a.index-b.index)
}

// candidates returns who may be admitted now, in turn: nobody of a lane but its
// first. The slice is valid until the next call.
func (q *queue) candidates() []*choice {
	q.heads = append(q.heads[:0], q.resumed...)
	for aged := range 2 {
		for class := range q.lanes {
			if (q.passed[class] >= agingTurns) != (aged == 0) {
				continue
			}
			for _, l := range q.lanes[class] {
				q.heads = append(q.heads, l.waiting[0])
			}
		}
	}
	return q.heads
}

// take removes c, which was admitted; its principal goes to the end of the
// line, and those who wait in other classes have let one more pass.
func (q *queue) take(c *choice) {
	class := c.req.class
	if i := slices.Index(q.resumed, c); i >= 0 {
		q.resumed = slices.Delete(q.resumed, i, i+1)
		q.size--
		return
	}
	q.remove(c)
	lanes := q.lanes[class]
	for i, l := range lanes {
		if l.principal == c.req.Caller.Principal {
			copy(lanes[i:], lanes[i+1:])
			lanes[len(lanes)-1] = l
			break
		}
	}
	q.passed[class] = 0
	for other := range q.lanes {
		if other > class && len(q.lanes[other]) > 0 {
			q.passed[other]++
		}
	}
}

// remove takes c out, wherever it waits, and reports whether it was there.
func (q *queue) remove(c *choice) bool {
	if i := slices.Index(q.resumed, c); i >= 0 {
		q.resumed = slices.Delete(q.resumed, i, i+1)
		q.size--
		return true
	}
	class := c.req.class
	for i, l := range q.lanes[class] {
		if l.principal != c.req.Caller.Principal {
			continue
		}
		k := slices.Index(l.waiting, c)
		if k < 0 {
			return false
		}
		l.waiting = slices.Delete(l.waiting, k, k+1)
		if len(l.waiting) == 0 {
			q.lanes[class] = slices.Delete(q.lanes[class], i, i+1)
		}
		q.size--
		return true
	}
	return false
}
