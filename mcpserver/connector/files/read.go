package files

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/transform"

	"hearth/mcpserver/router"
)

type readArgs struct {
	Path    string `json:"path"`
	Line    int    `json:"line"`
	Lines   int    `json:"lines"`
	Offset  *int64 `json:"offset"`
	Bytes   int64  `json:"bytes"`
	Numbers bool   `json:"numbers"`
}

func (c *Connector) read(ctx context.Context, a *readArgs) (*router.Result, error) {
	// Defaults may be written, so an offset of 0 does not say that bytes are wanted.
	byLines := a.Line > 1 || a.Lines > 0 || a.Numbers
	byBytes := a.Bytes > 0 || a.Offset != nil && (*a.Offset > 0 || !byLines && a.Line == 0)
	switch {
	case a.Offset == nil && a.Bytes != 0:
		return nil, failed("bytes: give offset, too")
	case byLines && byBytes:
		return nil, failed("offset: give either offset and bytes, or line and lines")
	}
	p, f, info, err := c.open(a.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head, err := readHead(f)
	if err != nil {
		return nil, c.explain(p, err)
	}
	cs, isText := sniff(head, len(head) < sniffBytes)
	if !isText {
		mime := mimeOf(p.rel, head, false)
		out := router.Text(fmt.Sprintf("%s is not text (%s, %d bytes): it can be read as a resource.", shown(p.String()), mime, info.Size()))
		out.Content = append(out.Content, router.Content{Type: router.ContentLink, Resource: router.Resource{URI: p.uri(), Name: p.String(), MIME: mime, Size: info.Size()}})
		return out, nil
	}
	if byBytes {
		return c.readBytes(p, f, cs, info, a)
	}
	return c.readLines(ctx, p, f, cs, info, a)
}

// open opens a file by a client's path.
func (c *Connector) open(path string) (place, *os.File, fs.FileInfo, error) {
	p, err := c.parse(path)
	if err != nil {
		return place{}, nil, nil, err
	}
	if p.root == nil {
		return place{}, nil, nil, failed("path: name a file, such as %s", c.example())
	}
	at, err := c.resolve(p)
	if err != nil {
		return place{}, nil, nil, err
	}
	f, info, err := at.openFile()
	if err != nil {
		return place{}, nil, nil, c.explain(p, err)
	}
	return at, f, info, nil
}

func readHead(f *os.File) ([]byte, error) {
	head := make([]byte, sniffBytes)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return head[:n], nil
}

func (c *Connector) readBytes(p place, f *os.File, cs charset, info fs.FileInfo, a *readArgs) (*router.Result, error) {
	size := info.Size()
	from := max(*a.Offset, int64(cs.bom))
	if from >= size && size > 0 {
		return nil, failed("offset: %s has %d bytes", shown(p.String()), size)
	}
	want := min(int64(c.config.ReadBytes), size)
	if a.Bytes > 0 {
		want = min(want, a.Bytes)
	}
	from -= (from - int64(cs.bom)) % int64(cs.unit)
	data := make([]byte, want+2*utf8.UTFMax) // room for whole characters at both ends
	n, err := f.ReadAt(data, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, c.explain(p, err)
	}
	data = data[:n]
	start := 0
	if cs.enc == nil {
		for start < len(data) && start < utf8.UTFMax-1 && from > int64(cs.bom) && !utf8.RuneStart(data[start]) {
			start++ // the rest of a character that began before
		}
	}
	end := cut(data, cs, start, int(want))
	text := cs.decode(data[start:end])
	var notes []string
	if next := from + int64(end); next < size || start > 0 {
		note := fmt.Sprintf("bytes %d to %d of %d", from+int64(start), next, size)
		if next < size {
			note += fmt.Sprintf("; go on with offset: %d", next)
		}
		notes = append(notes, note)
	}
	if cs.name != utf8Text.name {
		notes = append(notes, "decoded from "+cs.name)
	}
	return withNotes(text, notes), nil
}

// cut returns the end of the whole characters of data[start:] that take at most
// want bytes, but at least one of them.
func cut(data []byte, cs charset, start, want int) int {
	if start+want >= len(data) {
		return len(data) - (len(data)-start)%cs.unit
	}
	end := start + want - want%cs.unit
	if cs.enc == nil {
		for back := 0; back < utf8.UTFMax-1 && end > start && !utf8.RuneStart(data[end]); back++ {
			end--
		}
	}
	if end <= start { // a character is longer than what was asked for
		_, n := utf8.DecodeRune(data[start:])
		return min(start+max(n, cs.unit), len(data))
	}
	return end
}

func (c *Connector) readLines(ctx context.Context, p place, f *os.File, cs charset, info fs.FileInfo, a *readArgs) (*router.Result, error) {
	lines, err := newLines(f, cs)
	if err != nil {
		return nil, c.explain(p, err)
	}
	first := max(a.Line, 1)
	var out strings.Builder
	var notes []string
	most := int(c.config.ReadBytes)
	last, end := 0, false
	for {
		if a.Lines > 0 && last >= first && last-first+1 >= a.Lines {
			break
		}
		if lines.number%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		line, err := lines.next(ctx, most)
		if errors.Is(err, io.EOF) {
			end = true
			break
		}
		if err != nil {
			return nil, c.explain(p, err)
		}
		if lines.number < first {
			continue
		}
		prefix := ""
		if a.Numbers {
			prefix = fmt.Sprintf("%6d\t", lines.number)
		}
		if room := most - out.Len() - len(prefix); len(line.text) > room || line.long {
			if last != 0 { // it comes whole with the next call
				break
			}
			out.WriteString(prefix + cutText(line.text, room))
			last = lines.number
			notes = append(notes, fmt.Sprintf("line %d is longer than the %d bytes of one call and is cut: read it with offset and bytes", last, most))
			break
		}
		out.WriteString(prefix)
		out.WriteString(line.text)
		last = lines.number
	}
	if !end {
		if _, err := lines.next(ctx, 1); errors.Is(err, io.EOF) && lines.number == last {
			end = true
		}
	}
	switch {
	case info.Size() == 0 || end && lines.number == 0:
		notes = append(notes, "the file is empty")
	case last == 0:
		return nil, failed("line: %s has %d lines", shown(p.String()), lines.number)
	case !end:
		notes = append(notes, fmt.Sprintf("lines %d to %d of a file of %d bytes; go on with line: %d", first, last, info.Size(), last+1))
	}
	if lines.broken {
		notes = append(notes, "some bytes are not text: they are shown as \ufffd")
	}
	if cs.name != utf8Text.name {
		notes = append(notes, "decoded from "+cs.name)
	}
	return withNotes(out.String(), notes), nil
}

func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:max(most, 0)], "")
}

// lines reads a file's text line by line.
type lines struct {
	in     *bufio.Reader
	number int  // of the line that next returned
	broken bool // something was not text
}

type line struct {
	text string // with its line end
	long bool   // it is longer than what was kept
}

func newLines(f *os.File, cs charset) (*lines, error) {
	if _, err := f.Seek(int64(cs.bom), io.SeekStart); err != nil {
		return nil, err
	}
	var r io.Reader = f
	if cs.enc != nil {
		r = transform.NewReader(f, cs.enc.NewDecoder())
	}
	return &lines{in: bufio.NewReaderSize(r, 64<<10)}, nil
}

// next returns the next line, of which at least most bytes are kept if it has so
// many. What is no UTF-8 becomes U+FFFD. The error is io.EOF at the end.
func (l *lines) next(ctx context.Context, most int) (line, error) {
	var b []byte
	var out line
	for {
		part, err := l.in.ReadSlice('\n')
		if len(b) < most {
			b = append(b, part...)
		} else if len(part) > 0 {
			out.long = true
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			if err := ctx.Err(); err != nil {
				return line{}, err
			}
			continue
		case errors.Is(err, io.EOF) && len(b) == 0:
			return line{}, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return line{}, err
		}
		l.number++
		if !utf8.Valid(b) && !out.long {
			l.broken = true
		}
		out.text = strings.ToValidUTF8(string(b), "\ufffd")
		return out, nil
	}
}
