package mcpserver

import (
	"regexp"
	"strings"
)

// Selection is what a named server offers of all that there is, by patterns in which
// a * stands for any text. What no pattern names is not there: it is not listed, and
// it can neither be called nor read.
type Selection struct {
	Tools     []string // by the names that clients see, this server's own among them
	Resources []string // by URI; those of templates, too
	Prompts   []string // by the names that clients see
}

// selection is a compiled Selection. A nil one selects everything.
type selection struct{ tools, resources, prompts *regexp.Regexp }

func newSelection(s *Selection) *selection {
	if s == nil {
		return nil
	}
	return &selection{tools: patterns(s.Tools), resources: patterns(s.Resources), prompts: patterns(s.Prompts)}
}

// patterns returns an expression that matches what one of the patterns does.
func patterns(list []string) *regexp.Regexp {
	var all []string
	for _, p := range list {
		all = append(all, strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, `.*`))
	}
	if len(all) == 0 {
		return regexp.MustCompile(`\z\A.`) // nothing
	}
	return regexp.MustCompile(`(?s)\A(?:` + strings.Join(all, "|") + `)\z`)
}

func (s *selection) tool(name string) bool    { return s == nil || s.tools.MatchString(name) }
func (s *selection) resource(uri string) bool { return s == nil || s.resources.MatchString(uri) }
func (s *selection) prompt(name string) bool  { return s == nil || s.prompts.MatchString(name) }
