package webfetch

import (
	"strings"
	"testing"
	"time"
)

func TestRobots(t *testing.T) {
	tests := []struct {
		name, text string
		yes, no    []string
	}{
		{"none", "", []string{"/", "/a"}, nil},
		{"all", "User-agent: *\nDisallow: /\n", []string{"/robots.txt"}, []string{"/", "/a", "/a?b"}},
		{"the longest rule counts", "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /a/b/c\n", []string{"/", "/a/b", "/a/bx"}, []string{"/a", "/ax", "/a/b/c", "/a/b/cd"}},
		{"of two as long, the one that allows", "User-agent: *\nDisallow: /x\nAllow: /x\n", []string{"/x"}, nil},
		{"an empty rule", "User-agent: *\nDisallow:\n", []string{"/"}, nil},
		{"own group before everybody's", "User-agent: *\nDisallow: /\n\nUser-agent: hearth\nDisallow: /private\n", []string{"/", "/a"}, []string{"/private/x"}},
		{"own group, with a version", "User-agent: Hearth/2.0\nDisallow: /\n", nil, []string{"/"}},
		{"another's group", "User-agent: HearthX\nDisallow: /\nUser-agent: Hear\nDisallow: /\n", []string{"/"}, nil},
		{"groups of one product are one", "User-agent: hearth\nDisallow: /a\n\nUser-agent: x\nDisallow: /\n\nUser-agent: HEARTH\nDisallow: /b\n", []string{"/c"}, []string{"/a", "/b"}},
		{"several agents of a group", "User-agent: x\nUser-agent: hearth\nDisallow: /a\n", []string{"/b"}, []string{"/a"}},
		{"wildcards", "User-agent: *\nDisallow: /*.pdf$\nDisallow: /a*b*c\nDisallow: /q*?id=\n", []string{"/x.pdf?y", "/acb", "/x.pdfs"}, []string{"/x.pdf", "/d/x.pdf", "/a1b2c3", "/abc", "/query?id=7"}},
		{"an end", "User-agent: *\nDisallow: /only$\n", []string{"/only/x", "/onlyx"}, []string{"/only"}},
		{"encodings", "User-agent: *\nDisallow: /b%C3%BCcher\nDisallow: /%7Ejoe\nDisallow: /a%2fb\nDisallow: /käse\n", []string{"/a/b"}, []string{"/b%c3%bccher", "/~joe", "/a%2Fb", "/k%C3%A4se"}},
		{"rules before any group", "Disallow: /a\nUser-agent: *\nDisallow: /b\n", []string{"/a"}, []string{"/b"}},
		{"what nobody understands", "\ufeffUSER-AGENT : * # all\n???\nSitemap: http://x/\nDisallow : /b # no\nNoindex: /c\n:\n", []string{"/a", "/c"}, []string{"/b"}},
		{"line ends", "User-agent: *\rDisallow: /a\r\nDisallow: /b", []string{"/c"}, []string{"/a", "/b"}},
	}
	for _, tt := range tests {
		r := parseRobots(tt.text, "Hearth")
		for _, p := range tt.yes {
			if !r.allows(p) {
				t.Errorf("%s: %s is not allowed", tt.name, p)
			}
		}
		for _, p := range tt.no {
			if r.allows(p) {
				t.Errorf("%s: %s is allowed", tt.name, p)
			}
		}
	}
	if d := parseRobots("User-agent: *\nCrawl-delay: 2.5\n", "Hearth").delay; d != 2500*time.Millisecond {
		t.Errorf("Crawl-delay is %s", d)
	}
	for _, bad := range []string{"-1", "x", "NaN", "1e99"} {
		if d := parseRobots("User-agent: *\nCrawl-delay: "+bad+"\n", "Hearth").delay; d != 0 {
			t.Errorf("Crawl-delay %s is %s", bad, d)
		}
	}
}

func FuzzRobots(f *testing.F) {
	f.Add("User-agent: *\nDisallow: /*.pdf$\nAllow: /%7Ea", "/a%2fb.pdf")
	f.Add("User-agent: hearth\nDisallow: /a*b*c$\nCrawl-delay: 3", "/abc")
	f.Add("User-agent: *\nDisallow: /50%", "/%%44a")
	f.Fuzz(func(t *testing.T, text, path string) {
		r := parseRobots(text, "Hearth")
		r.allows(path)
		if !r.allows("/robots.txt") {
			t.Error("robots.txt itself is not allowed")
		}
		if r.delay < 0 || r.delay > time.Hour {
			t.Errorf("delay %s", r.delay)
		}
		if p := normalPath(path); normalPath(p) != p {
			t.Errorf("%q is not in one spelling: %q", path, p)
		}
		// A rule that is the path itself means it.
		if plain := normalPath(path); strings.HasPrefix(plain, "/") && plain != "/robots.txt" && !strings.ContainsAny(plain, "*$#\n\r") {
			if parseRobots("User-agent: *\nDisallow: "+plain, "Hearth").allows(plain) {
				t.Errorf("%q is allowed though a rule names it", plain)
			}
		}
	})
}
