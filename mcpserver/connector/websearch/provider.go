package websearch

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// search is what is asked for.
type search struct {
	Query string `json:"query"`
	Count int    `json:"count"`
	// Site is a host; results are of it and of those below it.
	Site string `json:"site"`
	// Freshness is "day", "week", "month" or "year"; empty: any age.
	Freshness string `json:"freshness"`
}

// result is one page that was found.
type result struct {
	Title   string `json:"title"`
	URL     string `json:"url"`
	Snippet string `json:"snippet"`
	// Date is when the page was published or changed, as YYYY-MM-DD; empty: the
	// service does not say.
	Date string `json:"date,omitempty"`
}

// provider is how one service is asked and answers.
type provider struct {
	name     string // for people
	base     string // its address; empty: each instance has its own
	needsKey bool
	// request makes the request of a search. The key goes into a header.
	request func(base, key string, s search) (*http.Request, error)
	// read reads the body of an answer with status 200.
	read func(body []byte) ([]result, error)
	// refused says what an answer with another status means, where that is not what
	// the status says.
	refused func(status int, header http.Header, body []byte) error
}

var providers = map[string]provider{"brave": brave, "tavily": tavily, "searxng": searxng}

// What a service refuses a search for.
var (
	errKey   = errors.New("the key is not accepted")
	errQuota = errors.New("the quota is used up")
	errQuery = errors.New("the query is not accepted")
	errJSON  = errors.New("the instance does not answer in JSON")
	// errEngines is no refusal: the engines behind the instance did not answer.
	errEngines = errors.New("the search engines behind the service did not answer")
	errBusy    = errors.New("too many searches")
)

// errAnswer says that an answer is not what the interface promises.
var errAnswer = errors.New("the answer cannot be read")

func decode(body []byte, to any) error {
	if json.Unmarshal(body, to) != nil {
		return errAnswer
	}
	return nil
}

// day brings the dates of the services into one form, or returns "".
func day(s string) string {
	for _, layout := range []string{
		time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly, time.RFC1123, time.RFC1123Z, "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05-07:00",
	} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() > 1900 {
			return t.Format(time.DateOnly)
		}
	}
	return ""
}
