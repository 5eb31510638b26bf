package openapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"hearth/internal/config"
	"hearth/internal/netguard"
	"hearth/mcpserver/router"
)

const (
	atStart   = 5 * time.Second // how long New waits for a document that is fetched
	firstWait = time.Second     // between tries to fetch it, and twice as long each time
	longWait  = time.Minute
)

// Connector offers the operations of a service. It is a router.Connector and
// Changer.
type Connector struct {
	config    Config
	label     string
	log       zerolog.Logger
	documents *netguard.Guard // for the document itself

	mu      sync.Mutex
	service *service // nil: the document could not be loaded yet
	tell    func(router.Change)

	loads sync.Mutex // held while the document is loaded
	stop  context.CancelFunc
	done  sync.WaitGroup
}

var (
	_ router.Connector = (*Connector)(nil)
	_ router.Changer   = (*Connector)(nil)
	_ router.Refresher = (*Connector)(nil)
)

// service is what a document became.
type service struct {
	tools       []router.Tool
	byName      map[string]*operation
	credentials map[string]*credential
	guard       *netguard.Guard
	client      *http.Client
}

// New loads the document. One in a file has to be usable; one that is fetched and
// is not there in time is asked for again, in the background. label is the
// connector's, with which the names of its tools have to fit. The configuration
// must have passed Check.
func New(ctx context.Context, cfg Config, label string, log zerolog.Logger) (*Connector, error) {
	c := &Connector{config: cfg, label: label, log: log}
	if isURL(cfg.Document) {
		policy, err := netguard.Origins(cfg.Document)
		if err != nil {
			return nil, config.Invalid("document", "%v", err)
		}
		if c.documents, err = netguard.New(netguard.Options{Policy: policy, MaxBody: maxDocument, HeaderTimeout: c.timeout()}); err != nil {
			return nil, fmt.Errorf("document: %w", err)
		}
	}
	first, stop := context.WithTimeout(ctx, atStart)
	defer stop()
	err := c.Refresh(first)
	switch {
	case err == nil:
	case !isURL(cfg.Document) || errors.Is(err, errDocument):
		var field *config.FieldError
		if errors.As(err, &field) {
			return nil, err
		}
		return nil, config.Invalid("document", "%v", err)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		log.Warn().Err(err).Msg("the OpenAPI document cannot be had yet, it is asked for again")
	}
	if err != nil || cfg.Refresh > 0 {
		background, cancel := context.WithCancel(context.WithoutCancel(ctx))
		c.stop = cancel
		c.done.Go(func() { c.keep(background, err == nil) })
	}
	return c, nil
}

// keep loads the document until it is there, and then as often as configured.
func (c *Connector) keep(ctx context.Context, loaded bool) {
	wait := firstWait
	for {
		if loaded {
			wait = c.config.Refresh
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		err := c.Refresh(ctx)
		switch {
		case err == nil:
			loaded = true
		case ctx.Err() != nil:
			return
		default:
			c.log.Warn().Err(err).Bool("old_kept", loaded).Msg("the OpenAPI document cannot be loaded")
			wait = min(2*wait, longWait)
		}
		if loaded && c.config.Refresh == 0 {
			return
		}
	}
}

// Refresh loads the document anew. On an error what was there stays.
func (c *Connector) Refresh(ctx context.Context) error {
	c.loads.Lock()
	defer c.loads.Unlock()
	doc, err := c.readDocument(ctx)
	if err != nil {
		return err
	}
	l := &loading{config: &c.config, label: c.label, doc: doc}
	next, err := c.build(l)
	if err != nil {
		return err
	}
	if len(l.left) > 0 {
		c.log.Warn().Strs("operations", l.left).Msg("some operations of the OpenAPI document are not offered")
	}
	var without []string
	for _, t := range next.tools {
		if _, ok := next.choose(next.byName[t.Name]); !ok {
			without = append(without, t.Name)
		}
	}
	if len(without) > 0 {
		c.log.Info().Strs("tools", without).Msg("the OpenAPI document wants credentials for some operations, and none are configured")
	}
	c.mu.Lock()
	old := c.service
	c.service = next
	tell := c.tell
	c.mu.Unlock()
	if old != nil {
		old.guard.Close()
	}
	if tell != nil && (old == nil || !reflect.DeepEqual(old.tools, next.tools)) {
		tell(router.Change{Tools: true})
	}
	return nil
}

// build makes a service of a document. The library and the conversion see what a
// stranger may have written.
func (c *Connector) build(l *loading) (s *service, err error) {
	defer func() {
		if r := recover(); r != nil {
			s, err = nil, unusable("it cannot be read (%v)", r)
		}
	}()
	operations, err := l.operations()
	if err != nil {
		return nil, err
	}
	s = &service{byName: map[string]*operation{}, credentials: l.credentials()}
	var origins []string
	for _, o := range operations {
		s.byName[o.tool.Name] = o
		s.tools = append(s.tools, o.tool)
		origins = append(origins, o.base.Scheme+"://"+o.base.Host)
	}
	for _, cr := range s.credentials {
		if cr.tokenURL != "" {
			origins = append(origins, cr.tokenURL)
		}
	}
	slices.Sort(origins)
	policy, err := netguard.Origins(slices.Compact(origins)...)
	if err != nil {
		return nil, config.Invalid("base_url", "%v", err)
	}
	s.guard, err = netguard.New(netguard.Options{
		Policy: policy, MaxBody: c.responseBytes(), HeaderTimeout: c.timeout(),
		OnRedirect: func(r *http.Request) error {
			// 301 to 303 would turn a write into a read without a word.
			if was := r.Response.Request.Method; was != r.Method {
				return http.ErrUseLastResponse
			}
			return nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("base_url: %w", err)
	}
	s.client = s.guard.Client()
	return s, nil
}

func (c *Connector) timeout() time.Duration {
	if c.config.Timeout == 0 {
		return defaultTimeout
	}
	return c.config.Timeout
}

func (c *Connector) responseBytes() int64 {
	if c.config.ResponseBytes == 0 {
		return defaultResponse
	}
	return int64(c.config.ResponseBytes)
}

func (c *Connector) now() *service {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.service
}

// Tools returns the operations that are offered, in the order of their paths.
func (c *Connector) Tools() []router.Tool {
	if s := c.now(); s != nil {
		return s.tools
	}
	return nil
}

// OnChange sets whom to tell when other operations are offered than before.
func (c *Connector) OnChange(tell func(router.Change)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell = tell
}

// Close ends what runs in the background. Calls end by their own contexts.
func (c *Connector) Close(context.Context) error {
	if c.stop != nil {
		c.stop()
	}
	c.done.Wait()
	if c.documents != nil {
		c.documents.Close()
	}
	if s := c.now(); s != nil {
		s.guard.Close()
	}
	return nil
}
