package upstream

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"
)

// Bounds of what a server may send. They are far above what servers send that
// mean well.
const (
	maxDepth          = 256      // of nested JSON
	bytesPerSecond    = 64 << 20 // and as much again at once
	messagesPerSecond = 200      // beside one for each that it is sent
	messagesAtOnce    = 2000
	linesOfEvent      = 5 // in a stream: so many lines count as one message
)

var errDeep = errors.New("the server sent JSON that is nested too deeply")

// bucket is an allowance that fills up with time.
type bucket struct {
	mu             sync.Mutex
	rate, max, has float64
	at             time.Time
}

func newBucket(perSecond, max float64) *bucket {
	return &bucket{rate: perSecond, max: max, has: max, at: time.Now()}
}

func (b *bucket) fill() {
	now := time.Now()
	b.has = min(b.max, b.has+now.Sub(b.at).Seconds()*b.rate)
	b.at = now
}

// take takes n, or nothing where there is not as much.
func (b *bucket) take(n float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	if b.has < n {
		return false
	}
	b.has -= n
	return true
}

// owe takes n and returns how long to wait until they are there.
func (b *bucket) owe(n float64) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	b.has -= n
	if b.has >= 0 {
		return 0
	}
	return time.Duration(-b.has / b.rate * float64(time.Second))
}

// give puts n back.
func (b *bucket) give(n float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	b.has = min(b.max, b.has+n)
}

// pace slows down a server that sends more than anybody needs: what is not read
// stays with it. All that comes from one server has the same. Each message takes the
// SDK about 0.1 ms, so that a server that never stops takes a fiftieth of a processor
// and not one of them; what it is asked, it may answer at any rate.
type pace struct{ bytes, messages *bucket }

func newPace() *pace {
	return &pace{newBucket(bytesPerSecond, bytesPerSecond), newBucket(messagesPerSecond, messagesAtOnce)}
}

// sending is where messages to a program are written, each of which it may answer.
type sending struct {
	io.WriteCloser
	pace *pace
}

func (s *sending) Write(p []byte) (int, error) {
	s.pace.messages.give(float64(bytes.Count(p, []byte{'\n'})))
	return s.WriteCloser.Write(p)
}

// screened reads what a server sends, at its pace, and refuses what is nested too
// deeply: parsers recurse.
type screened struct {
	r     io.ReadCloser
	pace  *pace
	done  <-chan struct{} // ends a wait; nil: nothing does
	depth depthMeter
	left  int64 // bytes; negative: any
	err   error
}

func (s *screened) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if s.left >= 0 && int64(n) > s.left {
		n, err = int(s.left), errTooLarge
	}
	if s.left >= 0 {
		s.left -= int64(n)
	}
	lines := 0
	for _, b := range p[:n] {
		if b == '\n' && s.depth.events { // a document is the answer to a request
			lines++
		}
		if !s.depth.see(b) {
			s.err = errDeep
			return 0, s.err
		}
	}
	wait := s.pace.owe(n, float64(lines)/linesOfEvent)
	await(wait, s.done)
	if err != nil {
		s.err = err
	}
	return n, err
}

// owe counts what was read and returns how long to wait before more is.
func (p *pace) owe(bytes int, messages float64) time.Duration {
	return max(p.bytes.owe(float64(bytes)), p.messages.owe(messages))
}

func await(wait time.Duration, done <-chan struct{}) {
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	}
}

func (s *screened) Close() error { return s.r.Close() }

var errTooLarge = errors.New("the server sent a message that is larger than message_bytes")

// depthMeter follows the nesting of JSON values, one after the other in a stream.
// In a stream of events it looks at the lines of data only.
type depthMeter struct {
	events bool

	depth         int
	text, escaped bool
	column        int  // of the line, up to the length of the field's name
	skip          bool // the line is no data
	wasReturn     bool
}

const dataField = "data:"

// see takes one byte and says whether the bound still holds.
func (d *depthMeter) see(b byte) bool {
	if d.events {
		if b == '\n' || b == '\r' {
			if d.column == 0 && !(b == '\n' && d.wasReturn) { // an empty line ends an event
				d.depth, d.text, d.escaped = 0, false, false
			}
			d.column, d.skip, d.wasReturn = 0, false, b == '\r'
			return true
		}
		d.wasReturn = false
		if d.column < len(dataField) {
			d.skip = d.skip || b != dataField[d.column]
			d.column++
			return true
		}
		if d.skip {
			return true
		}
	}
	switch {
	case d.escaped:
		d.escaped = false
	case d.text:
		d.escaped = b == '\\'
		d.text = b != '"'
	case b == '"':
		d.text = true
	case b == '{' || b == '[':
		d.depth++
	case b == '}' || b == ']':
		d.depth = max(0, d.depth-1)
	}
	return d.depth <= maxDepth
}
