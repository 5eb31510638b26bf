package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"hearth/internal/config"
	"hearth/mcpserver/router"
)

// Connector offers folders. It is a router.Connector, ResourceProvider,
// ResourceWatcher, Completer and Changer.
type Connector struct {
	config Config
	log    zerolog.Logger
	roots  []*root
	deny   *denied
	tools  []router.Tool

	writing sync.Mutex // held by the call that changes files

	watches watches
	once    sync.Once
}

var (
	_ router.Connector        = (*Connector)(nil)
	_ router.ResourceProvider = (*Connector)(nil)
	_ router.ResourceWatcher  = (*Connector)(nil)
	_ router.Completer        = (*Connector)(nil)
	_ router.Changer          = (*Connector)(nil)
)

// New opens the folders. The configuration must have passed Check.
func New(cfg Config, log zerolog.Logger) (_ *Connector, err error) {
	c := &Connector{config: cfg.withDefaults(), log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.closeRoots())
		}
	}()
	patterns := slices.Clone(cfg.Deny)
	if !cfg.AllowSecrets {
		patterns = append(patterns, Secrets...)
	}
	if c.deny, err = newDenied(patterns); err != nil {
		return nil, fmt.Errorf("deny: %w", err)
	}
	for i, r := range cfg.Roots {
		dir, err := os.OpenRoot(r.Path)
		if err != nil {
			return nil, config.Invalid(fmt.Sprintf("roots[%d].path", i), "the folder cannot be opened: %v", err)
		}
		opened := &root{r, dir}
		c.roots = append(c.roots, opened)
		f, err := place{opened, "."}.openFolder()
		if err != nil {
			return nil, config.Invalid(fmt.Sprintf("roots[%d].path", i), "%s cannot be offered: %v", r.Path, err)
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("close %s: %w", r.Path, err)
		}
	}
	c.tools = c.describe()
	return c, nil
}

// Tools returns list, read and search, and write, move and delete where a folder
// allows them.
func (c *Connector) Tools() []router.Tool { return c.tools }

// Run calls a tool.
func (c *Connector) Run(ctx context.Context, call *router.Call) (*router.Result, error) {
	switch call.Tool {
	case "list":
		return run(ctx, call, c.list)
	case "read":
		return run(ctx, call, c.read)
	case "search":
		return run(ctx, call, c.search)
	case "write":
		return run(ctx, call, c.write)
	case "move":
		return run(ctx, call, c.move)
	case "delete":
		return run(ctx, call, c.delete)
	}
	return nil, fmt.Errorf("there is no tool %q", call.Tool)
}

func run[A any](ctx context.Context, call *router.Call, tool func(context.Context, *A) (*router.Result, error)) (*router.Result, error) {
	args := new(A)
	if err := json.Unmarshal(call.Arguments, args); err != nil {
		return nil, fmt.Errorf("read the arguments: %w", err)
	}
	return tool(ctx, args)
}

// OnChange sets whom to tell of changes of watched files.
func (c *Connector) OnChange(tell func(router.Change)) { c.watches.tell(tell) }

// Close closes the folders. Calls that run end with an error.
func (c *Connector) Close(context.Context) error {
	var err error
	c.once.Do(func() { err = errors.Join(c.watches.close(), c.closeRoots()) })
	return err
}

func (c *Connector) closeRoots() error {
	var all []error
	for _, r := range c.roots {
		all = append(all, r.dir.Close())
	}
	return errors.Join(all...)
}
