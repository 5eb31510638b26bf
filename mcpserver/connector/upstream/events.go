package upstream

import (
	"bufio"
	"bytes"
	"io"
)

// events reads a stream of server-sent events (WHATWG HTML, "Server-sent events"), one
// whole event at a time, at the server's pace. It is read by one goroutine.
type events struct {
	r     *bufio.Reader
	c     io.Closer
	limit int // bytes of one event
	pace  *pace
	done  <-chan struct{} // ends a wait

	messages
	kept, data []byte // memory of events, and of what they carry
}

func newEvents(body io.ReadCloser, limit int, pace *pace, done <-chan struct{}) *events {
	e := &events{r: bufio.NewReaderSize(body, 64<<10), c: body, limit: limit, pace: pace, done: done}
	e.more = e.next
	return e
}

func (e *events) Close() error { return e.c.Close() }

// next reads one event with its end; it is empty where the next one says the same
// later. The end of the stream comes with what is there of the last event.
func (e *events) next() ([]byte, error) {
	event, lines, err := e.whole()
	if len(event) == 0 {
		return nil, err
	}
	e.data = eventData(e.data[:0], event)
	var depth depthMeter
	if !depth.see(e.data) {
		return nil, errDeep
	}
	switch {
	case len(e.data) == 0: // comments keep connections open
		await(e.pace.owe(len(event), trifle*lines), e.done)
	case err == nil && e.pace.behind() && superseded(event, e.ahead):
		await(e.pace.owe(len(event), trifle), e.done)
		return nil, nil
	default:
		await(e.pace.owe(len(event), max(1, lines/linesOfEvent)), e.done)
	}
	if len(event) > keptBytes {
		e.kept, e.data = nil, nil
	}
	return event, err
}

// whole reads one event, and says of how many lines.
func (e *events) whole() (event []byte, lines float64, err error) {
	event = e.kept[:0]
	for {
		start := len(event)
		event, err = wholeLine(e.r, event, e.limit)
		e.kept = event
		lines++
		if err != nil || len(bytes.TrimRight(event[start:], "\r\n")) == 0 {
			return event, lines, err
		}
	}
}

// ahead waits for the event after the last one, and returns it; nil: there is none, or
// it is long. It is read again as the next one.
func (e *events) ahead() []byte {
	return peek(e.r, func(data []byte) int {
		for at := 0; ; {
			n := bytes.IndexByte(data[at:], '\n') + 1
			if n == 0 {
				return 0
			}
			if at += n; len(bytes.TrimRight(data[at-n:at], "\r\n")) == 0 {
				return at
			}
		}
	})
}

// eventData appends what the lines of data of an event say.
func eventData(data, event []byte) []byte {
	for line := range bytes.Lines(event) {
		if value, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			data = append(data, value...)
		}
	}
	return data
}
