// Command web asks what stands on the pages of a web site: a small one, served for this
// run, whose figures are in no model.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"hearth/internal/example"
	"hearth/internal/subject"
)

func main() { example.Main("web", setup, nil) }

const configuration = `agent: {rounds: 2}              # a small model that is asked again calls again
connectors:
  - name: web
    webfetch:
      internal_hosts: [%q]       # the site is on this machine: without this line it is refused
      host_interval: -1s         # it may be asked as fast as one likes
`

const page = `<!DOCTYPE html>
<html lang="en"><head><title>%[1]s</title></head>
<body>
<nav><a href="/">Home</a> <a href="/news.html">News</a></nav>
<main><h1>%[1]s</h1>
%[2]s
</main>
<script>document.title = "not run"</script>
</body></html>`

// values are those of one run.
type values struct{ visitors, rooms int }

func newValues(r *rand.Rand) values { return values{1000 + r.IntN(9000), 100 + r.IntN(900)} }

func setup(ctx context.Context, s *example.Stage, r *rand.Rand) (*example.Scene, error) {
	v := newValues(r)
	site := map[string]string{
		"/museum.html": fmt.Sprintf(page, "The museum", fmt.Sprintf("<p>The museum is open all year, from ten to six.</p>\n<p>Last year it had %d visitors.</p>", v.visitors)),
		"/hotel.html":  fmt.Sprintf(page, "The hotel", fmt.Sprintf("<p>The hotel stands by the sea.</p>\n<p>It has %d rooms, each with a balcony.</p>", v.rooms)),
	}
	address, stop, err := subject.ServePages(ctx, site)
	if err != nil {
		return nil, err
	}
	s.Defer(stop)
	tools := []string{"web__fetch"}
	return &example.Scene{
		Configuration: fmt.Sprintf(configuration, address),
		Instructions:  "You answer questions on web pages. Fetch the page first. Answer in one short sentence.",
		Questions: []example.Question{
			{Text: fmt.Sprintf("How many visitors did the museum have last year? See http://%s/museum.html", address), Tools: tools, Answer: fmt.Sprint(v.visitors)},
			{Text: fmt.Sprintf("How many rooms does the hotel have? See http://%s/hotel.html", address), Tools: tools, Answer: fmt.Sprint(v.rooms)},
		},
	}, nil
}
