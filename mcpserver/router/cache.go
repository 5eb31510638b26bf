package router

import (
	"container/list"
	"encoding/json"
	"sync"
	"time"

	"hearth/inference"
)

// cache gives results of tools that only read again, to the same principal, while
// the tool's definition is the same. What has validators stays after its time, to be
// asked for by them. The least lately used go first.
type cache struct {
	most int64

	mu    sync.Mutex
	bytes int64
	order *list.List // of *cached, the latest in front
	all   map[string]*list.Element
}

type cached struct {
	key    string
	result *Result // shared: nobody changes it
	bytes  int64
	until  time.Time
}

func newCache(most int64) *cache {
	return &cache{most: most, order: list.New(), all: map[string]*list.Element{}}
}

// cacheKey names the result of a call; empty: it is not kept.
func (e *Entry) cacheKey(caller inference.Caller, arguments json.RawMessage) string {
	if e.cacheable <= 0 {
		return ""
	}
	return digest([]byte(caller.Principal), []byte(caller.Tenant), []byte(e.Definition), arguments)
}

// get returns a result, and whether its time is not over. One that is over has
// validators.
func (c *cache) get(key string, now time.Time) (r *Result, fresh bool) {
	if key == "" {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.all[key]
	if el == nil {
		return nil, false
	}
	one := el.Value.(*cached)
	fresh = now.Before(one.until)
	if !fresh && one.result.Validators == nil {
		c.drop(el)
		return nil, false
	}
	c.order.MoveToFront(el)
	return one.result, fresh
}

// forget drops a result, if it is there.
func (c *cache) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.all[key]; el != nil {
		c.drop(el)
	}
}

func (c *cache) put(key string, r *Result, until time.Time) {
	size := int64(sizeOf(r))
	if size > c.most/4 {
		return // one result shall not push out all others
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.all[key]; el != nil {
		c.drop(el)
	}
	c.all[key] = c.order.PushFront(&cached{key: key, result: r, bytes: size, until: until})
	c.bytes += size
	for c.bytes > c.most {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(el *list.Element) {
	one := el.Value.(*cached)
	c.order.Remove(el)
	delete(c.all, one.key)
	c.bytes -= one.bytes
}

// sizeOf is about what a result takes, in bytes.
func sizeOf(r *Result) int {
	n := 256 + len(r.Structured) + len(r.Meta)
	if v := r.Validators; v != nil {
		n += len(v.ETag) + len(v.LastModified)
	}
	for i := range r.Content {
		c := &r.Content[i]
		n += 256 + len(c.Text) + len(c.Data) + len(c.Contents.Text) + len(c.Contents.Blob) + len(c.Annotations) + len(c.Resource.URI)
	}
	return n
}
