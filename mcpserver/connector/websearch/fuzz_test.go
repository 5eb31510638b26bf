package websearch

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"hearth/internal/plain"
)

// Whatever a service answers becomes results of the web, or an error.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"type":"search","web":{"results":[{"title":"a <b>b</b>","url":"https://x.example/","description":"c &amp; d","page_age":"2026-01-02T03:04:05"}]}}`), "")
	f.Add([]byte(`{"results":[{"title":"a","url":"http://a.example.com/?q","content":"Vec<T>","published_date":"Wed, 04 Mar 2026 10:00:00 GMT","publishedDate":"2026-01-02 03:04:05"}],"unresponsive_engines":[["x","y"]]}`), "Example.com")
	f.Fuzz(func(t *testing.T, body []byte, site string) {
		site, ok := hostOf(site)
		if ok && strings.ContainsAny(site, "/ :%") {
			t.Errorf("%q is no host", site)
		}
		for name, p := range providers {
			p.refused(422, nil, body)
			found, err := p.read(body)
			if err != nil {
				continue
			}
			s := &Connector{provider: p}
			r, err := s.answer(search{Query: "q", Count: 7, Site: site}, found)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var out struct{ Results []result }
			if err := json.Unmarshal(r.Structured, &out); err != nil || len(out.Results) > 7 {
				t.Fatalf("%s: %s, %v", name, r.Structured, err)
			}
			if text := r.Content[0].Text; !utf8.ValidString(text) || strings.IndexFunc(text, plain.Invisible) >= 0 {
				t.Errorf("%s: %q has what nobody sees", name, text)
			}
			for _, one := range out.Results {
				u, err := url.Parse(one.URL)
				if err != nil || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(one.Title+one.Snippet+one.URL+one.Date, "\n\r") {
					t.Errorf("%s: %+v", name, one)
				}
				if site != "" && !strings.HasSuffix("."+strings.ToLower(u.Hostname()), "."+site) {
					t.Errorf("%s: %s is not of %s", name, one.URL, site)
				}
			}
		}
	})
}
