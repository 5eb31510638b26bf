package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// failure is the JSON-RPC error that takes the place of mcp-go's, which knows
// one code for everything a handler returns.
type failure struct {
	code    int
	message string
	data    any
	reason  string // the code of the one table; "" for what only the protocol knows
}

// failed tells err as clients see it: the one table of package inference.
func failed(err error) *failure {
	status := inference.Classify(err)
	f := &failure{code: status.RPC, message: status.Message, reason: status.Code}
	data := map[string]any{}
	if status.Field != "" {
		data["field"] = status.Field
	}
	if status.RetryAfter > 0 {
		data["retryAfterMs"] = status.RetryAfter.Milliseconds()
	}
	if len(data) > 0 {
		f.data = data
	}
	return f
}

// response returns the JSON-RPC error response to the request with that
// canonical id; "" stands for an id that could not be read.
func (f *failure) response(id string) []byte {
	if id == "" {
		id = "null"
	}
	data, err := json.Marshal(struct {
		JSONRPC string                  `json:"jsonrpc"`
		ID      json.RawMessage         `json:"id"`
		Error   mcp.JSONRPCErrorDetails `json:"error"`
	}{mcp.JSONRPC_VERSION, json.RawMessage(id), mcp.NewJSONRPCErrorDetails(f.code, f.message, f.data)})
	if err != nil { // ids are canonical, the rest is plain data
		panic("mcpserver: an error response cannot be encoded: " + err.Error())
	}
	return data
}

// status returns the HTTP status that protocol 2026-07-28 gives to the code.
// Older protocols answer every JSON-RPC error with 200.
func (f *failure) status(modern bool) int {
	if !modern {
		return http.StatusOK
	}
	switch f.code {
	case mcp.METHOD_NOT_FOUND:
		return http.StatusNotFound
	case mcp.INVALID_PARAMS, mcp.INVALID_REQUEST, mcp.PARSE_ERROR, mcp.MISSING_REQUIRED_CLIENT_CAPABILITY:
		return http.StatusBadRequest
	default:
		return http.StatusOK
	}
}

// notFoundError is a read of a resource that is not there.
type notFoundError struct {
	uri string
	err error
}

func (e *notFoundError) Error() string { return e.uri + ": " + e.err.Error() }
func (e *notFoundError) Unwrap() error { return e.err }

// onError hears of every request that ends in a JSON-RPC error, before mcp-go
// writes it, and decides what the client reads.
func (s *Server) onError(ctx context.Context, _ any, method mcp.MCPMethod, request any, err error) {
	c := callFrom(ctx)
	if c == nil {
		return
	}
	c.failure = translate(ctx, request, err)
	if c.failure != nil && c.failure.code == mcp.INTERNAL_ERROR {
		s.log.Error().Err(err).Str("method", string(method)).Msg("mcp request failed")
	}
}

// translate returns nil where mcp-go's own error is right.
func translate(ctx context.Context, request any, err error) *failure {
	var unparsable *server.UnparsableMessageError
	if errors.As(err, &unparsable) {
		// The envelope is sound, so it is a parameter of the wrong type.
		var field *json.UnmarshalTypeError
		if errors.As(err, &field) && field.Field != "" {
			return failed(inference.Invalid(field.Field, "a JSON %s cannot stand here", field.Value))
		}
		return failed(inference.Invalid("params", "do not have the form that this method asks for"))
	}
	if call, ok := request.(*mcp.CallToolRequest); ok && errors.Is(err, server.ErrToolNotFound) {
		return failed(inference.Invalid("params.name", "there is no tool %.80q here; tools/list names those there are", call.Params.Name))
	}
	var missing *notFoundError
	if errors.As(err, &missing) {
		code := mcp.RESOURCE_NOT_FOUND
		if server.IsModernRequest(ctx) {
			code = mcp.INVALID_PARAMS
		}
		return &failure{code: code, message: missing.Error(), data: map[string]any{"uri": missing.uri}}
	}
	var lacks *router.CapabilityError
	if errors.As(err, &lacks) && server.IsModernRequest(ctx) {
		return &failure{code: mcp.MISSING_REQUIRED_CLIENT_CAPABILITY, message: lacks.Error(), data: map[string]any{
			"requiredCapabilities": map[string]any{lacks.Capability: struct{}{}},
		}}
	}
	var coded interface{ ToJSONRPCError() mcp.JSONRPCError }
	if errors.As(err, &coded) {
		switch e := coded.ToJSONRPCError().Error; e.Code {
		case mcp.INTERNAL_ERROR:
		case mcp.INVALID_REQUEST:
			return &failure{code: mcp.INVALID_PARAMS, message: e.Message, data: e.Data}
		default:
			return nil
		}
	}
	return failed(err)
}
