package webfetch

import (
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// unread are elements whose contents no reader of a page reads as its text.
var unread = map[atom.Atom]bool{
	atom.Script: true, atom.Style: true, atom.Template: true, atom.Iframe: true, atom.Object: true, atom.Embed: true,
	atom.Canvas: true, atom.Svg: true, atom.Link: true, atom.Meta: true, atom.Input: true, atom.Button: true,
	atom.Select: true, atom.Textarea: true, atom.Audio: true, atom.Video: true, atom.Dialog: true,
}

// Bounds of the structure of a page. Parsers and converters take more than linear
// time and room for some, so what is above is cut or made flat.
const (
	// maxTokens bounds the tags and texts of a page.
	maxTokens = 100_000
	// maxReopened bounds how many elements a parser makes of formatting that was
	// never closed: the HTML standard has it open them anew in each paragraph.
	maxReopened = 400_000
	// maxIndent is how deep lists and quotes may stand in each other: each indents
	// every line of what is in it.
	maxIndent = 8
	// maxNested is how deep anything may.
	maxNested = 40
)

// formatting are the elements that are opened anew (the list of active formatting
// elements of the HTML standard).
var formatting = map[atom.Atom]bool{
	atom.A: true, atom.B: true, atom.Big: true, atom.Code: true, atom.Em: true, atom.Font: true, atom.I: true, atom.Nobr: true,
	atom.S: true, atom.Small: true, atom.Strike: true, atom.Strong: true, atom.Tt: true, atom.U: true,
}

// affordable is how much of a source can be parsed without its structure becoming
// larger than it is itself by orders of magnitude.
func affordable(source string) string {
	z := html.NewTokenizer(strings.NewReader(source))
	var length, open, reopened int
	for range maxTokens {
		kind := z.Next()
		if kind == html.ErrorToken {
			return source
		}
		raw := len(z.Raw())
		name, _ := z.TagName()
		format := formatting[atom.Lookup(name)]
		switch {
		case kind == html.StartTagToken && format:
			open++
		case kind == html.EndTagToken && format:
			open = max(open-1, 0)
		case kind == html.StartTagToken || kind == html.TextToken:
			reopened += open
		}
		if reopened > maxReopened {
			break
		}
		length += raw
	}
	return source[:min(length, len(source))]
}

// flatten takes away nesting that is beyond any use: what is deeper than
// maxNested stands beside its parents, and lists and quotes deeper than maxIndent
// are no longer indented.
func flatten(n *html.Node, depth, indent int) {
	for c := n.FirstChild; c != nil; {
		next := c.NextSibling
		switch {
		case c.Type != html.ElementNode:
		case depth >= maxNested && c.FirstChild != nil:
			// Its children take its place, and are looked at next.
			next = c.FirstChild
			if !formatting[c.DataAtom] && c.DataAtom != atom.Span {
				n.InsertBefore(&html.Node{Type: html.ElementNode, Data: "br", DataAtom: atom.Br}, c) // it began a line
			}
			for k := c.FirstChild; k != nil; k = c.FirstChild {
				c.RemoveChild(k)
				n.InsertBefore(k, c)
			}
			n.RemoveChild(c)
		default:
			deeper := indent
			switch c.DataAtom {
			case atom.Ul, atom.Ol, atom.Li, atom.Blockquote, atom.Dl, atom.Dd:
				if deeper++; deeper > 2*maxIndent {
					c.Data, c.DataAtom = "div", atom.Div
				}
			}
			flatten(c, depth+1, deeper)
		}
		c = next
	}
}

// visible takes out of a document what its reader would not see: comments,
// scripts, elements that are hidden. It is where text for models rather than for
// people is put. Links and images become absolute.
func visible(n *html.Node, base *url.URL) {
	for c := n.FirstChild; c != nil; {
		next := c.NextSibling
		if c.Type == html.CommentNode || c.Type == html.ElementNode && (unread[c.DataAtom] || hidden(c)) {
			n.RemoveChild(c)
		} else {
			tidy(c, base)
			visible(c, base)
		}
		c = next
	}
}

func hidden(n *html.Node) bool {
	for _, a := range n.Attr {
		switch a.Key {
		case "hidden":
			return true
		case "aria-hidden":
			if strings.EqualFold(a.Val, "true") {
				return true
			}
		case "style":
			style := strings.ToLower(strings.Join(strings.Fields(a.Val), ""))
			for declaration := range strings.SplitSeq(style, ";") {
				declaration = strings.TrimSuffix(declaration, "!important")
				switch declaration {
				case "display:none", "visibility:hidden", "visibility:collapse", "opacity:0", "opacity:0.0", "font-size:0", "font-size:0px":
					return true
				}
			}
		}
	}
	return false
}

// tidy makes links absolute, and takes out those that are none: images inside of
// the page, scripts.
func tidy(n *html.Node, base *url.URL) {
	if n.Type != html.ElementNode {
		return
	}
	kept := n.Attr[:0]
	for _, a := range n.Attr {
		value := strings.ToLower(strings.TrimSpace(a.Val))
		if (a.Key == "src" || a.Key == "href" || a.Key == "srcset") && (strings.HasPrefix(value, "data:") || strings.HasPrefix(value, "javascript:") || strings.HasPrefix(value, "blob:")) {
			continue
		}
		if (a.Key == "colspan" || a.Key == "rowspan") && len(value) > 1 {
			a.Val = "9" // the cell is repeated so often: a few bytes must not become megabytes
		}
		if a.Key == "src" || a.Key == "href" {
			if u, err := base.Parse(strings.TrimSpace(a.Val)); err == nil {
				a.Val = u.String()
			}
		}
		kept = append(kept, a)
	}
	n.Attr = kept
}
