package mcpserver

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
)

// writeTimeout is how long a client may leave one write unread before the call
// is given up and its slot freed.
const writeTimeout = 30 * time.Second

// reply writes the response to one POST: a JSON document, or, once a
// notification was written, a stream of events that ends with the result. It
// belongs to the goroutine that serves the request; that is what keeps every
// notification and puts it before the result.
type reply struct {
	w       http.ResponseWriter
	control *http.ResponseController
	accepts bool  // the client takes a stream
	stream  bool  // it has begun
	gone    error // a write failed: nobody waits for another
}

func newReply(w http.ResponseWriter, r *http.Request) *reply {
	return &reply{w: w, control: http.NewResponseController(w), accepts: acceptsStream(r.Header.Values("Accept"))}
}

// acceptsStream reads the Accept header. Without one everything is welcome.
func acceptsStream(values []string) bool {
	if len(values) == 0 {
		return true
	}
	for _, entry := range strings.Split(strings.Join(values, ","), ",") {
		switch t, params, err := mime.ParseMediaType(entry); {
		case err != nil || params["q"] == "0":
		case t == "text/event-stream", t == "text/*", t == "*/*":
			return true
		}
	}
	return false
}

// open begins the stream.
func (p *reply) open() {
	if p.stream {
		return
	}
	h := p.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	p.w.WriteHeader(http.StatusOK)
	p.stream = true
}

// begin begins the stream before there is anything to say, so that the client
// knows that it is open.
func (p *reply) begin() error {
	p.open()
	return p.comment()
}

// comment writes what readers of a stream skip.
func (p *reply) comment() error { return p.write([]byte(":\n\n")) }

// event writes one message into the stream, which it begins if need be.
func (p *reply) event(data []byte) error {
	p.open()
	var frame bytes.Buffer
	frame.Grow(len(data) + 32)
	frame.WriteString("event: message\ndata: ")
	frame.Write(bytes.TrimSpace(data)) // encoded JSON: no line break inside
	frame.WriteString("\n\n")
	return p.write(frame.Bytes())
}

// result writes the response: the last event of a stream, or the whole document.
func (p *reply) result(status int, header http.Header, body []byte) error {
	defer p.reset()
	if p.stream {
		return p.event(body)
	}
	h := p.w.Header()
	for k, v := range header {
		h[k] = v
	}
	h.Set("Content-Type", "application/json")
	p.w.WriteHeader(status)
	return p.write(append(bytes.TrimSpace(body), '\n'))
}

// plain writes an answer that is no response to a request, as it is.
func (p *reply) plain(answer *recorder) {
	defer p.reset()
	h := p.w.Header()
	for k, v := range answer.header {
		h[k] = v
	}
	if answer.status != 0 {
		p.w.WriteHeader(answer.status)
	}
	_ = p.write(answer.body.Bytes())
}

func (p *reply) write(data []byte) error {
	if p.gone != nil {
		return p.gone
	}
	// A writer without deadlines (a test's recorder) is written to without one.
	_ = p.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := p.w.Write(data)
	if err == nil && p.stream {
		if err = p.control.Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	if err != nil {
		p.gone = fmt.Errorf("write to the client: %w", err)
	}
	return p.gone
}

// reset gives the connection back without a deadline, for its next request.
func (p *reply) reset() { _ = p.control.SetWriteDeadline(time.Time{}) }
