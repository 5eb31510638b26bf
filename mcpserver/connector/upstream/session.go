package upstream

//lint:file-ignore SA1019 servers of the older protocols still sample and log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"hearth/mcpserver/router"
)

// Pauses between attempts to reach a server that failed, doubled each time.
const (
	firstPause = time.Second
	lastPause  = 5 * time.Minute
)

// keepAlive is how often a silent session of the older protocols is asked whether
// it is there; two answers that lack end it.
const keepAlive = time.Minute

// live is one session, with the program that it speaks to.
type live struct {
	session *mcp.ClientSession
	process *process // nil: an address
	hangUp  func()   // ends the stream of the older HTTP; nil: there is none
	gone    chan struct{}
	once    sync.Once

	mu   sync.Mutex
	busy int // calls in flight
	used time.Time
}

// attempt is a connection that is being made, for all who wait for it.
type attempt struct {
	done chan struct{}
	live *live
	err  error
}

// end closes the session, if need be by ending the program first.
func (l *live) end() {
	l.once.Do(func() {
		if l.process == nil {
			_ = l.session.Close()
			if l.hangUp != nil {
				l.hangUp()
			}
			return
		}
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			_ = l.session.Close() // closes the program's input, and may wait for answers
		}()
		l.process.stop()
		<-closed
	})
}

// enter counts a call, leave ends it.
func (l *live) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy++
}

func (l *live) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy--
	l.used = time.Now()
}

func (l *live) idleSince() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used, l.busy == 0
}

// use returns the session, with a call counted: the caller leaves it. It starts
// the server where it does not run. While a server that failed is left alone, the
// error is the one that it failed with.
func (u *Upstream) use(ctx context.Context) (*live, error) {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil, ErrClosed
	}
	if l := u.live; l != nil {
		l.enter()
		u.mu.Unlock()
		return l, nil
	}
	a := u.making
	if a == nil {
		if u.failed != nil && time.Now().Before(u.until) {
			err := u.failed
			u.mu.Unlock()
			return nil, err
		}
		a = &attempt{done: make(chan struct{})}
		u.making = a
		u.spawn(func() { u.connect(a) })
	}
	u.mu.Unlock()
	select {
	case <-a.done:
	case <-ctx.Done():
		return nil, caused(ctx, ctx.Err())
	}
	if a.err != nil {
		return nil, a.err
	}
	a.live.enter()
	return a.live, nil
}

// Start connects now, not with the first call, and reads the lists.
func (u *Upstream) Start(ctx context.Context) error {
	l, err := u.use(ctx)
	if err != nil {
		return err
	}
	l.leave()
	return nil
}

// AwaitLists returns when what the server offers is known and was told, or with the
// error of one attempt to learn it.
func (u *Upstream) AwaitLists(ctx context.Context) error {
	select {
	case <-u.known:
		return nil
	default:
	}
	if err := u.Start(ctx); err != nil {
		return err
	}
	select { // there is a session; its lists may be about to be told
	case <-u.known:
		return nil
	case <-ctx.Done():
		return caused(ctx, ctx.Err())
	case <-u.ctx.Done():
		return ErrClosed
	}
}

// connect makes a session for all who wait. What it offers is read before anybody
// calls, since headers of calls depend on the definitions.
func (u *Upstream) connect(a *attempt) {
	defer close(a.done)
	ctx, cancel := context.WithTimeout(u.ctx, u.cfg.Connect)
	defer cancel()
	l, err := u.dial(ctx)
	var lists *remembered
	if err == nil {
		if lists, err = u.read(ctx, l.session); err != nil {
			l.end()
		}
	}
	u.mu.Lock()
	u.making = nil
	if err == nil && u.closed {
		err = ErrClosed
		defer l.end()
	}
	if err != nil {
		u.pause = min(max(2*u.pause, firstPause), lastPause)
		u.until = time.Now().Add(u.pause)
		u.failed = fmt.Errorf("connect to the MCP server: %w", err)
		a.err = u.failed
		u.mu.Unlock()
		u.log.Warn().Err(err).Dur("pause", u.pause).Msg("an MCP server cannot be used")
		return
	}
	u.live, u.failed, u.pause = l, nil, 0
	a.live = l
	watched := make([]string, 0, len(u.watches))
	for uri := range u.watches {
		watched = append(watched, uri)
	}
	u.spawn(func() { u.attend(l) })
	u.mu.Unlock()
	u.accept(lists)
	for _, uri := range watched {
		if err := l.session.Subscribe(ctx, &mcp.SubscribeParams{URI: uri}); err != nil {
			u.log.Warn().Err(err).Str("uri", uri).Msg("a resource of an MCP server cannot be watched")
		}
	}
}

// attend waits for the end of a session and forgets it. Watched resources make
// another one.
func (u *Upstream) attend(l *live) {
	err := l.session.Wait()
	close(l.gone)
	u.mu.Lock()
	mine := u.live == l
	if mine {
		u.live = nil
	}
	again := mine && !u.closed && len(u.watches) > 0
	u.mu.Unlock()
	l.end()
	if mine && u.ctx.Err() == nil {
		u.log.Info().Err(err).Msg("an MCP server's session ended")
	}
	if again {
		u.spawn(func() { u.retry(func() bool { return u.watching() }) })
	}
}

func (u *Upstream) watching() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.watches) > 0 && u.live == nil && !u.closed
}

// retry connects, again and again with growing pauses, as long as it is wanted.
func (u *Upstream) retry(wanted func() bool) {
	for wanted() && u.ctx.Err() == nil {
		l, err := u.use(u.ctx)
		if err == nil {
			l.leave()
			return
		}
		u.mu.Lock()
		wait := time.Until(u.until)
		u.mu.Unlock()
		await(max(wait, 10*time.Millisecond), u.ctx.Done())
	}
}

// untilKnown reads the lists of a server that nothing is remembered of.
func (u *Upstream) untilKnown() { u.retry(func() bool { return !u.pins.known() }) }

// untilIdle ends sessions that nobody has used for a while.
func (u *Upstream) untilIdle() {
	tick := time.NewTicker(max(u.cfg.Idle/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-u.ctx.Done():
			return
		}
		u.mu.Lock()
		l := u.live
		if l != nil && len(u.watches) == 0 {
			if since, idle := l.idleSince(); idle && time.Since(since) >= u.cfg.Idle {
				u.live = nil
			} else {
				l = nil
			}
		} else {
			l = nil
		}
		u.mu.Unlock()
		if l != nil {
			u.log.Debug().Msg("an MCP server that nobody used is stopped")
			l.end()
		}
	}
}

// drop ends a session that does not answer any more, so that the next call gets
// another.
func (u *Upstream) drop(l *live) {
	u.mu.Lock()
	if u.live == l {
		u.live = nil
	}
	u.mu.Unlock()
	l.end()
}

// dial starts the program or connects to the address.
func (u *Upstream) dial(ctx context.Context) (*live, error) {
	if u.door == nil {
		p, err := start(ctx, &u.cfg, u.log)
		if err != nil {
			return nil, err
		}
		pace := newPace()
		session, err := u.greet(ctx, &mcp.IOTransport{
			Reader: newLines(p, int(u.cfg.MessageBytes), pace, u.log), Writer: &sending{p.stdin, pace}, MaxLineLength: -1,
		}, p)
		if err != nil {
			select {
			case <-p.gone:
				err = fmt.Errorf("the program ended (%s): %w", p.cmd.ProcessState, err)
			default:
			}
			p.stop()
			return nil, err
		}
		return &live{session: session, process: p, gone: make(chan struct{}), used: time.Now()}, nil
	}
	var first error
	if u.cfg.Transport != transportSSE {
		t := &mcp.StreamableClientTransport{Endpoint: u.cfg.URL, HTTPClient: u.door.client(), MaxEventSize: int(u.cfg.MessageBytes)}
		if u.auth != nil {
			t.OAuthHandler = u.auth
			t.HTTPClient.Transport = u.auth.listening(t.HTTPClient.Transport)
		}
		session, err := u.greet(ctx, t, nil)
		if err == nil {
			return &live{session: session, gone: make(chan struct{}), used: time.Now()}, nil
		}
		if u.cfg.Transport != "" || ctx.Err() != nil || errors.Is(err, ErrLogin) {
			return nil, err
		}
		first = err
	}
	client := u.door.client()
	if u.auth != nil {
		client.Transport = u.auth.transport(client.Transport)
	}
	stream, hangUp := context.WithCancel(u.ctx)
	t := &mcp.SSEClientTransport{Endpoint: u.cfg.URL, HTTPClient: client, MaxEventSize: int(u.cfg.MessageBytes)}
	session, err := u.greet(ctx, &outliving{t, stream}, nil)
	if err != nil {
		hangUp()
		if first != nil {
			err = first
		}
		return nil, err
	}
	return &live{session: session, hangUp: hangUp, gone: make(chan struct{}), used: time.Now()}, nil
}

// outliving is a transport whose stream lasts longer than the greeting.
type outliving struct {
	mcp.Transport
	ctx context.Context
}

// Connect connects for as long as the session lasts.
func (o *outliving) Connect(context.Context) (mcp.Connection, error) {
	return o.Transport.Connect(o.ctx)
}

// greet makes the session. The SDK may wait for a server that hangs longer than
// ctx lasts, so it is not waited for.
func (u *Upstream) greet(ctx context.Context, t mcp.Transport, p *process) (*mcp.ClientSession, error) {
	type made struct {
		session *mcp.ClientSession
		err     error
	}
	done := make(chan made, 1)
	u.spawn(func() {
		s, err := u.client().Connect(ctx, t, nil)
		done <- made{s, err}
	})
	select {
	case m := <-done:
		return m.session, m.err
	case <-ctx.Done():
	}
	if p != nil {
		p.stop()
	}
	u.spawn(func() {
		if m := <-done; m.err == nil {
			_ = m.session.Close()
		}
	})
	return nil, fmt.Errorf("the server did not answer within connect_timeout: %w", caused(ctx, ctx.Err()))
}

// client makes an SDK client, one for each session: its handlers know no other.
func (u *Upstream) client() *mcp.Client {
	o := &mcp.ClientOptions{
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		// No roots: a server does not learn what folders there are.
		Capabilities:                &mcp.ClientCapabilities{},
		ElicitationHandler:          u.elicit,
		ProgressNotificationHandler: u.calls.progress,
		LoggingMessageHandler:       newServerLog(u.log).handle,
		ToolListChangedHandler:      func(_ context.Context, r *mcp.ToolListChangedRequest) { u.relist(r.Session) },
		PromptListChangedHandler:    func(_ context.Context, r *mcp.PromptListChangedRequest) { u.relist(r.Session) },
		ResourceListChangedHandler: func(_ context.Context, r *mcp.ResourceListChangedRequest) {
			u.relist(r.Session)
			u.tell(router.Change{Resources: true})
		},
		ResourceUpdatedHandler: func(_ context.Context, r *mcp.ResourceUpdatedNotificationRequest) {
			if u.isWatched(r.Params.URI) {
				u.tell(router.Change{Resource: r.Params.URI})
			}
		},
		KeepAlive: keepAlive, KeepAliveFailureThreshold: 2,
	}
	if u.cfg.Sampling.Mode != samplingOff && u.deps.Models != nil {
		o.CreateMessageHandler = u.sample
	}
	version := u.deps.Version
	if version == "" {
		version = "dev"
	}
	c := mcp.NewClient(&mcp.Implementation{Name: "hearth", Title: "Hearth", Version: version}, o)
	c.AddReceivingMiddleware(u.guarded)
	return c
}
