package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// Deps are what an Upstream is made with.
type Deps struct {
	Log zerolog.Logger
	// Models answer what the server asks of a model; nil: nothing is answered.
	Models inference.Models
	// Version is what the server is told of this program.
	Version string
	// Browse shows a person the address of a login and returns what the browser
	// brought back to redirect; nil: nobody is there, and a login is refused with the
	// command for it.
	Browse func(ctx context.Context, address string) (url.Values, error)
	// Redirect is the address that the browser comes back to, with Browse.
	Redirect string
}

// Errors of a server that cannot be used. Callers see them in a *router.ToolError
// or as the connector's failure.
var (
	// ErrClosed says that the connector was closed.
	ErrClosed = errors.New("the MCP server's connector is closed")
	// ErrLogin says that a person has to log in.
	ErrLogin = errors.New("nobody is logged in")
)

// Upstream is a connector.
type Upstream struct {
	label string
	cfg   Config
	log   zerolog.Logger
	deps  Deps
	door  *door // nil: a program
	auth  *authorizer
	calls *calls
	pins  *pins
	taken *taken // what sampling used

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup // goroutines

	workMu sync.Mutex
	ending bool // no goroutine begins any more

	known chan struct{} // closed when what the server offers was told
	knows func()        // closes it

	renewing  sync.Mutex  // held while the offer is made anew and told
	relisting atomic.Bool // lists are about to be read again
	relists   *bucket

	mu      sync.Mutex
	live    *live
	making  *attempt      // a connection being made
	failed  error         // why the last one was not
	pause   time.Duration // after it
	until   time.Time
	offered offer
	changed func(router.Change)
	watches map[string]int // resources that are watched, and by how many
	closed  bool
}

var (
	_ router.Connector        = (*Upstream)(nil)
	_ router.Changer          = (*Upstream)(nil)
	_ router.Learner          = (*Upstream)(nil)
	_ router.Foreign          = (*Upstream)(nil)
	_ router.ResourceProvider = (*Upstream)(nil)
	_ router.ResourceWatcher  = (*Upstream)(nil)
	_ router.PromptProvider   = (*Upstream)(nil)
	_ router.Completer        = (*Upstream)(nil)
)

// New returns the connector of one server. It reads what is remembered of the
// server and, where nothing is, starts it in the background; it does not wait for
// it. The error is about the configuration or the folder of the state.
func New(cfg Config, label string, d Deps) (*Upstream, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	c := cfg.withDefaults()
	if c.State == "" {
		var err error
		if c.State, err = stateFolder(label); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(c.State, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for what is known of the server: %w", err)
	}
	u := &Upstream{label: label, cfg: c, log: d.Log, deps: d, watches: map[string]int{}, taken: newTaken(c.Sampling.TokensPerMinute)}
	u.known = make(chan struct{})
	u.knows = sync.OnceFunc(func() { close(u.known) })
	u.calls = newCalls()
	u.relists = newBucket(1, 3)
	u.ctx, u.stop = context.WithCancel(context.Background())
	var err error
	if c.URL != "" {
		if u.door, err = newDoor(&c); err != nil {
			return nil, err
		}
		if c.OAuth != nil {
			if u.auth, err = newAuthorizer(&u.cfg, label, d, u.calls.end); err != nil {
				return nil, err
			}
		}
	}
	if u.pins, err = openPins(filepath.Join(c.State, stateFile), u.cfg.source()); err != nil {
		return nil, err
	}
	u.offered = u.offer()
	u.spawn(u.watchState)
	if u.pins.known() {
		u.knows()
	} else {
		u.spawn(u.untilKnown)
	}
	if c.Idle > 0 {
		u.spawn(u.untilIdle)
	}
	return u, nil
}

// stateFolder returns where what is known of a server is kept where its
// configuration does not say.
func stateFolder(label string) (string, error) {
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the folder for what is known of the server: %w; set state", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "hearth", "mcp", label), nil
}

// source says what the remembered lists are of: another program or address is
// another server.
func (c *Config) source() string {
	if c.URL != "" {
		return c.URL
	}
	return fmt.Sprintf("%q", append([]string{c.Command}, c.Args...))
}

// spawn runs f, and Close waits for it. After Close it runs nothing.
func (u *Upstream) spawn(f func()) {
	u.workMu.Lock()
	if u.ending {
		u.workMu.Unlock()
		return
	}
	u.work.Add(1)
	u.workMu.Unlock()
	go func() {
		defer u.work.Done()
		f()
	}()
}

// OnChange sets whom to tell when lists or contents changed.
func (u *Upstream) OnChange(f func(router.Change)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.changed = f
}

func (u *Upstream) tell(c router.Change) {
	u.mu.Lock()
	f := u.changed
	u.mu.Unlock()
	if f != nil {
		f(c)
	}
}

// Close ends the session, the program and all that runs for them.
func (u *Upstream) Close(ctx context.Context) error {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil
	}
	u.closed = true
	l := u.live
	u.live = nil
	u.mu.Unlock()
	u.stop()
	u.workMu.Lock()
	u.ending = true
	u.workMu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if l != nil {
			l.end()
		}
		u.work.Wait()
		if u.door != nil {
			u.door.close()
		}
		if u.auth != nil {
			u.auth.close()
		}
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the MCP server %s: %w", u.label, ctx.Err())
	}
}
