package upstream

import (
	"context"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// watchState notices approvals and logins that another process writes.
func (u *Upstream) watchState() {
	w, err := fsnotify.NewWatcher()
	if err == nil {
		err = w.Add(u.cfg.State)
	}
	if err != nil {
		u.log.Warn().Err(err).Msg("approvals of an MCP server's tools count after a restart only")
		return
	}
	defer w.Close()
	for {
		select {
		case e := <-w.Events:
			switch filepath.Base(e.Name) {
			case pinFile:
				if err := u.pins.load(); err != nil {
					u.log.Warn().Err(err).Msg("the approvals of an MCP server's tools cannot be read")
					continue
				}
				u.renew()
			case tokenFile:
				u.forgive()
			}
		case <-w.Errors:
		case <-u.ctx.Done():
			return
		}
	}
}

// forgive lets the next call try again at once.
func (u *Upstream) forgive() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed, u.pause = nil, 0
}

// Watch subscribes to a resource. The session stays as long as anything is watched.
func (u *Upstream) Watch(ctx context.Context, uri string) (func(), error) {
	if len(uri) > maxURIBytes {
		return nil, errLongURI
	}
	u.mu.Lock()
	u.watches[uri]++
	first := u.watches[uri] == 1
	u.mu.Unlock()
	stop := func() { u.unwatch(uri) }
	if !first {
		return stop, nil
	}
	l, err := u.use(ctx)
	if err != nil {
		stop()
		return nil, err
	}
	defer l.leave()
	if err := l.session.Subscribe(ctx, &mcp.SubscribeParams{URI: uri}); err != nil {
		stop()
		return nil, u.failure(ctx, l, err)
	}
	return stop, nil
}

func (u *Upstream) isWatched(uri string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.watches[uri] > 0
}

func (u *Upstream) unwatch(uri string) {
	u.mu.Lock()
	u.watches[uri]--
	last := u.watches[uri] <= 0
	if last {
		delete(u.watches, uri)
	}
	l := u.live
	closed := u.closed
	u.mu.Unlock()
	if !last || l == nil || closed {
		return
	}
	u.spawn(func() {
		ctx, cancel := context.WithTimeout(u.ctx, u.cfg.Connect)
		defer cancel()
		if err := l.session.Unsubscribe(ctx, &mcp.UnsubscribeParams{URI: uri}); err != nil {
			u.log.Debug().Err(err).Msg("an MCP server did not end a subscription")
		}
	})
}
