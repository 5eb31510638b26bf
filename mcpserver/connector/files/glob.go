package files

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// maxGlob bounds a glob, in bytes.
const maxGlob = 1000

// glob is a pattern of paths: * and ? within a name, ** across folders, [a-z]
// one of some characters, {a,b} one of some texts. Without a slash it is about a
// name wherever it lies. Case does not matter.
type glob struct {
	re    *regexp.Regexp
	names bool // it is about names, not about whole paths
}

func compileGlob(pattern string) (*glob, error) {
	rooted := strings.HasPrefix(pattern, "/")
	text := strings.TrimPrefix(strings.TrimSuffix(pattern, "/"), "/")
	if text == "" {
		return nil, errors.New("an empty glob matches nothing: write a name such as *.txt")
	}
	if len(text) > maxGlob {
		return nil, fmt.Errorf("a glob has at most %d bytes", maxGlob)
	}
	expr, err := globExpr(text)
	if err != nil {
		return nil, err
	}
	re, err := regexp.Compile(`(?is)^` + expr + `$`)
	if err != nil {
		return nil, fmt.Errorf("the glob %q cannot be read", pattern)
	}
	return &glob{re: re, names: !rooted && !strings.Contains(text, "/")}, nil
}

// match says whether the glob is about the path, which is relative and has
// slashes only.
func (g *glob) match(rel string) bool {
	if g.names {
		return g.re.MatchString(path.Base(rel))
	}
	return g.re.MatchString(rel)
}

// globExpr translates a glob into a regular expression of RE2, which takes time
// that is linear in the path whatever the glob.
func globExpr(g string) (string, error) {
	var b strings.Builder
	braces := 0
	for i := 0; i < len(g); {
		switch c := g[i]; {
		case strings.HasPrefix(g[i:], "**/") && (i == 0 || g[i-1] == '/'):
			b.WriteString(`(?:.*/)?`)
			i += 3
			continue
		case strings.HasPrefix(g[i:], "**"):
			b.WriteString(`.*`)
			i += 2
			continue
		case c == '*':
			b.WriteString(`[^/]*`)
		case c == '?':
			b.WriteString(`[^/]`)
		case c == '[':
			end := strings.IndexByte(g[i+1:], ']')
			if end <= 0 {
				return "", fmt.Errorf("the glob %q has a [ without its ]", g)
			}
			class := g[i+1 : i+1+end]
			negated := class[0] == '!' || class[0] == '^'
			if negated {
				class = class[1:]
			}
			if class == "" {
				return "", fmt.Errorf("the glob %q has an empty [ ]", g)
			}
			b.WriteByte('[')
			if negated {
				b.WriteString(`^/`)
			}
			b.WriteString(strings.NewReplacer(`\`, `\\`, `[`, `\[`, `^`, `\^`, `&`, `\&`).Replace(class))
			b.WriteByte(']')
			i += end + 2
			continue
		case c == '{':
			braces++
			b.WriteString(`(?:`)
		case c == '}' && braces > 0:
			braces--
			b.WriteByte(')')
		case c == ',' && braces > 0:
			b.WriteByte('|')
		case c == '\\' && i+1 < len(g):
			i++
			b.WriteString(regexp.QuoteMeta(g[i : i+1]))
		case c < 0x80:
			b.WriteString(regexp.QuoteMeta(string(rune(c))))
		default:
			b.WriteByte(c)
		}
		i++
	}
	if braces > 0 {
		return "", fmt.Errorf("the glob %q has a { without its }", g)
	}
	return b.String(), nil
}

// denied is a list of globs as two expressions, since every name of a walk is
// held against it.
type denied struct{ names, paths *regexp.Regexp }

func newDenied(patterns []string) (*denied, error) {
	var names, paths []string
	for _, p := range patterns {
		g, err := compileGlob(p)
		if err != nil {
			return nil, err
		}
		if g.names {
			names = append(names, g.re.String())
		} else {
			paths = append(paths, g.re.String())
		}
	}
	var out denied
	for _, l := range []struct {
		all []string
		to  **regexp.Regexp
	}{{names, &out.names}, {paths, &out.paths}} {
		if len(l.all) == 0 {
			continue
		}
		re, err := regexp.Compile(strings.Join(l.all, "|"))
		if err != nil {
			return nil, fmt.Errorf("the globs cannot be read together: %w", err)
		}
		*l.to = re
	}
	return &out, nil
}

// match says whether one of the globs is about the path itself; what lies above
// it is not looked at.
func (d *denied) match(rel string) bool {
	return d.names != nil && d.names.MatchString(path.Base(rel)) || d.paths != nil && d.paths.MatchString(rel)
}

// ignoreRules are the lines of one .gitignore.
type ignoreRules struct {
	folder string // where it lies, "." for the root
	rules  []ignoreRule
}

type ignoreRule struct {
	re      *regexp.Regexp
	keep    bool // the line begins with "!"
	folders bool // the line ends in "/"
}

// parseIgnore reads a .gitignore. Lines that are no patterns are passed over, as
// git does.
func parseIgnore(folder, text string) *ignoreRules {
	out := &ignoreRules{folder: folder}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if !strings.HasSuffix(line, `\ `) {
			line = strings.TrimRight(line, " ")
		}
		if line == "" || line[0] == '#' || len(line) > maxGlob {
			continue
		}
		var r ignoreRule
		line, r.keep = strings.CutPrefix(line, "!")
		line, r.folders = strings.CutSuffix(line, "/")
		anywhere := !strings.Contains(line, "/")
		line = strings.TrimPrefix(line, "/")
		expr, err := globExpr(strings.NewReplacer("{", `\{`, "}", `\}`).Replace(line))
		if err != nil || line == "" {
			continue
		}
		if anywhere {
			expr = `(?:.*/)?` + expr
		}
		if r.re, err = regexp.Compile(`(?s)^` + expr + `$`); err == nil {
			out.rules = append(out.rules, r)
		}
	}
	return out
}

// ignored says whether the rules of the folders above leave a path out: the last
// rule that is about it decides.
func ignored(all []*ignoreRules, rel string, folder bool) bool {
	out := false
	for _, rules := range all {
		inside := rel
		if rules.folder != "." {
			inside = strings.TrimPrefix(rel, rules.folder+"/")
		}
		for _, r := range rules.rules {
			if (folder || !r.folders) && r.re.MatchString(inside) {
				out = !r.keep
			}
		}
	}
	return out
}
