package inflight_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hearth/internal/inflight"
)

func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inflight.New()
		call, done, err := c.Begin(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		<-call.Done()
		if !errors.Is(call.Err(), context.DeadlineExceeded) {
			t.Errorf("after its timeout: %v", call.Err())
		}
		done()
		call, done, err = c.Begin(t.Context(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Close(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while a call goes on: %v", err)
		}
		if !c.Closed() || !errors.Is(call.Err(), context.Canceled) {
			t.Errorf("the call's context: %v", call.Err())
		}
		if _, _, err := c.Begin(t.Context(), time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("a call after the end: %v", err)
		}
		done()
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("when all have ended: %v", err)
		}
	})
}
