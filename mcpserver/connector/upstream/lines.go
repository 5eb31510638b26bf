package upstream

import (
	"bufio"
	"bytes"
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

	messages
	kept []byte // memory of lines
}

func newLines(p *process, limit int, pace *pace, log zerolog.Logger) *lines {
	l := &lines{
		r: bufio.NewReaderSize(p.stdout, 64<<10), c: p.stdout, limit: limit, pace: pace,
		done: p.gone, log: log, noise: newBucket(1, 10),
	}
	l.more = l.next
	return l
}

// next reads one line; it is empty where that was no message.
func (l *lines) next() ([]byte, error) {
	line, err := wholeLine(l.r, l.kept[:0], l.limit)
	if l.kept = line; len(line) > keptBytes {
		l.kept = nil
	}
	if err != nil {
		return nil, err // what has no end of line was cut off
	}
	if l.pace.behind() && superseded(line, l.ahead) {
		await(l.pace.owe(len(line), trifle), l.done)
		return nil, nil
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
	if !depth.see(line) {
		return nil, errDeep
	}
	return line, nil
}

// ahead waits for the line after the last one, and returns it; nil: there is none, or
// it is long. It is read again as the next one.
func (l *lines) ahead() []byte {
	return peek(l.r, func(data []byte) int { return bytes.IndexByte(data, '\n') + 1 })
}

func (l *lines) Close() error { return l.c.Close() }
