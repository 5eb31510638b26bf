package websearch

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// brave is the Web Search API of Brave Search, res/v1 (as documented in 2026).
var brave = provider{
	name: "Brave Search", base: "https://api.search.brave.com", needsKey: true,
	request: func(base, key string, s search) (*http.Request, error) {
		q := url.Values{"q": {s.Query}, "count": {strconv.Itoa(s.Count)}, "text_decorations": {"false"}, "result_filter": {"web"}}
		if s.Site != "" {
			q.Set("q", s.Query+" site:"+s.Site)
		}
		if len([]rune(q.Get("q"))) > 400 || len(strings.Fields(q.Get("q"))) > 50 {
			return nil, errQuery
		}
		if s.Freshness != "" {
			q.Set("freshness", "p"+s.Freshness[:1]) // pd, pw, pm, py
		}
		r, err := http.NewRequest(http.MethodGet, base+"/res/v1/web/search?"+q.Encode(), nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("X-Subscription-Token", key)
		return r, nil
	},
	read: func(body []byte) ([]result, error) {
		var answer struct {
			Type string `json:"type"`
			Web  struct {
				Results []struct {
					Title       string `json:"title"`
					URL         string `json:"url"`
					Description string `json:"description"`
					PageAge     string `json:"page_age"`
				} `json:"results"`
			} `json:"web"`
		}
		if err := decode(body, &answer); err != nil || answer.Type != "search" {
			return nil, errAnswer
		}
		out := make([]result, 0, len(answer.Web.Results))
		for _, r := range answer.Web.Results {
			out = append(out, result{Title: r.Title, URL: r.URL, Snippet: r.Description, Date: day(r.PageAge)})
		}
		return out, nil
	},
	// A key that is wrong, or of another plan, is among what cannot be processed (422).
	refused: func(status int, _ http.Header, body []byte) error {
		var answer struct {
			Error struct {
				Code string `json:"code"`
			} `json:"error"`
		}
		if decode(body, &answer) != nil {
			return nil
		}
		switch {
		case strings.HasPrefix(answer.Error.Code, "SUBSCRIPTION_") || answer.Error.Code == "RESOURCE_NOT_ALLOWED":
			return errKey
		case answer.Error.Code == "QUOTA_LIMITED":
			return errQuota
		case status == http.StatusUnprocessableEntity:
			return errQuery
		}
		return nil
	},
}
