package mcpserver

import (
	"context"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

// lists reports whether a method asks for a list that connectors are part of.
func lists(method string) bool {
	switch mcp.MCPMethod(method) {
	case mcp.MethodToolsList, mcp.MethodPromptsList, mcp.MethodResourcesList, mcp.MethodResourcesTemplatesList:
		return true
	}
	return false
}

// learn waits for connectors that do not know yet what they offer, within the bound
// of the configuration. Over stdio the program starts with its client, which is likely
// to ask at once, and many ask once only: what is told later does not reach those.
func (c *stdioConn) learn(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	r, bound := c.server.config.Router, c.server.config.FirstLists
	if bound == 0 {
		close(done)
		return done
	}
	c.calls.Go(func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(ctx, bound)
		defer cancel()
		started := time.Now()
		if err := r.AwaitLists(ctx); err != nil {
			c.server.log.Warn().Err(err).Dur("waited", time.Since(started)).
				Msg("the first lists are without what a connector offers; the client hears of it when it is known")
		}
	})
	return done
}
