package webfetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/html/charset"

	"hearth/internal/netguard"
	"hearth/internal/plain"
	"hearth/mcpserver/router"
)

// maxDelay bounds the pause that a robots.txt asks for.
const maxDelay = 10 * time.Second

// How long a robots.txt counts, and how long its host is taken at its word when
// there is none to be had (RFC 9309, section 2.4).
const (
	keepRobots   = 24 * time.Hour
	keepNoRobots = time.Minute
)

type keptRobots struct {
	rules *robots
	until time.Time
}

// page returns a page, from the cache where the host lets it.
func (f *Connector) page(ctx context.Context, tenant string, u *url.URL, whole bool) (*page, error) {
	key := tenant + "\x00" + u.String() + "\x00" + strconv.FormatBool(whole)
	old, _ := f.pages.get(key)
	if old != nil && time.Now().Before(old.fresh) {
		return old, nil
	}
	if err := f.mayFetch(ctx, u); err != nil {
		return nil, f.toolError(u, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, f.toolError(u, err)
	}
	r.Header.Set("Accept", "text/html, application/xhtml+xml, text/markdown, text/plain, application/json, */*;q=0.5")
	r.Header.Set("Accept-Encoding", encodings)
	if old != nil {
		old.validators.Ask(r)
	}
	resp, err := f.client.Do(r)
	if err != nil {
		return nil, f.toolError(u, err)
	}
	defer resp.Body.Close()
	f.log.Debug().Str("host", u.Host).Int("status", resp.StatusCode).Msg("page fetched")
	if resp.StatusCode == http.StatusNotModified && old != nil && old.validators.Asked(resp) {
		again := *old
		again.fetched = time.Now().UTC()
		again.fresh, again.keep = f.freshness(resp.Header)
		f.pages.put(key, &again, again.size())
		return &again, nil
	}
	p, err := f.read(resp, whole)
	if err != nil {
		return nil, f.toolError(u, err)
	}
	if p.keep {
		f.pages.put(key, p, p.size())
	}
	return p, nil
}

// read turns a response into a page.
func (f *Connector) read(resp *http.Response, whole bool) (*page, error) {
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, &router.ToolError{Message: statusText(resp)}
	}
	p := &page{url: resp.Request.URL.String(), fetched: time.Now().UTC(), validators: router.ValidatorsOf(resp)}
	p.fresh, p.keep = f.freshness(resp.Header)
	// What is no text by its header is not read.
	header := resp.Header.Get("Content-Type")
	if kind, _, err := mime.ParseMediaType(header); err == nil && !isHTML(kind) && !isText(kind) && strings.Contains(kind, "/") && kind != "application/octet-stream" && kind != "application/x-unknown" {
		return nil, noText(kind, resp)
	}
	body, err := decompressed(resp)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, broken(err)
	}
	var data []byte
	var more bool
	if err == nil {
		data, more, err = readAtMost(body, int64(f.config.MaxBytes))
	}
	switch {
	case more:
		p.notes = append(p.notes, fmt.Sprintf("The page is longer than %s; only that much of it was read.", f.config.MaxBytes))
	case err == nil || errors.Is(err, io.EOF):
	case len(data) > 0 && (errors.Is(err, netguard.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)):
		p.notes = append(p.notes, fmt.Sprintf("The page did not arrive whole in time; what follows are its first %d bytes.", len(data)))
		p.keep = false
	case len(data) > 0 && errors.Is(err, io.ErrUnexpectedEOF):
		p.notes = append(p.notes, fmt.Sprintf("The host broke off; what follows are the first %d bytes of the page.", len(data)))
		p.keep = false
	default:
		return nil, broken(err)
	}
	kind, set := mediaType(header, data)
	if !isHTML(kind) && !isText(kind) {
		return nil, noText(kind, resp)
	}
	text, used := decodedText(data, header, set, isHTML(kind))
	if set != "" && used != "" && !sameSet(set, used) {
		p.notes = append(p.notes, fmt.Sprintf("The host calls the character set %.40q; the text is %s.", set, used))
	}
	if !isHTML(kind) {
		p.text = strings.TrimSpace(plain.Text(strings.ReplaceAll(text, "\r\n", "\n")))
	} else {
		d, err := convert(text, resp.Request.URL, whole)
		if err != nil {
			f.log.Debug().Err(err).Str("host", resp.Request.URL.Host).Msg("page not converted")
			return nil, &router.ToolError{Message: "the page cannot be read as HTML: it is damaged, or nested too deeply"}
		}
		if d.moves != "" {
			p.notes = append(p.notes, "The page sends its readers on to "+d.moves)
		}
		if d.cut {
			p.notes = append(p.notes, "The structure of the page is too large; what follows is its beginning.")
		}
		p.title, p.published, p.text, p.partOnly = d.title, d.published, d.text, d.main
	}
	p.chars = utf8.RuneCountInString(p.text)
	return p, nil
}

// broken tells damaged contents from a connection that failed.
func broken(err error) error {
	var lost net.Error
	if errors.As(err, &lost) || errors.Is(err, netguard.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	return &router.ToolError{Message: "the page arrived damaged: its compression cannot be undone, or the host broke off"}
}

func noText(kind string, resp *http.Response) error {
	size := "of unknown size"
	if resp.ContentLength >= 0 {
		size = "of " + strconv.FormatInt(resp.ContentLength, 10) + " bytes"
	}
	name := path.Base(resp.Request.URL.Path)
	what := "a file of type " + plain.Line(kind, 100)
	if kind == "application/pdf" {
		what = "a PDF (application/pdf)"
	}
	return &router.ToolError{Message: fmt.Sprintf("%s is %s, %s. This tool reads HTML, plain text, markdown, JSON and XML only.", strconv.Quote(plain.Line(name, 100)), what, size)}
}

func statusText(resp *http.Response) string {
	text := fmt.Sprintf("the host answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		text += ": there is no such page"
	case http.StatusUnauthorized, http.StatusForbidden:
		text += ": the page is not open to everybody"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if s := resp.Header.Get("Retry-After"); s != "" {
			text += "; it asks to try again after " + plain.Line(s, 40)
			if _, err := strconv.Atoi(s); err == nil {
				text += " seconds"
			}
		}
	}
	return text
}

// toolError makes of what kept a page from being fetched what the model reads.
func (f *Connector) toolError(u *url.URL, err error) error {
	var told *router.ToolError
	if errors.As(err, &told) {
		return told
	}
	if f.calls.Closed() {
		return context.Canceled
	}
	f.log.Debug().Err(errors.Unwrap(err)).Str("host", u.Host).Msg("page not fetched")
	if errors.Is(err, context.DeadlineExceeded) {
		return &router.ToolError{Message: fmt.Sprintf("%s did not answer within %s", u.Host, f.config.Timeout)}
	}
	text := netguard.Explain(err)
	if !strings.HasPrefix(text, u.Hostname()) {
		text = u.Host + ": " + text
	}
	return &router.ToolError{Message: text}
}

// freshness says how long a page may be given again without asking, and whether
// it may be kept at all.
func (f *Connector) freshness(h http.Header) (until time.Time, keep bool) {
	if f.config.Keep < 0 {
		return time.Time{}, false
	}
	life := f.config.Keep
	for _, line := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(strings.ToLower(line), ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			switch name {
			case "no-store":
				return time.Time{}, false
			case "no-cache":
				life = 0
			case "max-age":
				if n, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32); err == nil {
					life = min(life, time.Duration(max(n, 0))*time.Second)
				}
			}
		}
	}
	return time.Now().Add(life), true
}

func (p *page) size() int { return len(p.text) + len(p.title) + len(p.url) + 512 }

// sameSet says that the name that a host gave is that of the set used.
func sameSet(named, used string) bool {
	_, canonical := charset.Lookup(named)
	return canonical == used
}
