package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"hearth/mcpserver/router"
)

// Bounds of a path.
const (
	maxPath  = 4096 // bytes
	maxName  = 255  // bytes of one name
	maxDepth = 64   // folders below the root
	maxLinks = 20   // symbolic links on the way
)

// root is one folder that is open.
type root struct {
	Root
	dir *os.Root
}

// place is where something is: a folder and a path in it with slashes, "." for
// the folder itself.
type place struct {
	root *root
	rel  string
}

// String is the path as clients write it.
func (p place) String() string { return join(p.root.Name, p.rel) }

func join(root, rel string) string {
	if rel == "." {
		return root
	}
	return root + "/" + rel
}

func failed(format string, args ...any) error {
	return &router.ToolError{Message: fmt.Sprintf(format, args...)}
}

// shown is a name or path in a message or a list: one that could be mistaken for
// more than itself is quoted.
func shown(name string) string {
	for _, r := range name {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return strconv.Quote(name)
		}
	}
	return name
}

// short is shown, for what a client sent.
func short(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return shown(s)
}

// parse reads a path of a client. The place has no root where the path is that of
// all folders together.
func (c *Connector) parse(text string) (place, error) {
	switch {
	case !utf8.ValidString(text):
		return place{}, failed("path: must be UTF-8")
	case strings.ContainsRune(text, 0):
		return place{}, failed("path: must not hold a NUL character")
	case len(text) > maxPath:
		return place{}, failed("path: has %d bytes, at most %d are taken", len(text), maxPath)
	}
	var names []string
	for name := range strings.SplitSeq(text, "/") {
		switch {
		case name == "" || name == ".":
			continue
		case name == "..":
			return place{}, failed("path: %s has a \"..\": write the path from the folder's name on, such as %s", short(text), c.example())
		case len(name) > maxName:
			return place{}, failed("path: a name in it has %d bytes, at most %d are possible", len(name), maxName)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return place{}, nil
	}
	if len(names) > maxDepth {
		return place{}, failed("path: is %d folders deep, at most %d are taken", len(names), maxDepth)
	}
	for _, r := range c.roots {
		if r.Name == names[0] {
			return c.allowed(place{r, path.Join(append([]string{"."}, names[1:]...)...)})
		}
	}
	if len(c.roots) == 1 { // small models leave the only folder's name out
		return c.allowed(place{c.roots[0], path.Join(names...)})
	}
	return place{}, failed("path: there is no folder %s; there are: %s", short(names[0]), c.rootNames())
}

func (c *Connector) example() string { return c.roots[0].Name + "/notes.txt" }

func (c *Connector) rootNames() string {
	var names []string
	for _, r := range c.roots {
		names = append(names, r.Name)
	}
	return strings.Join(names, ", ")
}

// withheld says why a path in a folder is not offered, "" if it is.
func (c *Connector) withheld(rel string) string {
	if rel == "." {
		return ""
	}
	for i := range strings.Count(rel, "/") + 1 {
		if why := c.entryWithheld(upTo(rel, i)); why != "" {
			return why
		}
	}
	return ""
}

// entryWithheld is withheld for a path whose folders are offered.
func (c *Connector) entryWithheld(rel string) string {
	name := path.Base(rel)
	switch {
	case strings.HasPrefix(name, tempPrefix):
		return "is a file that is being written"
	case strings.HasPrefix(name, ".") && !c.config.Hidden:
		return "is hidden: names that begin with a dot are not offered"
	case c.deny.match(rel):
		return "is withheld: it may hold keys or passwords, or is on the list of what is not offered"
	}
	return ""
}

// upTo returns the first i+1 names of a path.
func upTo(rel string, i int) string {
	end := 0
	for ; i >= 0; i-- {
		next := strings.IndexByte(rel[end:], '/')
		if next < 0 {
			return rel
		}
		end += next + 1
	}
	return rel[:end-1]
}

func (c *Connector) allowed(p place) (place, error) {
	if why := c.withheld(p.rel); why != "" {
		return place{}, failed("%s %s", short(p.String()), why)
	}
	return p, nil
}

// resolve follows the symbolic links of a path to the place it stands for, which
// need not exist, and checks that it, too, is offered. It keeps what a list of
// withheld names promises; that nothing outside is reached is os.Root's part, and
// holds whatever changes after this.
func (c *Connector) resolve(p place) (place, error) {
	at, links := ".", 0
	todo := strings.Split(p.rel, "/")
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return place{}, failed("%s is a link that leads out of the folder %s", short(p.String()), p.root.Name)
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, name)
		info, err := p.root.dir.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) && len(todo) == 0 {
			at = next
			break
		}
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				// What is missing cannot be a link: the rest is taken as it is.
				at = path.Join(append([]string{next}, todo...)...)
				break
			}
			return place{}, c.explain(p, err)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return place{}, failed("%s has more than %d links on its way", short(p.String()), maxLinks)
		}
		to, err := p.root.dir.Readlink(next)
		if err != nil {
			return place{}, c.explain(p, err)
		}
		if path.IsAbs(to) || len(to) > maxPath {
			return place{}, failed("%s is a link that leads out of the folder %s", short(p.String()), p.root.Name)
		}
		todo = append(strings.Split(to, "/"), todo...)
		if len(todo) > 4*maxDepth {
			return place{}, failed("%s leads through too many folders", short(p.String()))
		}
	}
	if at == ".." || strings.HasPrefix(at, "../") {
		return place{}, failed("%s is a link that leads out of the folder %s", short(p.String()), p.root.Name)
	}
	return c.allowed(place{p.root, at})
}

// explain turns an error of the file system into words for the model. What is no
// one's mistake stays an error of the connector.
func (c *Connector) explain(p place, err error) error {
	name := short(p.String())
	var known *router.ToolError
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return failed("there is no %s: list shows what there is", name)
	case errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY):
		return failed("%s exists", name)
	case errors.Is(err, fs.ErrPermission):
		return failed("the server may not open %s", name)
	}
	return explainErrno(name, p.root.Name, err)
}
