package mcpserver

import (
	"context"
	"encoding/json"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// severities orders the levels of log messages, the least first.
var severities = map[mcp.LoggingLevel]int{
	mcp.LoggingLevelDebug: 1, mcp.LoggingLevelInfo: 2, mcp.LoggingLevelNotice: 3, mcp.LoggingLevelWarning: 4,
	mcp.LoggingLevelError: 5, mcp.LoggingLevelCritical: 6, mcp.LoggingLevelAlert: 7, mcp.LoggingLevelEmergency: 8,
}

// logLevel is the least severe level that a client wants to hear of. It is safe for
// concurrent use.
type logLevel struct {
	least atomic.Pointer[mcp.LoggingLevel]
}

func (l *logLevel) set(level mcp.LoggingLevel) { l.least.Store(&level) }

// get returns info where the client has not said.
func (l *logLevel) get() mcp.LoggingLevel {
	if level := l.least.Load(); level != nil {
		return *level
	}
	return mcp.LoggingLevelInfo
}

// logParams are the parameters of notifications/message.
type logParams struct {
	Level  string          `json:"level"`
	Logger string          `json:"logger,omitempty"`
	Data   json.RawMessage `json:"data"`
}

// level returns where the client's level is kept; nil: nowhere, as without a session.
func (c *call) level() *logLevel {
	switch {
	case c.session != nil:
		return &c.session.level
	case c.conn != nil:
		return &c.conn.level
	}
	return nil
}

// SetLogLevel keeps the level for the calls to come.
func (c *call) SetLogLevel(level mcp.LoggingLevel) {
	if l := c.level(); l != nil {
		l.set(level)
	}
}

// GetLogLevel implements server.SessionWithLogging.
func (c *call) GetLogLevel() mcp.LoggingLevel {
	if l := c.level(); l != nil {
		return l.get()
	}
	return mcp.LoggingLevelInfo
}

// hears settles once which log messages the client of this message gets, and reports
// whether those of the level are among them. In protocol 2026-07-28 the request says
// so; before, the session does, and without one there are none.
func (c *call) hears(ctx context.Context, level mcp.LoggingLevel) bool {
	c.least = 0
	if info := server.RequestProtocolInfoFromContext(ctx); info != nil && info.Modern {
		c.least = severities[info.LogLevel]
	} else if l := c.level(); l != nil {
		c.least = severities[l.get()]
	}
	return c.wants(string(level))
}

// wants reports whether messages of the level go to the client. hears came before.
func (c *call) wants(level string) bool {
	severity := severities[mcp.LoggingLevel(level)]
	return c.least > 0 && severity >= c.least
}
