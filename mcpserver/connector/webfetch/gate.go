package webfetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hearth/internal/netguard"
	"hearth/mcpserver/router"
)

// mayFetch says whether robots.txt lets u be fetched, and waits for the turn of
// its host. It is asked before every request, also one that a redirect makes.
func (f *Connector) mayFetch(ctx context.Context, u *url.URL) error {
	interval := max(f.config.HostInterval, 0)
	if !f.config.IgnoreRobots {
		rules, err := f.rulesOf(ctx, u)
		if err != nil {
			return err
		}
		target := u.EscapedPath()
		if target == "" {
			target = "/"
		}
		if u.RawQuery != "" {
			target += "?" + u.RawQuery
		}
		if !rules.allows(target) {
			if rules == nothing {
				return &router.ToolError{Message: fmt.Sprintf("%s has a robots.txt that cannot be read now, so its pages are not fetched; try again later", u.Host)}
			}
			return &router.ToolError{Message: fmt.Sprintf("the robots.txt of %s does not allow this page to be fetched by a program", u.Host)}
		}
		interval = max(interval, min(rules.delay, maxDelay))
	}
	if err := f.pace.wait(ctx, u.Host, interval); err != nil {
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return &router.ToolError{Message: fmt.Sprintf("too many pages of %s are asked for at once; try again later", u.Host)}
		}
		return err
	}
	return nil
}

// rulesOf returns what the robots.txt of a host says, asking for it where it is
// not known or too old.
func (f *Connector) rulesOf(ctx context.Context, u *url.URL) (*robots, error) {
	key := u.Scheme + "://" + u.Host
	if kept, ok := f.robots.get(key); ok && time.Now().Before(kept.until) {
		return kept.rules, nil
	}
	rules, keep, err := f.askRobots(ctx, key)
	if err != nil {
		return nil, err
	}
	f.robots.put(key, keptRobots{rules, time.Now().Add(keep)}, 1024+64*len(rules.rules))
	return rules, nil
}

// askRobots fetches a robots.txt. A host without one (any 4xx) allows everything;
// one whose file cannot be had (5xx, no answer) allows nothing for a while.
func (f *Connector) askRobots(ctx context.Context, origin string) (*robots, time.Duration, error) {
	r, err := http.NewRequestWithContext(context.WithValue(ctx, robotsKey{}, true), http.MethodGet, origin+"/robots.txt", nil)
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("Accept", "text/plain, */*;q=0.5")
	r.Header.Set("Accept-Encoding", encodings)
	resp, err := f.client.Do(r)
	switch {
	case errors.Is(err, netguard.ErrRedirect):
		return everything, keepRobots, nil // more than five redirects: as if there were none
	case err != nil && (errors.Is(err, netguard.ErrForbidden) || ctx.Err() != nil):
		return nil, 0, err
	case err != nil:
		return nil, 0, err // the page itself would fail alike, and this error says why
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 500:
		return nothing, keepNoRobots, nil
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return everything, keepRobots, nil
	}
	body, err := decompressed(resp)
	if err != nil {
		return nothing, keepNoRobots, nil
	}
	data, _, err := readAtMost(body, maxRobots) // what is longer does not count
	if err != nil {
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		return nothing, keepNoRobots, nil
	}
	return parseRobots(strings.ToValidUTF8(string(data), "\ufffd"), f.agent), keepRobots, nil
}
