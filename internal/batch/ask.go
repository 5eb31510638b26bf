package batch

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"
)

// MaxAnswerBytes bounds the answer to one request.
const MaxAnswerBytes = 64 << 20

// What ends a run before its last request.
var (
	// ErrUnreachable: the server does not answer any more.
	ErrUnreachable = errors.New("the server does not answer")
	// ErrRefused: the server refuses a request for so long that waiting on is
	// for the caller to decide.
	ErrRefused = errors.New("the server has no room for the request")
)

// Patience with a server, in tries of one request.
const (
	// DefaultRetries is how often a request that is answered with 429 or 503 is
	// sent again.
	DefaultRetries = 100
	// maxUnreachable is how often a request may find no server, or lose it in the
	// middle of the answer; the waits between make about two minutes.
	maxUnreachable = 8
)

// Waits between tries.
const (
	firstWait = time.Second
	longWait  = time.Minute
	maxWait   = 10 * time.Minute // that a server may ask for
)

// responseUsage is what an answer of the Responses API says of tokens.
type responseUsage struct {
	Input        int `json:"input_tokens"`
	Output       int `json:"output_tokens"`
	InputDetails struct {
		Cached int `json:"cached_tokens"`
	} `json:"input_tokens_details"`
}

// usage is what an answer says of tokens.
type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Details    struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// usageOf reads it; none where the answer does not say.
func usageOf(body []byte) usage {
	var counted struct {
		Usage struct {
			usage
			responseUsage
		} `json:"usage"`
	}
	if json.Unmarshal(body, &counted) != nil {
		return usage{}
	}
	out := counted.Usage.usage
	if of := &counted.Usage.responseUsage; of.Input > 0 {
		out.Prompt, out.Completion, out.Details.Cached = of.Input, of.Output, of.InputDetails.Cached
	}
	return out
}

// answer is the line of one request.
type answer struct {
	line   []byte // with its newline
	failed bool   // it belongs into the file of failures
	usage  usage
}

// The line, as OpenAI defines it. One of Response and Error is null.
type outputLine struct {
	ID       string        `json:"id"` // the first member: see linePrefix
	CustomID string        `json:"custom_id"`
	Response *outputAnswer `json:"response"`
	Error    *outputError  `json:"error"`
}

type outputAnswer struct {
	Status    int             `json:"status_code"`
	RequestID string          `json:"request_id"`
	Body      json.RawMessage `json:"body"`
}

type outputError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// asker sends requests. Its methods may be called from many goroutines.
type asker struct {
	Options
	wait func(context.Context, time.Duration) error
	// random returns a number from 0 to below 1.
	random func() float64
}

func newAsker(o Options) *asker { return &asker{Options: o, wait: wait, random: mathrand.Float64} }

// wait returns after d, or with an error when ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask sends a request until it is answered. An error ends the run: the request
// has no answer then.
func (k *asker) ask(ctx context.Context, r *Request) (*answer, error) {
	body, err := r.payload(k.Model)
	if err != nil {
		return nil, fmt.Errorf("write the request %s: %w", quote(r.CustomID), err)
	}
	refused, lost := 0, 0
	for {
		resp, err := k.post(ctx, r.URL, body)
		if err != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var pause time.Duration
		switch {
		case err != nil:
			if lost++; lost == maxUnreachable {
				return nil, fmt.Errorf("%w: %d times in a row, at last for the request %s: %w", ErrUnreachable, lost, quote(r.CustomID), err)
			}
			pause = k.backoff(lost, 0)
			if k.OnLost != nil {
				k.OnLost(err)
			}
		case resp.status == http.StatusTooManyRequests || resp.status == http.StatusServiceUnavailable:
			if refused++; refused > k.Retries {
				return nil, fmt.Errorf("%w %s: it was refused %d times with status %d: %s", ErrRefused, quote(r.CustomID), refused, resp.status, excerpt(resp.body))
			}
			lost = 0
			pause = k.backoff(refused, resp.after)
		default:
			return newAnswer(r, resp)
		}
		if err := k.wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// backoff returns how long to wait before the try after so many: what the server
// asked for and up to a quarter more, or from a half to the whole of a time that
// doubles with every try. Chance keeps those who wait from coming all at once.
func (k *asker) backoff(tries int, asked time.Duration) time.Duration {
	if asked > 0 {
		return asked + time.Duration(k.random()*float64(asked)/4)
	}
	d := min(firstWait<<min(tries-1, 10), longWait)
	return d/2 + time.Duration(k.random()*float64(d)/2)
}

// response is what came back whole.
type response struct {
	status    int
	requestID string
	after     time.Duration // Retry-After, 0 if there is none
	body      []byte
	tooLarge  bool // body is not whole
}

func (k *asker) post(ctx context.Context, url string, body []byte) (*response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.Base+url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := k.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	r := &response{status: resp.StatusCode, requestID: resp.Header.Get("X-Request-Id"), after: retryAfter(resp.Header)}
	if r.body, err = io.ReadAll(io.LimitReader(resp.Body, MaxAnswerBytes+1)); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	r.tooLarge = len(r.body) > MaxAnswerBytes
	return r, nil
}

// retryAfter reads the header: seconds, or a date.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	var d time.Duration
	if seconds, err := strconv.Atoi(v); err == nil {
		d = time.Duration(min(max(seconds, 0), int(maxWait/time.Second))) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = time.Until(at)
	}
	return min(max(d, 0), maxWait)
}

// newAnswer makes the line of a request from what came back.
func newAnswer(r *Request, resp *response) (*answer, error) {
	a := &answer{failed: resp.status != http.StatusOK}
	line := outputLine{ID: newID(), CustomID: r.CustomID}
	switch {
	case resp.tooLarge:
		line.Error = &outputError{"answer_too_large", fmt.Sprintf("the answer has more than %d MiB", MaxAnswerBytes>>20)}
	case !json.Valid(resp.body) || !utf8.Valid(resp.body):
		line.Error = &outputError{"invalid_answer", fmt.Sprintf("the answer, with status %d, is not JSON: %s", resp.status, excerpt(resp.body))}
	default:
		line.Response = &outputAnswer{resp.status, resp.requestID, resp.body}
		a.usage = usageOf(resp.body)
	}
	a.failed = a.failed || line.Error != nil
	var b bytes.Buffer
	enc := json.NewEncoder(&b) // it ends the line, and takes line breaks out of the body
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&line); err != nil {
		return nil, fmt.Errorf("write the answer to %s: %w", quote(r.CustomID), err)
	}
	a.line = b.Bytes()
	return a, nil
}

// excerpt shows the beginning of an answer.
func excerpt(body []byte) string {
	const most = 300
	return fmt.Sprintf("%q", body[:min(len(body), most)])
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return "batch_req_" + hex.EncodeToString(b[:])
}
