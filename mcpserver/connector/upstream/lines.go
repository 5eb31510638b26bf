package upstream

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"github.com/rs/zerolog"
)

// lines reads the messages that a program writes, one a line. What begins like no
// message is dropped: many programs greet on their output before they learn not
// to. It is read by one goroutine.
type lines struct {
	r     *bufio.Reader
	c     io.Closer
	limit int
	pace  *pace
	done  <-chan struct{}
	log   zerolog.Logger
	noise *bucket

	rest []byte // of the line that is being read
	err  error
}

func newLines(p *process, limit int, pace *pace, log zerolog.Logger) *lines {
	return &lines{
		r: bufio.NewReaderSize(p.stdout, 64<<10), c: p.stdout, limit: limit, pace: pace,
		done: p.gone, log: log, noise: newBucket(1, 10),
	}
}

func (l *lines) Read(p []byte) (int, error) {
	for len(l.rest) == 0 {
		if l.err != nil {
			return 0, l.err
		}
		l.rest, l.err = l.next()
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// next reads one line; it is empty where that was no message.
func (l *lines) next() ([]byte, error) {
	var line []byte
	for {
		piece, err := l.r.ReadSlice('\n')
		if len(line)+len(piece) > l.limit {
			return nil, errTooLarge
		}
		line = append(line, piece...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err // what has no end of line was cut off
		}
	}
	await(l.pace.owe(len(line), 1), l.done)
	text := strings.TrimSpace(string(line[:min(len(line), 256)]))
	if text == "" {
		return nil, nil
	}
	if text[0] != '{' && text[0] != '[' {
		if l.noise.take(1) {
			l.log.Warn().Str("stdout", strings.ToValidUTF8(text, "?")).Msg("an MCP server wrote what is no message")
		}
		return nil, nil
	}
	var depth depthMeter
	for _, b := range line {
		if !depth.see(b) {
			return nil, errDeep
		}
	}
	return line, nil
}

func (l *lines) Close() error { return l.c.Close() }
