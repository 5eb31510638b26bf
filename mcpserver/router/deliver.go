package router

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"hearth/inference"
)

// deliver bounds a result by bytes and by tokens. What is cut off says so, and can
// be read as a resource for a while. The result is not changed: it may be shared.
func (r *Router) deliver(ctx context.Context, q *Request, e *Entry, result *Result, record *Record) (*Result, error) {
	record.ResultBytes, record.Withheld = sizeOf(result), result.withheld
	limits := e.connector.limits
	if text := len(result.Structured) + textBytes(result); text <= int(limits.ResultBytes) && text <= limits.ResultTokens && blobBytes(result) <= int(limits.ResultBytes) {
		return result, nil // every token has a byte at least
	}
	count := &counter{}
	if limits.ResultTokens < noBound {
		count = r.counter(ctx, q.Model)
	}
	defer count.close()
	out := *result
	out.Content = make([]Content, 0, len(result.Content)+1)
	room := &room{bytes: int(limits.ResultBytes), tokens: limits.ResultTokens, count: count}
	for i := range result.Content {
		out.Content = append(out.Content, r.bounded(q, e, &result.Content[i], room)...)
	}
	// Structured content mostly says what the text says. It is whole or not there:
	// half a JSON value is none.
	if n := len(result.Structured); n > 0 {
		if _, whole := (&roomOf{int(limits.ResultBytes), limits.ResultTokens}).fits(string(result.Structured), count); !whole {
			out.Structured = nil
			uri := r.results.put(q.Caller.Principal, ResourceContents{MIME: "application/json", Text: string(result.Structured)}, now())
			out.Content = append(out.Content, Content{Type: ContentText, Text: fmt.Sprintf("[The structured result has %d bytes, more than a result may have here. %s]", n, where(uri))})
			out.Content = appendLink(out.Content, e, uri, "application/json", n)
		}
	}
	return &out, nil
}

func textBytes(result *Result) int {
	n := 0
	for i := range result.Content {
		n += len(result.Content[i].Text) + len(result.Content[i].Contents.Text)
	}
	return n
}

func blobBytes(result *Result) int {
	n := 0
	for i := range result.Content {
		n += len(result.Content[i].Data) + len(result.Content[i].Contents.Blob)
	}
	return n
}

// room is what is left of the bounds while pieces are taken.
type room struct {
	bytes, tokens int
	count         *counter
}

// roomOf is the bounds for one piece by itself.
type roomOf struct{ bytes, tokens int }

func (o *roomOf) fits(text string, c *counter) (head string, whole bool) {
	return (&room{bytes: o.bytes, tokens: o.tokens, count: c}).take(text)
}

// take returns the head of text that has room, and takes that room.
func (m *room) take(text string) (head string, whole bool) {
	head = cutBytes(text, m.bytes)
	var used int
	head, used = m.count.cut(head, m.tokens)
	m.bytes -= len(head)
	m.tokens -= used
	return head, len(head) == len(text)
}

// cutBytes returns at most n bytes of text, and no half character at the end.
func cutBytes(text string, n int) string {
	if len(text) <= n {
		return text
	}
	n = max(n, 0)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// bounded returns a piece, or as much of it as there is room for, with a note and a
// link to the whole.
func (r *Router) bounded(q *Request, e *Entry, c *Content, m *room) []Content {
	text, blob := &c.Text, c.Data
	mime := c.MIME
	if c.Type == ContentResource {
		text, blob, mime = &c.Contents.Text, c.Contents.Blob, c.Contents.MIME
	}
	if n := len(blob); n > 0 {
		if n <= m.bytes {
			m.bytes -= n
			return []Content{*c}
		}
		uri := r.results.put(q.Caller.Principal, ResourceContents{MIME: mime, Blob: blob}, now())
		note := fmt.Sprintf("[%s of %d bytes, more than a result may have here. %s]", orData(mime), n, where(uri))
		return appendLink([]Content{{Type: ContentText, Text: note}}, e, uri, mime, n)
	}
	head, whole := m.take(*text)
	if whole {
		return []Content{*c}
	}
	if mime == "" {
		mime = "text/plain"
	}
	uri := r.results.put(q.Caller.Principal, ResourceContents{MIME: mime, Text: *text}, now())
	cut := *c
	note := fmt.Sprintf("\n[Cut here: %d of %d bytes are shown. %s]", len(head), len(*text), where(uri))
	if c.Type == ContentResource {
		cut.Contents.Text = head + note
	} else {
		cut.Text = head + note
	}
	return appendLink([]Content{cut}, e, uri, mime, len(*text))
}

func orData(mime string) string {
	if mime == "" {
		return "Data"
	}
	return mime
}

func where(uri string) string {
	if uri == "" {
		return "It is too large to be kept: ask for less at once."
	}
	return "The whole can be read for a while as the resource " + uri + ", or ask for less at once."
}

func appendLink(to []Content, e *Entry, uri, mime string, size int) []Content {
	if uri == "" {
		return to
	}
	return append(to, Content{Type: ContentLink, Resource: Resource{
		URI: uri, Name: "result of " + e.Name, MIME: mime, Size: int64(size), Description: "The whole result. It is kept for a while, for who asked for it.",
	}})
}

// counter counts the tokens of one model. Without a model everything fits, and the
// bound of bytes is the only one.
type counter struct{ lease inference.Lease }

func (r *Router) counter(ctx context.Context, model string) *counter {
	if r.models == nil {
		return &counter{}
	}
	lease, err := r.models.Acquire(ctx, model)
	if err != nil && model != "" {
		lease, err = r.models.Acquire(ctx, "")
	}
	if err != nil {
		return &counter{}
	}
	return &counter{lease: lease}
}

func (c *counter) close() {
	if c.lease != nil {
		c.lease.Release()
	}
}

// cut returns the head of text that has at most n tokens, and how many those are.
// It ends between two tokens and between two characters.
func (c *counter) cut(text string, n int) (head string, used int) {
	if c.lease == nil || text == "" {
		return text, 0
	}
	if n <= 0 {
		return "", 0
	}
	// A text far longer than n tokens need not be tokenized to its end: words of 64
	// bytes a token are no text.
	scanned := cutBytes(text, min(len(text), 64*n, inference.MaxTextBytes))
	tokens, err := c.lease.Tokenize(scanned, inference.TokenizeOptions{})
	if err != nil {
		return cutBytes(text, 4*n), n
	}
	if len(tokens) <= n {
		return scanned, len(tokens)
	}
	head, err = c.lease.Detokenize(tokens[:n])
	// Some tokenizers add or normalize: only what is a head of the text is one.
	head = strings.ToValidUTF8(head, "")
	if err != nil || !strings.HasPrefix(text, head) {
		return cutBytes(text, commonPrefix(text, head)), n
	}
	return head, n
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
