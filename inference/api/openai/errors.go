package openai

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hearth/inference"
)

// newID returns an unguessable id.
func newID(prefix string) string { return prefix + rand.Text() }

// errorBody is OpenAI's error object.
type errorBody struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
}

type errorEnvelope struct {
	Error errorBody `json:"error"`
}

// body makes the error object of a status.
func body(s *inference.Status) errorBody {
	e := errorBody{Message: s.Message, Type: s.Type, Code: s.Code}
	if s.Field != "" {
		e.Param = &s.Field
	}
	return e
}

// fail answers err. Nothing may have been written before.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	s := a.classify(r, err)
	if s.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(s.RetryAfter.Seconds()))))
	}
	a.writeError(w, s.HTTP, body(&s))
}

// statusOf maps err: a body too large, which only HTTP knows, or what is in the
// one table.
func statusOf(err error) inference.Status {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return inference.Status{
			HTTP: http.StatusRequestEntityTooLarge, Type: "invalid_request_error", Code: "body_too_large",
			Message: "the body has more than " + strconv.FormatInt(large.Limit, 10) + " bytes, the most that is read here (server.max_body): send less at once",
		}
	}
	return inference.Classify(err)
}

// classify maps err, and logs what the client is not told.
func (a *API) classify(r *http.Request, err error) inference.Status {
	s := statusOf(err)
	if s.HTTP >= 500 && s.RetryAfter == 0 && !errors.Is(err, context.Canceled) {
		a.cfg.Log.Error().Err(err).Str("request_id", requestID(r)).Str("code", s.Code).Msg("request failed")
	}
	return s
}

func (a *API) writeError(w http.ResponseWriter, status int, e errorBody) {
	a.writeJSON(w, status, errorEnvelope{Error: e})
}

// writeJSON answers with one document, under the write deadline.
func (a *API) writeJSON(w http.ResponseWriter, status int, v any) {
	doc, err := encode(v)
	if err != nil {
		a.cfg.Log.Error().Err(err).Msg("encode a response")
		http.Error(w, `{"error":{"message":"internal error","type":"server_error","param":null,"code":"internal_error"}}`, http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(doc)))
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(a.cfg.WriteTimeout)) // not every writer has deadlines
	w.WriteHeader(status)
	_, err = w.Write(doc)
	if err == nil {
		err = rc.Flush()
	}
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		a.cfg.Log.Debug().Err(err).Msg("the client did not take its response")
		return
	}
	// The connection may carry other requests, which have their own deadline.
	_ = rc.SetWriteDeadline(time.Time{})
}

// encode writes JSON as a person would: '<' stays '<'. It ends in a newline.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// requestID is the id that the server gave to the request, if it did.
func requestID(r *http.Request) string { return strings.TrimSpace(r.Header.Get("X-Request-Id")) }
