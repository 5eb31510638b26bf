package webfetch

import (
	"container/list"
	"sync"
	"time"

	"hearth/mcpserver/router"
)

// Bounds of a cache: entries, and bytes of what they hold.
const (
	maxEntries    = 256
	maxCacheBytes = 32 << 20
)

// cache keeps values of bounded number and size, and drops what was not used for
// longest.
type cache[V any] struct {
	mu    sync.Mutex
	order list.List // front: used last; of *cached[V]
	byKey map[string]*list.Element
	bytes int
}

type cached[V any] struct {
	key   string
	value V
	bytes int
}

func (c *cache[V]) get(key string) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		var none V
		return none, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached[V]).value, true
}

// put keeps a value of about so many bytes. One larger than the cache is not kept.
func (c *cache[V]) put(key string, value V, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.drop(e)
	}
	if bytes > maxCacheBytes {
		return
	}
	if c.byKey == nil {
		c.byKey = map[string]*list.Element{}
	}
	c.byKey[key] = c.order.PushFront(&cached[V]{key, value, bytes})
	c.bytes += bytes
	for len(c.byKey) > maxEntries || c.bytes > maxCacheBytes {
		c.drop(c.order.Back())
	}
}

func (c *cache[V]) drop(e *list.Element) {
	old := c.order.Remove(e).(*cached[V])
	delete(c.byKey, old.key)
	c.bytes -= old.bytes
}

// page is the text of a page as it is kept.
type page struct {
	url       string // where it came from, behind redirects
	title     string
	published time.Time // zero: the page does not say
	fetched   time.Time
	text      string // markdown or plain text
	chars     int    // characters of text
	notes     []string
	partOnly  bool // text is the main part of the page, there is more
	// What the host said about keeping it.
	fresh      time.Time // until then it is given without asking
	keep       bool
	validators *router.Validators // by what it is asked whether it changed; nil: it cannot be
}
