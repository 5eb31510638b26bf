package webfetch

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRequestsToOneHostAreKeptApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		begin := time.Now()
		var mu sync.Mutex
		var at []time.Duration
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := p.wait(t.Context(), "a", time.Second); err != nil {
					t.Error(err)
				}
				mu.Lock()
				at = append(at, time.Since(begin))
				mu.Unlock()
			})
		}
		if err := p.wait(t.Context(), "b", time.Second); err != nil || time.Since(begin) != 0 {
			t.Errorf("another host waits %s, %v", time.Since(begin), err)
		}
		wg.Wait()
		for i, d := range at {
			if d != time.Duration(i)*time.Second {
				t.Errorf("the times are %v", at)
				break
			}
		}
		// Who would have to wait longer than there is time takes no turn.
		short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := p.wait(short, "a", time.Second); !errors.Is(err, context.DeadlineExceeded) || short.Err() != nil {
			t.Errorf("without time: %v", err)
		}
		if err := p.wait(t.Context(), "a", time.Second); err != nil || time.Since(begin) != 4*time.Second {
			t.Errorf("after that: %s, %v", time.Since(begin), err)
		}
		gone, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if err := p.wait(gone, "a", time.Second); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
		for i := range 3 * maxHosts {
			_ = p.wait(t.Context(), strconv.Itoa(i), time.Nanosecond)
			<-time.After(time.Microsecond)
		}
		if n := len(p.next); n > maxHosts+1 {
			t.Errorf("%d hosts are remembered", n)
		}
	})
}

func TestTheCacheIsBounded(t *testing.T) {
	var c cache[int]
	for i := range 2 * maxEntries {
		c.put(strconv.Itoa(i), i, 10)
		c.get("0")
	}
	if v, ok := c.get("0"); !ok || v != 0 || len(c.byKey) != maxEntries || c.order.Len() != maxEntries {
		t.Errorf("%d entries, 0 is there: %v", len(c.byKey), ok)
	}
	if _, ok := c.get("1"); ok {
		t.Error("what was not used for longest is still there")
	}
	c.put("big", 1, maxCacheBytes+1)
	if _, ok := c.get("big"); ok {
		t.Error("a value larger than the cache is kept")
	}
	for i := range 5 {
		c.put("half"+strconv.Itoa(i), i, maxCacheBytes/2)
	}
	if c.bytes > maxCacheBytes {
		t.Errorf("%d bytes are kept", c.bytes)
	}
	c.put("half4", 9, 1)
	if v, _ := c.get("half4"); v != 9 || c.bytes > maxCacheBytes/2+1 {
		t.Errorf("replaced: %d, %d bytes", v, c.bytes)
	}
}
