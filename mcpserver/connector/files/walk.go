package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxFolder = 100_000   // names of one folder that are looked at
	maxIgnore = 256 << 10 // bytes of a .gitignore
)

// errEnough ends a walk early.
var errEnough = errors.New("enough")

// walk goes through a folder in a fixed order: the names of a folder in the order
// of their bytes, each folder's contents behind it. Links are not followed.
type walk struct {
	c     *Connector
	root  *root
	depth int    // levels to go down; at least 1
	all   bool   // also what a .gitignore leaves out
	after string // a path of an earlier walk: go on behind it; "" from the beginning
	// visit gets what is found. What it returns ends the walk, but for
	// fs.SkipDir, which leaves out what is in a folder.
	visit func(rel string, info fs.FileInfo) error

	withheld, unnamed, ignored, unreadable, deeper int
	crowded                                        []string // folders with more than maxFolder names
}

func (w *walk) run(ctx context.Context, from string) error {
	var rules []*ignoreRules
	if !w.all { // rules of the folders above hold, too
		for at := from; at != "."; {
			at = path.Dir(at)
			rules = append(rules, w.rules(at)...)
		}
		slices.Reverse(rules)
	}
	after := w.after
	if after != "" && from != "." {
		after = strings.TrimPrefix(after, from+"/")
	}
	err := w.folder(ctx, from, 1, rules, after)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (w *walk) rules(folder string) []*ignoreRules {
	f, info, err := place{w.root, path.Join(folder, ".gitignore")}.openFile()
	if err != nil {
		return nil // there is none, or none that is a file
	}
	defer f.Close()
	if info.Size() > maxIgnore {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(f, maxIgnore))
	if err != nil {
		return nil
	}
	return []*ignoreRules{parseIgnore(folder, string(text))}
}

func (w *walk) folder(ctx context.Context, at string, level int, rules []*ignoreRules, after string) error {
	f, err := place{w.root, at}.openFolder()
	if err != nil {
		if level == 1 {
			return err
		}
		w.unreadable++
		return nil
	}
	var entries []fs.DirEntry
	for len(entries) <= maxFolder {
		part, more := f.ReadDir(4096)
		entries = append(entries, part...)
		if err := ctx.Err(); err != nil {
			_ = f.Close() // nothing was written
			return err
		}
		if more != nil {
			break // io.EOF, or a folder that cannot be read to its end
		}
	}
	defer f.Close() // the entries need it
	if len(entries) > maxFolder {
		entries = entries[:maxFolder]
		w.crowded = append(w.crowded, join(w.root.Name, at))
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	if !w.all {
		rules = append(slices.Clip(rules), w.rules(at)...)
	}
	first, rest, _ := strings.Cut(after, "/")
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := e.Name()
		if after != "" && name < first {
			continue
		}
		rel := path.Join(at, name)
		if !w.offered(rel, e, rules) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // it is gone
		}
		passed := after != "" && name == first // visited by the walk before
		if !passed {
			switch err := w.visit(rel, info); {
			case errors.Is(err, fs.SkipDir):
				continue
			case err != nil:
				return err
			}
		}
		if !info.IsDir() {
			continue
		}
		if level >= w.depth || strings.Count(rel, "/") >= maxDepth-1 {
			w.deeper++
			continue
		}
		inside := ""
		if passed {
			inside = rest
		}
		if err := w.folder(ctx, rel, level+1, rules, inside); err != nil {
			return err
		}
	}
	return nil
}

// offered counts what it leaves out.
func (w *walk) offered(rel string, e fs.DirEntry, rules []*ignoreRules) bool {
	switch {
	case !utf8.ValidString(e.Name()):
		w.unnamed++
	case w.c.entryWithheld(rel) != "":
		w.withheld++
	case !w.all && (e.Name() == ".git" || ignored(rules, rel, e.IsDir())):
		w.ignored++
	default:
		return true
	}
	return false
}

// notes says what was left out.
func (w *walk) notes() []string {
	var out []string
	note := func(n int, one, many string) {
		switch {
		case n == 1:
			out = append(out, "1 "+one)
		case n > 1:
			out = append(out, fmt.Sprintf("%d %s", n, many))
		}
	}
	note(w.withheld, "hidden or withheld entry is not shown", "hidden or withheld entries are not shown")
	note(w.ignored, "entry that .gitignore leaves out is not shown (ignored: true shows it)", "entries that .gitignore leaves out are not shown (ignored: true shows them)")
	note(w.unnamed, "entry has a name that is not UTF-8 and cannot be reached", "entries have names that are not UTF-8 and cannot be reached")
	note(w.unreadable, "folder cannot be opened", "folders cannot be opened")
	for _, at := range w.crowded {
		out = append(out, fmt.Sprintf("%s has more than %d entries, the others are not looked at", shown(at), maxFolder))
	}
	return out
}
