package httpserver

import (
	"log"
	"strings"

	"github.com/rs/zerolog"
)

// logAdapter lets net/http report broken connections into our log. They are
// the clients' doing, so they are not errors of the server.
func logAdapter(l zerolog.Logger) *log.Logger { return log.New(lineWriter{l}, "", 0) }

type lineWriter struct{ log zerolog.Logger }

func (w lineWriter) Write(p []byte) (int, error) {
	w.log.Debug().Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}
