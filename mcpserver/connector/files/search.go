package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"hearth/mcpserver/router"
)

const (
	maxLine = 64 << 10 // bytes of a line that are searched
	around  = 150      // bytes shown on each side of a match in a long line
)

type searchArgs struct {
	Query   string `json:"query"`
	Path    string `json:"path"`
	Regexp  bool   `json:"regexp"`
	Case    bool   `json:"case"`
	Where   string `json:"where"`
	Context int    `json:"context"`
	Include string `json:"include"`
	Exclude string `json:"exclude"`
	Ignored bool   `json:"ignored"`
}

// search answers as grep does: "path:line: text", and "path-line- text" for the
// lines around.
func (c *Connector) search(ctx context.Context, a *searchArgs) (*router.Result, error) {
	s := &search{c: c, args: a}
	expr := a.Query
	if !a.Regexp {
		expr = regexp.QuoteMeta(expr)
	}
	if !a.Case {
		expr = "(?i)" + expr
	}
	var err error
	if s.query, err = regexp.Compile(expr); err != nil {
		return nil, failed("query: is no regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	for _, g := range []struct {
		name, text string
		to         **glob
	}{{"include", a.Include, &s.include}, {"exclude", a.Exclude, &s.exclude}} {
		if g.text == "" {
			continue
		}
		if *g.to, err = compileGlob(g.text); err != nil {
			return nil, failed("%s: %v", g.name, err)
		}
	}
	p, err := c.parse(a.Path)
	if err != nil {
		return nil, err
	}
	roots := c.roots
	if p.root != nil {
		roots = []*root{p.root}
	}
	timed, stop := context.WithTimeout(ctx, c.config.SearchTime)
	defer stop()
	for _, r := range roots {
		at := place{r, "."}
		if p.root != nil {
			if at, err = c.resolve(p); err != nil {
				return nil, err
			}
		}
		w := walk{c: c, root: r, depth: maxDepth, all: a.Ignored, visit: func(rel string, info fs.FileInfo) error {
			return s.visit(timed, place{r, rel}, strings.TrimPrefix(rel, at.rel+"/"), info)
		}}
		err := w.run(timed, at.rel)
		if isNotFolder(err) && p.root != nil {
			info, statErr := r.dir.Stat(at.rel)
			if statErr != nil {
				return nil, c.explain(p, statErr)
			}
			if !info.Mode().IsRegular() {
				return nil, c.explain(p, kindError(info.Mode()))
			}
			err = s.visit(timed, at, path.Base(at.rel), info)
			if errors.Is(err, errEnough) {
				err = nil
			}
		}
		s.notes = append(s.notes, w.notes()...)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case timed.Err() != nil:
			s.limit = fmt.Sprintf("the search ended after %s", c.config.SearchTime)
		default:
			return nil, c.explain(at, err)
		}
		if s.limit != "" {
			break
		}
	}
	return s.result(), nil
}

// search is one search that runs.
type search struct {
	c                *Connector
	args             *searchArgs
	query            *regexp.Regexp
	include, exclude *glob

	out     strings.Builder
	matches int
	files   int
	bytes   int64
	binary  int
	unread  int
	limit   string // why it ended early
	notes   []string
}

func (s *search) visit(ctx context.Context, p place, rel string, info fs.FileInfo) error {
	if s.exclude != nil && s.exclude.match(rel) {
		if info.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	if s.include != nil && (info.IsDir() || !s.include.match(rel)) {
		return nil
	}
	if s.args.Where != "contents" && s.query.MatchString(path.Base(p.rel)) {
		name := shown(p.String())
		if info.IsDir() {
			name += "/"
		}
		if err := s.found(name + "\n"); err != nil {
			return err
		}
	}
	if s.args.Where == "names" || !info.Mode().IsRegular() {
		return nil
	}
	switch {
	case s.files >= s.c.config.SearchFiles:
		s.limit = fmt.Sprintf("the search ended after %d files", s.files)
	case s.bytes >= int64(s.c.config.SearchBytes):
		s.limit = fmt.Sprintf("the search ended after %d bytes", s.bytes)
	}
	if s.limit != "" {
		return errEnough
	}
	s.files++
	return s.contents(ctx, p)
}

func (s *search) contents(ctx context.Context, p place) error {
	f, _, err := p.openFile()
	if err != nil {
		s.unread++
		return nil
	}
	defer f.Close()
	head, err := readHead(f)
	if err != nil {
		s.unread++
		return nil
	}
	cs, isText := sniff(head, len(head) < sniffBytes)
	if !isText {
		s.binary++
		return nil
	}
	in, err := newLines(f, cs)
	if err != nil {
		s.unread++
		return nil
	}
	name := shown(p.String())
	var before []string // the lines before, as they are shown
	after, printed := 0, 0
	for {
		if in.number%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		l, err := in.next(ctx, maxLine)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.unread++
			return nil
		}
		if s.bytes += int64(len(l.text)); s.bytes > int64(s.c.config.SearchBytes) {
			s.limit = fmt.Sprintf("the search ended after %d bytes, in %s", s.bytes, name)
			return errEnough
		}
		text := strings.TrimRight(l.text, "\r\n")
		at := s.query.FindStringIndex(text)
		if at == nil {
			plain := fmt.Sprintf("%s-%d- %s\n", name, in.number, excerpt(text, 0, 0))
			switch {
			case after > 0:
				after--
				s.out.WriteString(plain)
				printed = in.number
			case s.args.Context > 0:
				if before = append(before, plain); len(before) > s.args.Context {
					before = before[1:]
				}
			}
			continue
		}
		if s.args.Context > 0 && printed > 0 && in.number-len(before) > printed+1 {
			s.out.WriteString("--\n")
		}
		if err := s.found(strings.Join(before, "") + fmt.Sprintf("%s:%d: %s\n", name, in.number, excerpt(text, at[0], at[1]))); err != nil {
			return err
		}
		before, after, printed = before[:0], s.args.Context, in.number
	}
}

func (s *search) found(text string) error {
	if s.matches == s.c.config.Matches {
		s.limit = fmt.Sprintf("only the first %d matches are shown: narrow the search by path, include or query", s.matches)
		return errEnough
	}
	s.matches++
	s.out.WriteString(text)
	return nil
}

func (s *search) result() *router.Result {
	var notes []string
	if s.limit != "" {
		notes = append(notes, s.limit)
	}
	if s.matches == 0 {
		notes = append(notes, fmt.Sprintf("nothing found in %d files", s.files))
	}
	if s.binary > 0 {
		notes = append(notes, fmt.Sprintf("%d files that are not text were passed over", s.binary))
	}
	if s.unread > 0 {
		notes = append(notes, fmt.Sprintf("%d files could not be read", s.unread))
	}
	return withNotes(s.out.String(), append(notes, s.notes...))
}

// excerpt cuts a long line to what is around the match.
func excerpt(text string, from, to int) string {
	start, end := 0, len(text)
	if to-from > 2*around {
		to = from + 2*around
	}
	if from > around && end > 3*around {
		start = from - around
	}
	if end-to > 2*around {
		end = to + around
	}
	for start > 0 && !utf8.RuneStart(text[start]) {
		start--
	}
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end++
	}
	out := text[start:end]
	if start > 0 {
		out = "…" + out
	}
	if end < len(text) {
		out += "…"
	}
	return out
}
