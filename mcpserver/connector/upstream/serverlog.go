package upstream

//lint:file-ignore SA1019 servers of the older protocols still sample and log

import (
	"context"
	"encoding/json"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/rs/zerolog"
)

// serverLog writes what a server logs into the log, cut, and so much a second.
type serverLog struct {
	log     zerolog.Logger
	allowed *bucket
}

func newServerLog(log zerolog.Logger) *serverLog {
	return &serverLog{log, newBucket(logPerSecond, 5*logPerSecond)}
}

func (s *serverLog) handle(_ context.Context, r *mcp.LoggingMessageRequest) {
	level := zerolog.DebugLevel
	switch r.Params.Level {
	case "warning":
		level = zerolog.InfoLevel
	case "error", "critical", "alert", "emergency":
		// It is the server's trouble, not ours.
		level = zerolog.WarnLevel
	}
	e := s.log.WithLevel(level)
	if s.log.GetLevel() > level || !s.allowed.take(1) {
		return
	}
	text, ok := r.Params.Data.(string)
	if !ok {
		raw, err := json.Marshal(r.Params.Data)
		if err != nil {
			return
		}
		text = string(raw)
	}
	e.Str("said", cut(text, logLineBytes)).Str("logger", cut(r.Params.Logger, 128)).Msg("an MCP server logged")
}
