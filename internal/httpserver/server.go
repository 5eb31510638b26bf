package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/rs/zerolog"
	"github.com/rs/zerolog/hlog"
)

// Options are what the composition root adds.
type Options struct {
	Log zerolog.Logger
	// Observe is told each request's method, route, status and duration; may be nil.
	Observe func(method, route string, status int, d time.Duration)
	// Identify runs after all checks and before the routes: it says on whose
	// behalf the request runs. Nil: no such middleware.
	Identify func(http.Handler) http.Handler
}

// Server is a router with the chain in front of it.
type Server struct {
	cfg      Config
	guard    guard
	router   *chi.Mux
	log      zerolog.Logger
	draining atomic.Bool
}

// New makes a server of a checked configuration. Add routes to Router before Serve.
func New(cfg Config, o Options) *Server {
	s := &Server{cfg: cfg, router: chi.NewRouter(), log: o.Log}
	s.Allow(cfg.AllowedHosts, cfg.AllowedOrigins)
	s.router.Use(hlog.NewHandler(o.Log), requestID, accessLog(o.Observe), recoverer, s.guard.middleware, limits(int64(cfg.MaxBody), cfg.BodyTimeout, cfg.WriteTimeout))
	if o.Identify != nil {
		s.router.Use(o.Identify)
	}
	s.router.NotFound(func(w http.ResponseWriter, r *http.Request) {
		Refuse(w, http.StatusNotFound, "not_found", fmt.Sprintf("there is nothing at %s", r.URL.Path))
	})
	s.router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		Refuse(w, http.StatusMethodNotAllowed, "method_not_allowed", fmt.Sprintf("%s does not take the method %s", r.URL.Path, r.Method))
	})
	return s
}

// Router is where routes are added.
func (s *Server) Router() chi.Router { return s.router }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.router.ServeHTTP(w, r) }

// Allow replaces the hosts and origins that are accepted besides the loopback names.
func (s *Server) Allow(hosts, origins []string) { s.guard.allow(hosts, origins) }

// Draining reports whether the server was told to stop.
func (s *Server) Draining() bool { return s.draining.Load() }

// Listen opens the addresses. Either all are open or none.
func Listen(ctx context.Context, addrs []string) ([]net.Listener, error) {
	var all []net.Listener
	for _, addr := range addrs {
		l, err := listen(ctx, addr)
		if err != nil {
			for _, open := range all {
				_ = open.Close()
			}
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	if err := checkListen(addr); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	path, unix := strings.CutPrefix(addr, "unix:")
	if !unix {
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
		return l, nil
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	// Whoever may open the socket is not asked further, so it is the owner's alone.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// removeStale removes the socket that a killed server left, and nothing else.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	if st.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("listen on unix:%s: there is a file that is not a socket", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return fmt.Errorf("listen on unix:%s: another process serves it", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	return nil
}

// Serve answers on the listeners until ctx ends, then stops accepting, calls
// drain (which may be nil) with a context that ends after the drain timeout,
// and waits as long for requests that still run. What runs after that is cut
// off, and the error says so. The listeners are closed in any case.
func (s *Server) Serve(ctx context.Context, listeners []net.Listener, drain func(context.Context)) error {
	srv := &http.Server{
		Handler:           s.router,
		ReadHeaderTimeout: s.cfg.HeaderTimeout,
		IdleTimeout:       s.cfg.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          logAdapter(s.log),
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- srv.Serve(l) }()
	}
	select {
	case err := <-failed:
		_ = srv.Close()
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainTimeout)
	defer cancel()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		if drain != nil {
			drain(deadline)
		}
	}()
	err := srv.Shutdown(deadline)
	<-drained
	if err != nil {
		// drain has cancelled what ran; give the last bytes a moment to leave.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(last) != nil {
			_ = srv.Close()
		}
		return fmt.Errorf("requests were still running %v after the server was told to stop; they were cut off", s.cfg.DrainTimeout)
	}
	return nil
}
