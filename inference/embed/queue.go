package embed

// request is the inputs of one caller that wait for their vectors. All fields
// but the first four are guarded by Worker.mu.
type request struct {
	principal string
	inputs    [][]int32
	vectors   [][]float32   // one for each input, each written once
	done      chan struct{} // closed when the request has ended

	next int // the first input that no batch has taken
	left int // inputs without a vector
	err  error
	over bool // it has ended
}

// item is one input of a request.
type item struct {
	r     *request
	index int
}

func (i item) tokens() []int32 { return i.r.inputs[i.index] }

// queue holds the requests that have inputs left to compute. Principals take
// turns, one input each.
type queue struct {
	lanes []*lane
	size  int // inputs
}

type lane struct {
	principal string
	waiting   []*request
}

func (q *queue) push(r *request) {
	q.size += len(r.inputs)
	for _, l := range q.lanes {
		if l.principal == r.principal {
			l.waiting = append(l.waiting, r)
			return
		}
	}
	q.lanes = append(q.lanes, &lane{r.principal, []*request{r}})
}

// head is the input whose turn it is; false: nothing waits.
func (q *queue) head() (item, bool) {
	if len(q.lanes) == 0 {
		return item{}, false
	}
	r := q.lanes[0].waiting[0]
	return item{r, r.next}, true
}

// take removes the head. Its principal goes to the end of the line.
func (q *queue) take() {
	l := q.lanes[0]
	r := l.waiting[0]
	r.next++
	q.size--
	if r.next == len(r.inputs) {
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
	}
	copy(q.lanes, q.lanes[1:])
	if q.lanes[len(q.lanes)-1] = l; len(l.waiting) == 0 {
		q.lanes = q.lanes[:len(q.lanes)-1]
	}
}

// remove takes out what r still waits for.
func (q *queue) remove(r *request) {
	for i, l := range q.lanes {
		if l.principal != r.principal {
			continue
		}
		for k, w := range l.waiting {
			if w != r {
				continue
			}
			q.size -= len(r.inputs) - r.next
			l.waiting = append(l.waiting[:k:k], l.waiting[k+1:]...)
			break
		}
		if len(l.waiting) == 0 {
			q.lanes = append(q.lanes[:i:i], q.lanes[i+1:]...)
		}
		return
	}
}
