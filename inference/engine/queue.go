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
// turns by their weights; the choices of one principal keep their order. Those
// that were preempted come first, the oldest before all: they were admitted
// once already. Both rules are counted in turns, not in time, so that whoever
// waits knows a bound: while a principal of weight w waits, one of weight v is
// admitted at most v/w + 1 times before it.
//
// It is self-clocked fair queueing (Golestani 1994): the choice of a principal is
// due 1/w after the one before, or after the clock where none waited; who is due
// first goes first, and sets the clock.
type queue struct {
	resumed []*choice        // by order
	lanes   [classes][]*lane // by when their heads are due
	clock   [classes]float64
	passed  [classes]int // turns that others had while this class waited
	size    int
	heads   []*choice // result of candidates; reused
}

// lane is where the choices of one principal wait.
type lane struct {
	principal string
	due       float64 // of the first
	waiting   []*choice
}

// file puts a lane that is not empty into its place, behind those that are due at
// the same time.
func (q *queue) file(class int, l *lane, after float64) {
	l.due = after + 1/l.waiting[0].req.weight()
	lanes := q.lanes[class]
	i, _ := slices.BinarySearchFunc(lanes, l.due, func(o *lane, due float64) int {
		if o.due <= due {
			return -1
		}
		return 1
	})
	q.lanes[class] = slices.Insert(lanes, i, l)
}

// push puts c at the end of its principal's lane.
func (q *queue) push(c *choice) {
	q.size++
	class := c.req.class
	if i := q.lane(c); i >= 0 {
		l := q.lanes[class][i]
		l.waiting = append(l.waiting, c)
		return
	}
	if len(q.lanes[class]) == 0 {
		q.passed[class], q.clock[class] = 0, 0
	}
	q.file(class, &lane{principal: c.req.Caller.Principal, waiting: []*choice{c}}, q.clock[class])
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

// take removes c, which was admitted and is the first of its lane. Its principal
// waits for its next turn, and those who wait in other classes have let one more
// pass.
func (q *queue) take(c *choice) {
	class := c.req.class
	if i := slices.Index(q.resumed, c); i >= 0 {
		q.resumed = slices.Delete(q.resumed, i, i+1)
		q.size--
		return
	}
	i := q.lane(c)
	l := q.lanes[class][i]
	q.lanes[class] = slices.Delete(q.lanes[class], i, i+1)
	l.waiting = slices.Delete(l.waiting, 0, 1)
	q.size--
	q.clock[class] = max(q.clock[class], l.due)
	if len(l.waiting) > 0 {
		q.file(class, l, l.due)
	}
	q.passed[class] = 0
	for other := range q.lanes {
		if other > class && len(q.lanes[other]) > 0 {
			q.passed[other]++
		}
	}
}

// lane is where c waits, among those of its class; -1: nowhere.
func (q *queue) lane(c *choice) int {
	return slices.IndexFunc(q.lanes[c.req.class], func(l *lane) bool { return l.principal == c.req.Caller.Principal })
}

// remove takes c out, wherever it waits, and reports whether it was there.
func (q *queue) remove(c *choice) bool {
	if i := slices.Index(q.resumed, c); i >= 0 {
		q.resumed = slices.Delete(q.resumed, i, i+1)
		q.size--
		return true
	}
	class, i := c.req.class, q.lane(c)
	if i < 0 {
		return false
	}
	l := q.lanes[class][i]
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
