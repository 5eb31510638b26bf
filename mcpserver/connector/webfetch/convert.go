package webfetch

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"codeberg.org/readeck/go-readability/v2"
	"github.com/JohannesKaufmann/html-to-markdown/v2/converter"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/base"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/commonmark"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/strikethrough"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/table"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"hearth/internal/plain"
)

// Bounds of what is converted.
const (
	// maxElements is how many nodes a page may have for its main part to be looked
	// for, which takes more than linear time.
	maxElements = 60_000
	// leastMain is how many characters a main part must have: what is shorter is
	// given with all that is around it.
	leastMain = 200
)

// errConvert says that a page could not be turned into text.
var errConvert = errors.New("the page cannot be read as HTML")

// document is what a page of HTML says.
type document struct {
	title     string
	published time.Time
	text      string
	main      bool   // text is the main part only, and there is more
	moves     string // where the page sends its readers by itself; may be empty
	cut       bool   // the page's structure is too large: text is of its beginning
}

// convert turns HTML into markdown: its main part, or all of it.
func convert(source string, from *url.URL, whole bool) (d document, err error) {
	defer func() {
		if p := recover(); p != nil { // parsers of others, fed by strangers
			d, err = document{}, fmt.Errorf("%w: %v", errConvert, p)
		}
	}()
	fitting := affordable(source)
	d.cut = len(fitting) < len(source)
	doc, err := html.Parse(strings.NewReader(fitting))
	if err != nil {
		return document{}, fmt.Errorf("%w: %v", errConvert, err)
	}
	flatten(doc, 0, 0)
	d.title = plain.Line(find(doc, atom.Title), 300)
	d.moves = refresh(doc, from)
	if !whole {
		if main, ok := mainPart(doc, from); ok {
			main.cut, main.moves = d.cut, d.moves
			main.title = firstOf(plain.Line(main.title, 300), d.title)
			return main, nil
		}
	}
	visible(doc, baseOf(doc, from))
	d.text, err = markdown(doc)
	return d, err
}

// mainPart finds the article of a page. There is none on a page of lists, in a
// short one, and in one too large to look.
func mainPart(doc *html.Node, from *url.URL) (document, bool) {
	if count(doc, maxElements) >= maxElements {
		return document{}, false
	}
	parser := readability.NewParser()
	parser.KeepClasses = true // they name the language of code
	if !parser.CheckDocument(doc) {
		return document{}, false
	}
	article, err := parser.ParseDocument(doc, from)
	if err != nil || article.Node == nil {
		return document{}, false
	}
	visible(article.Node, from) // links are absolute already
	text, err := markdown(article.Node)
	if err != nil || utf8.RuneCountInString(text) < leastMain {
		return document{}, false
	}
	d := document{title: article.Title(), text: text, main: true}
	if t, err := article.PublishedTime(); err == nil {
		d.published = t
	}
	return d, true
}

// baseOf is what relative links of a page are relative to.
func baseOf(doc *html.Node, from *url.URL) *url.URL {
	for c := range doc.Descendants() {
		if c.Type != html.ElementNode || c.DataAtom != atom.Base {
			continue
		}
		for _, a := range c.Attr {
			if a.Key == "href" {
				if u, err := from.Parse(strings.TrimSpace(a.Val)); err == nil {
					return u
				}
			}
		}
	}
	return from
}

func markdown(n *html.Node) (string, error) {
	conv := converter.NewConverter(converter.WithPlugins(
		base.NewBasePlugin(), commonmark.NewCommonmarkPlugin(), strikethrough.NewStrikethroughPlugin(),
		table.NewTablePlugin(table.WithSpanCellBehavior(table.SpanBehaviorMirror), table.WithCellPaddingBehavior(table.CellPaddingBehaviorMinimal)),
	))
	out, err := conv.ConvertNode(n)
	if err != nil {
		return "", fmt.Errorf("%w: %v", errConvert, err)
	}
	return strings.TrimSpace(plain.Text(string(out))), nil
}

// refresh is where <meta http-equiv="refresh"> leads, if that is another page. It
// is not followed: the model is told, and may ask for it.
func refresh(doc *html.Node, from *url.URL) string {
	for c := range doc.Descendants() {
		if c.Type != html.ElementNode || c.DataAtom != atom.Meta {
			continue
		}
		var equiv, content string
		for _, a := range c.Attr {
			switch a.Key {
			case "http-equiv":
				equiv = a.Val
			case "content":
				content = a.Val
			}
		}
		_, rest, ok := strings.Cut(content, ";")
		key, target, assigned := strings.Cut(rest, "=")
		if !strings.EqualFold(equiv, "refresh") || !ok || !assigned || !strings.EqualFold(strings.TrimSpace(key), "url") {
			continue
		}
		u, err := from.Parse(strings.Trim(strings.TrimSpace(target), `"'`))
		if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.String() != from.String() {
			return plain.Line(u.String(), 2000)
		}
	}
	return ""
}

// find returns the text of the first element of a kind.
func find(n *html.Node, kind atom.Atom) string {
	for c := range n.Descendants() {
		if c.Type == html.ElementNode && c.DataAtom == kind && c.Namespace == "" {
			var b strings.Builder
			for t := range c.Descendants() {
				if t.Type == html.TextNode {
					b.WriteString(t.Data)
				}
			}
			return b.String()
		}
	}
	return ""
}

// count counts the nodes below n, up to a limit.
func count(n *html.Node, limit int) int {
	total := 0
	for range n.Descendants() {
		if total++; total >= limit {
			break
		}
	}
	return total
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
