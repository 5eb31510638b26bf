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
	messagesInAll     = 2000     // ahead of that rate
	burstPerSecond    = 1000     // of those
	messagesAtOnce    = 100
	shortestWait      = 20 * time.Millisecond
	linesOfEvent      = 5   // in a stream: so many lines count as one message
	trifle            = 0.2 // what a message counts that is read and dropped
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

// empty says that not even one could be taken.
func (b *bucket) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	return b.has < 1
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
// and not one of them, and a tenth while it is ahead of its rate; what it is asked, it
// may answer at any rate.
type pace struct{ bytes, messages, burst *bucket }

func newPace() *pace {
	return &pace{
		bytes:    newBucket(bytesPerSecond, bytesPerSecond),
		messages: newBucket(messagesPerSecond, messagesInAll),
		burst:    newBucket(burstPerSecond, messagesAtOnce),
	}
}

// sent allows n messages more: each that a server is sent it may answer.
func (p *pace) sent(n float64) {
	p.messages.give(n)
	p.burst.give(n)
}

// owe counts what was read and returns how long to wait before more is. What is not
// worth a timer is owed with the next.
func (p *pace) owe(bytes int, messages float64) time.Duration {
	wait := max(p.bytes.owe(float64(bytes)), p.messages.owe(messages), p.burst.owe(messages))
	if wait < shortestWait {
		return 0
	}
	return wait
}

// behind says that the next message has to wait.
func (p *pace) behind() bool { return p.burst.empty() || p.messages.empty() }

// sending is where messages to a program are written, each of which it may answer.
type sending struct {
	io.WriteCloser
	pace *pace
}

func (s *sending) Write(p []byte) (int, error) {
	s.pace.sent(float64(bytes.Count(p, []byte{'\n'})))
	return s.WriteCloser.Write(p)
}

// screened reads a document that a server sends, at its pace, and refuses what is
// nested too deeply: parsers recurse.
type screened struct {
	r     io.ReadCloser
	pace  *pace
	done  <-chan struct{} // ends a wait
	depth depthMeter
	left  int64 // bytes
	err   error
}

func (s *screened) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if int64(n) > s.left {
		n, err = int(s.left), errTooLarge
	}
	s.left -= int64(n)
	if !s.depth.see(p[:n]) {
		s.err = errDeep
		return 0, s.err
	}
	await(s.pace.owe(n, 0), s.done) // it is the answer to a request: no message beside that
	if err != nil {
		s.err = err
	}
	return n, err
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
type depthMeter struct {
	depth         int
	text, escaped bool
}

// see takes bytes and says whether the bound still holds.
func (d *depthMeter) see(data []byte) bool {
	for _, b := range data {
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
		if d.depth > maxDepth {
			return false
		}
	}
	return true
}
