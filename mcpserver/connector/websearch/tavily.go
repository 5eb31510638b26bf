package websearch

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// tavily is the search endpoint of the Tavily API (as documented in 2026).
var tavily = provider{
	name: "Tavily", base: "https://api.tavily.com", needsKey: true,
	request: func(base, key string, s search) (*http.Request, error) {
		if len([]rune(s.Query)) > 400 {
			return nil, errQuery
		}
		ask := struct {
			Query   string   `json:"query"`
			Count   int      `json:"max_results"`
			Depth   string   `json:"search_depth"`
			Domains []string `json:"include_domains,omitempty"`
			Range   string   `json:"time_range,omitempty"`
		}{Query: s.Query, Count: s.Count, Depth: "basic", Range: s.Freshness}
		if s.Site != "" {
			ask.Domains = []string{s.Site}
		}
		body, err := json.Marshal(ask)
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequest(http.MethodPost, base+"/search", bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+key)
		return r, nil
	},
	read: func(body []byte) ([]result, error) {
		var answer struct {
			Results *[]struct {
				Title     string `json:"title"`
				URL       string `json:"url"`
				Content   string `json:"content"`
				Published string `json:"published_date"`
			} `json:"results"`
		}
		if err := decode(body, &answer); err != nil || answer.Results == nil {
			return nil, errAnswer
		}
		out := make([]result, 0, len(*answer.Results))
		for _, r := range *answer.Results {
			out = append(out, result{Title: r.Title, URL: r.URL, Snippet: r.Content, Date: day(r.Published)})
		}
		return out, nil
	},
	refused: func(status int, _ http.Header, _ []byte) error {
		if status == 432 || status == 433 { // limits of the plan, and of what is paid as it is used
			return errQuota
		}
		return nil
	},
}
