package webfetch

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"hearth/internal/plain"
)

// Whatever a host sends becomes text, or an error: no panic, nothing invisible,
// nothing of what stands in scripts.
func FuzzPage(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "site", "*.html"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no pages: %v", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "text/html", true)
		f.Add(data, "text/html; charset=utf-16", false)
	}
	from, err := url.Parse("https://example.com/a/b?c#d")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("\xfe\xff\x00a"), "text/plain; charset=utf-7", true)
	f.Fuzz(func(t *testing.T, data []byte, header string, whole bool) {
		if len(data) > 1<<14 {
			return
		}
		kind, set := mediaType(header, data)
		source, _ := decodedText(data, header, set, isHTML(kind))
		if !utf8.ValidString(source) {
			t.Errorf("%q is not UTF-8", source)
		}
		d, err := convert(source, from, whole)
		if err != nil {
			if !strings.Contains(err.Error(), "exceeds 512") {
				t.Errorf("%v", err)
			}
			return
		}
		for _, text := range []string{d.text, d.title} {
			if !utf8.ValidString(text) || strings.IndexFunc(text, plain.Invisible) >= 0 {
				t.Errorf("%q has what nobody sees", text)
			}
		}
		if strings.ContainsAny(d.title, "\n\r") {
			t.Errorf("the title has lines: %q", d.title)
		}
		p := &page{url: from.String(), title: d.title, text: d.text, chars: utf8.RuneCountInString(d.text)}
		var together string
		for start := 0; start < max(p.chars, 1); {
			r, err := p.part(start, 100)
			if err != nil {
				t.Fatal(err)
			}
			_, body, _ := strings.Cut(r.Content[0].Text, "\n\n")
			together += body
			if n := utf8.RuneCountInString(body); n == 0 {
				break
			} else {
				start += n
			}
		}
		if together != d.text {
			t.Errorf("the parts of %q are %q", d.text, together)
		}
	})
}
