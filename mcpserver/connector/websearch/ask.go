package websearch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"hearth/internal/netguard"
	"hearth/mcpserver/router"
)

// ask asks the service. A *router.ToolError is what the model or its operator may
// mend; any other error says that the service failed, and counts as such.
func (s *Connector) ask(ctx context.Context, a search) ([]result, error) {
	key, err := s.key()
	if err != nil {
		return nil, fmt.Errorf("search: read the key: %w", err)
	}
	r, err := s.provider.request(s.config.URL, key, a)
	if err != nil {
		return nil, s.told(err, "")
	}
	r = r.WithContext(ctx)
	r.Header.Set("Accept", "application/json")
	resp, err := s.guard.Client().Do(r)
	if err != nil {
		return nil, s.failed(ctx, netguard.Explain(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, s.failed(ctx, netguard.Explain(err))
	}
	if key != "" {
		body = bytes.ReplaceAll(body, []byte(key), []byte("(key)"))
	}
	s.log.Debug().Str("provider", s.config.Provider).Int("status", resp.StatusCode).Int("bytes", len(body)).Msg("searched")
	if resp.StatusCode != http.StatusOK {
		return nil, s.refusal(resp, body)
	}
	found, err := s.provider.read(body)
	if err != nil {
		return nil, fmt.Errorf("search with %s: %w", s.provider.name, err)
	}
	return found, nil
}

// failed says that the service could not be asked. It holds neither the request
// nor its address, which the query and the key are parts of.
func (s *Connector) failed(ctx context.Context, why string) error {
	switch {
	case s.calls.Closed() || errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("search with %s: %w", s.provider.name, context.Canceled)
	case ctx.Err() != nil:
		return fmt.Errorf("search with %s: no answer within %s: %w", s.provider.name, s.config.Timeout, context.DeadlineExceeded)
	}
	return fmt.Errorf("search with %s: %s", s.provider.name, why)
}

// refusal says what an answer that is not 200 means.
func (s *Connector) refusal(resp *http.Response, body []byte) error {
	err := s.provider.refused(resp.StatusCode, resp.Header, body)
	if err == nil {
		switch resp.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			err = errKey
		case http.StatusPaymentRequired:
			err = errQuota
		case http.StatusTooManyRequests:
			err = errBusy
		case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestURITooLong:
			err = errQuery
		default:
			return fmt.Errorf("search with %s: status %d", s.provider.name, resp.StatusCode)
		}
	}
	return s.told(err, retryAfter(resp.Header))
}

// told makes of a refusal what the model reads, and the operator in the log.
func (s *Connector) told(err error, wait string) error {
	say := func(format string, args ...any) error {
		return &router.ToolError{Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case errors.Is(err, errKey):
		s.log.Error().Str("provider", s.config.Provider).Str("key", string(s.config.Key)).Msg("the search service does not accept the key")
		return say("%s does not accept the key that is configured; the operator has to mend that", s.provider.name)
	case errors.Is(err, errQuota):
		s.log.Warn().Str("provider", s.config.Provider).Msg("the quota of the search service is used up")
		return say("the quota for searches with %s is used up%s", s.provider.name, wait)
	case errors.Is(err, errBusy):
		return say("%s takes no more searches for now%s", s.provider.name, wait)
	case errors.Is(err, errQuery):
		return say("%s does not take this query: it must have at most 400 characters and 50 words", s.provider.name)
	case errors.Is(err, errJSON):
		s.log.Error().Str("provider", s.config.Provider).Msg("the instance refuses answers in JSON: its settings must name json under search.formats, and let this machine search")
		return say("the %s instance refuses to answer programs; the operator has to allow json under search.formats in its settings", s.provider.name)
	}
	return fmt.Errorf("search with %s: the request cannot be made", s.provider.name)
}

// retryAfter reads when to try again: Retry-After, or Brave's list of the seconds
// until each of its limits is fresh, of which the first is that of the second.
func retryAfter(h http.Header) string {
	wait := h.Get("Retry-After")
	if wait == "" {
		wait, _, _ = strings.Cut(h.Get("X-RateLimit-Reset"), ",")
	}
	n, err := strconv.Atoi(strings.TrimSpace(wait))
	if err != nil {
		if t, err := http.ParseTime(wait); err == nil {
			return "; try again after " + t.UTC().Format("2006-01-02 15:04:05 UTC")
		}
		return ""
	}
	return fmt.Sprintf("; try again after %d seconds", max(n, 1))
}
