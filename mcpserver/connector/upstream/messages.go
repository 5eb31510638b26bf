package upstream

import (
	"bufio"
	"errors"
)

// keptBytes is how much memory a reader of messages keeps for the next one.
const keptBytes = 64 << 10

// messages hands on one message after the other, as an [io.Reader] does. A message may
// be empty, and its memory is used again for the next.
type messages struct {
	more func() ([]byte, error)
	rest []byte // of the message that is being read
	err  error
}

func (m *messages) Read(p []byte) (int, error) {
	for len(m.rest) == 0 {
		if m.err != nil {
			return 0, m.err
		}
		m.rest, m.err = m.more()
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// peek waits until what follows has an end, which end finds behind it or gives 0, and
// returns that without taking it.
func peek(r *bufio.Reader, end func([]byte) int) []byte {
	for {
		data, _ := r.Peek(r.Buffered())
		if n := end(data); n > 0 {
			return data[:n]
		}
		if _, err := r.Peek(len(data) + 1); err != nil { // the end, or the buffer is full
			return nil
		}
	}
}

// wholeLine appends one line to what was read before of the same, with its end, and
// at most limit bytes in all.
func wholeLine(r *bufio.Reader, line []byte, limit int) ([]byte, error) {
	for {
		piece, err := r.ReadSlice('\n')
		if len(line)+len(piece) > limit {
			return nil, errTooLarge
		}
		line = append(line, piece...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}
