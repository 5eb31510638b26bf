package router

import (
	"container/list"
	"crypto/rand"
	"sync"
	"time"
)

// ResultScheme begins the URIs of results that were cut.
const ResultScheme = "result://"

// results keeps what was cut off results, for a while and for who asked only. The
// ids are random, and the principal is compared, too: to know one opens nothing.
type results struct {
	time time.Duration
	most int64

	mu    sync.Mutex
	bytes int64
	order *list.List // of *kept, the oldest in front
	all   map[string]*list.Element
}

type kept struct {
	uri       string
	principal string
	contents  ResourceContents
	bytes     int64
	until     time.Time
}

func newResults(d time.Duration, most int64) *results {
	return &results{time: d, most: most, order: list.New(), all: map[string]*list.Element{}}
}

// put keeps contents and returns their URI; empty: they are too large to be kept.
func (r *results) put(principal string, c ResourceContents, now time.Time) string {
	size := int64(len(c.Text) + len(c.Blob) + 256)
	if size > r.most {
		return ""
	}
	c.URI = ResultScheme + rand.Text()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	r.all[c.URI] = r.order.PushBack(&kept{uri: c.URI, principal: principal, contents: c, bytes: size, until: now.Add(r.time)})
	r.bytes += size
	for r.bytes > r.most {
		r.drop(r.order.Front())
	}
	return c.URI
}

// get returns what is kept under uri for the principal.
func (r *results) get(principal, uri string, now time.Time) (ResourceContents, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	el := r.all[uri]
	if el == nil || el.Value.(*kept).principal != principal {
		return ResourceContents{}, false
	}
	return el.Value.(*kept).contents, true
}

func (r *results) expire(now time.Time) {
	for el := r.order.Front(); el != nil && !now.Before(el.Value.(*kept).until); el = r.order.Front() {
		r.drop(el)
	}
}

func (r *results) drop(el *list.Element) {
	one := el.Value.(*kept)
	r.order.Remove(el)
	delete(r.all, one.uri)
	r.bytes -= one.bytes
}
