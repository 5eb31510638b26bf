package openapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"hearth/internal/netguard"
	"hearth/mcpserver/router"
)

// maxProblem bounds what is told of a service's error, in bytes.
const maxProblem = 1500

// explain says why a request failed, without URL and address.
func explain(err error) string { return netguard.Explain(err) }

// Run calls an operation.
func (c *Connector) Run(ctx context.Context, call *router.Call) (*router.Result, error) {
	s := c.now()
	if s == nil {
		return nil, errors.New("the OpenAPI document could not be loaded yet")
	}
	o := s.byName[call.Tool]
	if o == nil {
		return nil, failed("the service has no operation %s any more: list the tools again", call.Tool)
	}
	out, err := o.request(call.Arguments)
	if err != nil {
		return nil, err
	}
	use, _ := s.choose(o)
	for again := false; ; again = true {
		resp, sent, err := c.send(ctx, s, o, out, use, call.Known)
		if err != nil {
			return nil, c.failure(ctx, err)
		}
		if resp.StatusCode == http.StatusUnauthorized && !again && renewed(use) {
			resp.Body.Close()
			continue
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusNotModified && call.Known.Asked(resp) {
			return &router.Result{Unchanged: true}, nil
		}
		result, err := c.answer(ctx, o, resp, sent)
		if err != nil {
			return nil, err
		}
		result.Of(resp)
		return result, nil
	}
}

// renewed says whether a token was refused that can be had anew.
func renewed(use []*credential) bool {
	any := false
	for _, c := range use {
		any = c.forget() || any
	}
	return any
}

func (c *Connector) send(ctx context.Context, s *service, o *operation, out *sending, use []*credential, known *router.Validators) (*http.Response, secrets, error) {
	r, err := out.httpRequest(ctx, o.method)
	if err != nil {
		return nil, nil, err
	}
	var sent secrets
	if err := c.setHeaders(r, &sent); err != nil {
		return nil, nil, err
	}
	for _, cr := range use {
		if err := cr.apply(ctx, s.client, r, &sent); err != nil {
			return nil, nil, err
		}
	}
	known.Ask(r)
	resp, err := s.client.Do(r)
	return resp, sent, err
}

// failure says why there is no answer. Only what the model can mend is its own.
func (c *Connector) failure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, netguard.ErrTooLarge):
		return failed("the answer has more than %d bytes: ask for less, such as fewer items or one page", c.responseBytes())
	case errors.Is(err, netguard.ErrForbidden), errors.Is(err, netguard.ErrRedirect):
		return failed("the service leads to another place, which is not followed: %s", explain(err))
	}
	var known *credentialError
	if errors.As(err, &known) {
		return known
	}
	return fmt.Errorf("the service cannot be reached: %s", explain(err))
}

// answer makes a result of the service's answer.
func (c *Connector) answer(ctx context.Context, o *operation, resp *http.Response, sent secrets) (*router.Result, error) {
	if resp.StatusCode >= 500 {
		return nil, fmt.Errorf("the service answered %s", statusText(resp))
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	if resp.StatusCode >= 300 {
		return nil, failed("%s", sent.scrub(refusal(resp, media, data)))
	}
	switch {
	case o.method == http.MethodHead:
		return router.Text(sent.scrubAnswer(headText(resp))), nil
	case len(data) == 0:
		return router.Text(sent.scrubAnswer("Done: " + statusText(resp) + location(resp))), nil
	case isJSON(media), media == "" && json.Valid(data):
		if r := o.jsonResult(sent.scrubAnswer(string(data)), sent.scrubAnswer(location(resp))); r != nil {
			return r, nil
		}
	case strings.HasPrefix(media, "image/") && media != "image/svg+xml":
		return &router.Result{Content: []router.Content{{Type: router.ContentImage, Data: data, MIME: media}}}, nil
	case strings.HasPrefix(media, "audio/"):
		return &router.Result{Content: []router.Content{{Type: router.ContentAudio, Data: data, MIME: media}}}, nil
	}
	if bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data) && !strings.HasPrefix(media, "text/") {
		return router.Text(fmt.Sprintf("The answer is no text: %d bytes of %s.", len(data), mediaName(media))), nil
	}
	if o.tool.Output != nil {
		return nil, fmt.Errorf("the service promised JSON and answered with %s", mediaName(media))
	}
	return router.Text(sent.scrubAnswer(strings.ToValidUTF8(string(data), "\ufffd"))), nil
}

func mediaName(media string) string {
	if media == "" {
		return "an unknown type"
	}
	return short(media)
}

// jsonResult is a result of JSON; nil where it is none.
func (o *operation) jsonResult(text, location string) *router.Result {
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(strings.TrimPrefix(text, "\ufeff"))); err != nil {
		return nil
	}
	r := router.Text(compact.String() + location)
	r.Structured = compact.Bytes()
	if r.Structured[0] != '{' || o.wrapped {
		r.Structured = slices.Concat([]byte(`{"result":`), r.Structured, []byte(`}`))
	}
	return r
}

func statusText(resp *http.Response) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
}

// location tells where a thing is that was made.
func location(resp *http.Response) string {
	if l := resp.Header.Get("Location"); l != "" {
		return "\n[Location: " + short(l) + "]"
	}
	return ""
}

func headText(resp *http.Response) string {
	out := statusText(resp)
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		switch name {
		case "Connection", "Date", "Keep-Alive", "Server", "Set-Cookie", "Transfer-Encoding", "Vary":
		default:
			out += "\n" + name + ": " + short(resp.Header.Get(name))
		}
	}
	return out
}

// refusal says what the service said about a call that it refused.
func refusal(resp *http.Response, media string, data []byte) string {
	out := "the service answered " + statusText(resp)
	switch {
	case resp.StatusCode < 400:
		return out + ", which leads to another place and is not followed" + location(resp)
	case resp.StatusCode == http.StatusUnauthorized:
		out += " (it wants credentials, or others than the operator configured)"
	case resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") != "":
		out += " (try again after " + short(resp.Header.Get("Retry-After")) + ")"
	}
	if said := problem(media, data); said != "" {
		out += ": " + said
	}
	return out
}

// problem is what an error's body says: the title and detail of RFC 9457, else
// the body itself, cut.
func problem(media string, data []byte) string {
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(data), "\ufffd")), " ")
	switch {
	case isJSON(media) && media == "application/problem+json" && json.Unmarshal(data, &p) == nil && p.Title+p.Detail != "":
		text = joined(p.Title, p.Detail)
		var rest map[string]json.RawMessage
		if json.Unmarshal(data, &rest) == nil {
			for _, known := range []string{"title", "detail", "type", "status", "instance"} {
				delete(rest, known)
			}
			if len(rest) > 0 {
				more, _ := json.Marshal(rest) // it was JSON before
				text += " " + string(more)
			}
		}
	case media == "text/html" || bytes.IndexByte(data, 0) >= 0:
		return ""
	}
	if len(text) > maxProblem {
		text = strings.ToValidUTF8(text[:maxProblem], "") + "… (cut)"
	}
	return text
}
