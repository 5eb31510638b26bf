package mcpserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/mark3labs/mcp-go/server"
	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// Defaults of Config.
const (
	DefaultMaxBodyBytes       = 4 << 20
	DefaultMaxCallsPerSession = 64
)

// Config is what the server needs.
type Config struct {
	Models inference.Models // required
	Log    zerolog.Logger
	// Version is reported to clients; required.
	Version string
	// AllowedOrigins lists the web pages, as scheme://host[:port], that may use
	// the endpoint besides those of a loopback host.
	AllowedOrigins []string
	// MaxBodyBytes bounds one message; 0: DefaultMaxBodyBytes.
	MaxBodyBytes int64
	// MaxCallsPerSession bounds the requests that one session, or one stdio
	// connection, has in flight; 0: DefaultMaxCallsPerSession.
	MaxCallsPerSession int
	// FirstLists bounds how long the first lists over stdio wait for connectors of the
	// Router that do not know yet what they offer; 0: not at all.
	FirstLists time.Duration
	// RequestID returns the id under which the request that ctx belongs to is
	// logged, "" if it has none; nil: every call gets a fresh one.
	RequestID func(ctx context.Context) string
	// Refused, unless it is nil, is told of each call of chat, embed, generate and rerank that
	// never reached a model: once, on the goroutine of the call, before the
	// client is answered. Of all others the model has heard.
	Refused func(context.Context, inference.Refusal)
	// Router has the tools, those of the models (Tools) among them, and the resources
	// and prompts of connectors; required.
	Router *router.Router
	// Select says what of all this the server offers; nil: all of it.
	Select *Selection
	// Via names the door through which a message came, for records; nil: "mcp".
	Via func(context.Context) string
}

// Server is the MCP server. It is safe for concurrent use and holds no
// goroutine beyond those of the requests it serves.
type Server struct {
	config   Config
	log      zerolog.Logger
	mcp      *server.MCPServer
	endpoint *endpoint

	routed      *routedTools
	hub         *hub
	parked      *parked
	selected    *selection
	unsubscribe func()
}

// New returns a server. An error names what is wrong with the configuration.
func New(c Config) (*Server, error) {
	if c.Models == nil {
		return nil, errors.New("mcpserver: Models is missing")
	}
	if c.Version == "" {
		return nil, errors.New("mcpserver: Version is missing")
	}
	if c.Router == nil {
		return nil, errors.New("mcpserver: Router is missing")
	}
	if c.MaxBodyBytes < 0 || c.MaxCallsPerSession < 0 || c.FirstLists < 0 {
		return nil, errors.New("mcpserver: MaxBodyBytes, MaxCallsPerSession and FirstLists must not be negative; 0 means the default")
	}
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = DefaultMaxBodyBytes
	}
	if c.MaxCallsPerSession == 0 {
		c.MaxCallsPerSession = DefaultMaxCallsPerSession
	}
	s := &Server{config: c, log: c.Log, selected: newSelection(c.Select), hub: newHub(c.Router), parked: newParked()}
	hooks := &server.Hooks{}
	hooks.AddOnError(s.onError)
	s.catalogHooks(hooks)
	s.changeHooks(hooks)
	options := []server.ServerOption{
		server.WithTitle("Hearth"),
		server.WithToolCapabilities(false),
		server.WithResourceCapabilities(true, false),
		server.WithCompletions(),
		server.WithResourceCompletionProvider(completer{s}),
		server.WithHooks(hooks),
		server.WithLogging(),
		server.WithToolFilter(s.visible),
		server.WithPromptCapabilities(false),
		server.WithPromptCompletionProvider(completer{s}),
	}
	if c.Select == nil {
		options = append(options, server.WithInstructions(instructions)) // they tell of all tools
	}
	s.mcp = server.NewMCPServer("hearth", c.Version, options...)
	s.registerResources()
	s.offerRouted()
	var err error
	if s.endpoint, err = newEndpoint(s); err != nil {
		return nil, fmt.Errorf("mcpserver: %w", err)
	}
	return s, nil
}

const instructions = "A language model that runs on this server. " +
	"Use `chat` for an answer to a message or a conversation, `generate` to continue a text, " +
	"`embed` for vectors of texts, `rerank` to order texts by how well they answer a query, `count_tokens` before sending something long, " +
	"`list_models` to see which models are served and how much context they have. " +
	"With a progressToken, chat and generate stream: the message fields of the progress notifications, joined, are the text."

// Drain ends the streams on which clients hear of changes, which would go on for
// ever, and refuses nothing: calls end by themselves.
func (s *Server) Drain() {
	s.hub.drain()
}

// Close ends what follows the router. Requests have ended by then.
func (s *Server) Close() {
	s.Drain()
	s.unsubscribe()
	s.parked.close()
	s.endpoint.sessions.close()
	s.hub.ending.Wait()
}

// Handler returns the handler of the endpoint /mcp. The Host header is not
// looked at: the HTTP server checks it for all routes.
func (s *Server) Handler() http.Handler { return s.endpoint }

func (s *Server) requestID(ctx context.Context) string {
	if s.config.RequestID != nil {
		if id := s.config.RequestID(ctx); id != "" {
			return id
		}
	}
	return "mcp-" + rand.Text()
}

// slogger returns a logger for mcp-go, which speaks slog.
func slogger(l zerolog.Logger) *slog.Logger {
	return slog.New(zerolog.NewSlogHandler(l))
}
