package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"hearth/mcpserver/router"
)

type listArgs struct {
	Path    string `json:"path"`
	Glob    string `json:"glob"`
	Depth   int    `json:"depth"`
	Ignored bool   `json:"ignored"`
	Offset  int    `json:"offset"`
}

// list answers one line an entry: path, size, time. Folders end in a slash.
func (c *Connector) list(ctx context.Context, a *listArgs) (*router.Result, error) {
	p, err := c.parse(a.Path)
	if err != nil {
		return nil, err
	}
	var want *glob
	if a.Glob != "" {
		if want, err = compileGlob(a.Glob); err != nil {
			return nil, failed("glob: %v", err)
		}
	}
	if a.Depth == 0 {
		a.Depth = 1
		if want != nil {
			a.Depth = maxDepth
		}
	}
	var out strings.Builder
	if p.root == nil && want == nil && a.Depth == 1 {
		for _, r := range c.roots {
			fmt.Fprintf(&out, "%s/\t%s\n", r.Name, map[bool]string{false: "can be read", true: "can be read and written"}[r.Write])
		}
		return router.Text(out.String()), nil
	}
	seen, shownCount := 0, 0
	var notes []string
	roots := c.roots
	if p.root != nil {
		roots = []*root{p.root}
	}
	for _, r := range roots {
		at := place{r, "."}
		if p.root != nil {
			if at, err = c.resolve(p); err != nil {
				return nil, err
			}
		}
		base := p.rel // paths are shown as they were asked for, also behind a link
		if p.root == nil {
			base = "."
		}
		line := func(rel string, info fs.FileInfo) {
			if at.rel != base {
				rel = strings.TrimPrefix(base+"/"+strings.TrimPrefix(strings.TrimPrefix(rel, at.rel), "/"), "./")
			}
			listLine(&out, join(r.Name, rel), info)
		}
		w := walk{c: c, root: r, depth: a.Depth, all: a.Ignored || a.Depth == 1, visit: func(rel string, info fs.FileInfo) error {
			if want != nil && !want.match(strings.TrimPrefix(rel, at.rel+"/")) {
				return nil
			}
			if seen++; seen <= a.Offset {
				return nil
			}
			if shownCount == c.config.Entries {
				notes = append(notes, fmt.Sprintf("there is more: go on with offset: %d, or ask for a folder or glob", a.Offset+shownCount))
				return errEnough
			}
			shownCount++
			line(rel, info)
			return nil
		}}
		switch err := w.run(ctx, at.rel); {
		case err == nil:
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case isNotFolder(err) && p.root != nil:
			info, err := r.dir.Lstat(at.rel)
			if err != nil {
				return nil, c.explain(p, err)
			}
			listLine(&out, p.String(), info)
			seen++
			shownCount++
		default:
			return nil, c.explain(at, err)
		}
		notes = append(notes, w.notes()...)
		if shownCount == c.config.Entries && len(notes) > 0 && strings.HasPrefix(notes[0], "there is more") {
			break
		}
	}
	if shownCount == 0 {
		switch {
		case a.Offset > 0 && seen > 0:
			notes = append(notes, fmt.Sprintf("there are only %d entries", seen))
		case want != nil:
			notes = append(notes, "nothing matches")
		default:
			notes = append(notes, "the folder is empty")
		}
	}
	return withNotes(out.String(), notes), nil
}

func listLine(out *strings.Builder, path string, info fs.FileInfo) {
	out.WriteString(shown(path))
	switch m := info.Mode(); {
	case m.IsDir():
		out.WriteString("/")
	case m.IsRegular():
		fmt.Fprintf(out, "\t%d bytes\t%s", info.Size(), info.ModTime().UTC().Format(time.RFC3339))
	default:
		out.WriteString("\t" + kindOf(m))
	}
	out.WriteByte('\n')
}

func isNotFolder(err error) bool {
	return errors.Is(err, errNotFolder)
}

// withNotes is a result of a text and of what has to be said about it, which
// stands apart from it.
func withNotes(text string, notes []string) *router.Result {
	out := &router.Result{}
	if text != "" || len(notes) == 0 {
		out.Content = append(out.Content, router.Content{Type: router.ContentText, Text: text})
	}
	if len(notes) > 0 {
		out.Content = append(out.Content, router.Content{Type: router.ContentText, Text: "[" + strings.Join(notes, "; ") + "]"})
	}
	return out
}
