package webfetch

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// Pages of a few kilobytes that parsers and converters make megabytes of, or
// spend minutes on, are cut or made flat.
func TestHostilePagesStaySmall(t *testing.T) {
	from, err := url.Parse("https://example.com/")
	if err != nil {
		t.Fatal(err)
	}
	repeat := func(s string) string { return strings.Repeat(s, 1<<14/len(s)) }
	var open strings.Builder
	for i := range 300 {
		fmt.Fprintf(&open, "<b id=%d>", i)
	}
	words := "<p>" + strings.Repeat("word, and ", 30) + "</p>"
	for name, source := range map[string]string{
		"one wide cell":             "<table><tr><td>" + strings.Repeat("wide ", 1000) + strings.Repeat("<tr><td>a", 1000),
		"colspan":                   strings.Repeat("<table><tr><td colspan=1000>abc</td></tr></table>", 500),
		"rowspan":                   "<table>" + strings.Repeat("<tr><td rowspan=60000>abc", 500),
		"formatting never closed":   "<p>" + open.String() + repeat("<p>a"),
		"formatting in paragraphs":  strings.Repeat("<p>"+open.String(), 40),
		"nested lists":              strings.Repeat("<ul><li>", 200) + repeat("<p>a</p>"),
		"nested quotes":             strings.Repeat("<blockquote>", 400) + repeat("<p>a</p>"),
		"nested divs":               strings.Repeat("<div>", 450) + repeat("<p>text "),
		"nested divs of an article": strings.Repeat("<div>", 450) + strings.Repeat(words, 100),
		"nested tables":             strings.Repeat("<table><tr><td>", 100) + repeat("text<br>"),
		"tags":                      strings.Repeat("<br>", 110_000),
		"attributes":                "<p " + repeat("a=b ") + ">text",
		"marks of markdown":         repeat("*_`[](#"),
		"an article":                "<article>" + strings.Repeat(words, 200),
	} {
		for _, whole := range []bool{true, false} {
			if name == "tags" && !whole {
				continue // the way there is the same, and takes a second
			}
			d, err := convert(source, from, whole)
			if err != nil {
				if !strings.Contains(err.Error(), "exceeds 512") {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if len(d.text) > 8*len(source) {
				t.Errorf("%s, whole %v: %d bytes became %d", name, whole, len(source), len(d.text))
			}
			if name == "tags" && !d.cut {
				t.Errorf("%s: not cut", name)
			}
			if name == "an article" && (d.cut || d.main == whole) {
				t.Errorf("%s, whole %v: %+v", name, whole, d)
			}
		}
	}
}

func TestBlocksStayApartWhenNestingIsTakenAway(t *testing.T) {
	from, err := url.Parse("https://example.com/")
	if err != nil {
		t.Fatal(err)
	}
	d, err := convert(strings.Repeat("<div>", 100)+"<div>one</div><div>two <span>and <b>three</b></span></div>", from, true)
	if err != nil || d.cut {
		t.Fatal(err)
	}
	if words := strings.Fields(d.text); strings.Join(words, " ") != "one two and **three**" && strings.Join(words, " ") != "one two and three" {
		t.Errorf("%q", d.text)
	}
}
