package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"

	"hearth/internal/telemetry"
)

// startPrivate serves the model of cfg in this process, over connections in
// memory, and returns when it is ready. It is the same server as hearth serve's:
// the same checks, limits and audit records. The caller closes it.
func startPrivate(ctx context.Context, cfg Config, errOut io.Writer) (*batchServer, error) {
	if err := checkFiles(&cfg); err != nil {
		return nil, err
	}
	log := telemetry.NewLogger(cfg.Telemetry, errOut, isTerminal(errOut))
	if err := initNative(log, cfg.Engine.RPC); err != nil {
		return nil, err
	}
	// It serves until close, also while an interrupted caller still writes.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	a, err := newApp(serving, cfg, log, nil)
	if err != nil {
		stop()
		return nil, err
	}
	listener := newMemoryListener()
	client := &http.Client{Transport: &http.Transport{DialContext: listener.dial, MaxIdleConnsPerHost: maxIdleConnections}}
	ended := make(chan error, 1)
	go func() { ended <- a.serve(serving, []net.Listener{listener}) }()
	shut := func() error {
		client.CloseIdleConnections()
		stop()
		err := <-ended
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		return errors.Join(err, a.close(closing))
	}
	watch := watchLoading(ctx, errOut, a.models)
	if err := a.models.Wait(ctx, ""); err != nil {
		err = errors.Join(err, shut())
		watch.Wait()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, modelError(err)
	}
	watch.Wait()
	r := &remote{base: "http://localhost", client: client}
	return &batchServer{source{models: r, where: "this process", cfg: cfg, close: shut}, r}, nil
}

// memoryListener is a listener whose connections never leave the process.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newMemoryListener() *memoryListener {
	l := &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

// Accept returns the server's end of the next connection.
func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and dial; connections stay open.
func (l *memoryListener) Close() error {
	l.close()
	return nil
}

// Addr is a name: there is no address.
func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

// dial returns the client's end of a new connection.
func (l *memoryListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type memoryAddr struct{}

// Network and String name what there is instead of an address.
func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory" }
