package websearch

import (
	"net/http"
	"net/url"
)

// searxng is the search API of a SearXNG instance (tested with one of 2026). It
// answers in JSON where its settings name json under search.formats.
var searxng = provider{
	name: "SearXNG",
	request: func(base, key string, s search) (*http.Request, error) {
		q := url.Values{"q": {s.Query}, "format": {"json"}}
		if s.Site != "" {
			q.Set("q", s.Query+" site:"+s.Site)
		}
		if s.Freshness != "" {
			q.Set("time_range", s.Freshness)
		}
		r, err := http.NewRequest(http.MethodGet, base+"/search?"+q.Encode(), nil)
		if err != nil {
			return nil, err
		}
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		return r, nil
	},
	read: func(body []byte) ([]result, error) {
		var answer struct {
			Results *[]struct {
				Title     string  `json:"title"`
				URL       string  `json:"url"`
				Content   string  `json:"content"`
				Published *string `json:"publishedDate"`
			} `json:"results"`
			Unresponsive [][]any `json:"unresponsive_engines"`
		}
		if err := decode(body, &answer); err != nil || answer.Results == nil {
			return nil, errAnswer
		}
		if len(*answer.Results) == 0 && len(answer.Unresponsive) > 0 {
			return nil, errEngines // nothing was found because nobody looked
		}
		out := make([]result, 0, len(*answer.Results))
		for _, r := range *answer.Results {
			found := result{Title: r.Title, URL: r.URL, Snippet: r.Content}
			if r.Published != nil {
				found.Date = day(*r.Published)
			}
			out = append(out, found)
		}
		return out, nil
	},
	refused: func(status int, _ http.Header, _ []byte) error {
		if status == http.StatusForbidden {
			return errJSON
		}
		return nil
	},
}
