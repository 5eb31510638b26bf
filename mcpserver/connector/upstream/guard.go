package upstream

import (
	"context"
	"runtime/debug"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// guarded handles what a server sends of its own accord so that no message of it,
// one that lacks its parameters for instance, ends this process: the SDK handles
// messages on goroutines of its own.
func (u *Upstream) guarded(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, r mcp.Request) (result mcp.Result, err error) {
		defer func() {
			if p := recover(); p != nil {
				u.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Str("method", cut(method, 128)).Msg("a message of an MCP server could not be handled")
				result, err = nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "the message cannot be handled: are its params missing?"}
			}
		}()
		return next(ctx, method, r)
	}
}
