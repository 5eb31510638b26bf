package router

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"hearth/inference"
)

// readingRoom has resources and prompts, and asks ask for both.
type readingRoom struct {
	fakeConnector
	ask func(ctx context.Context) error
}

func (l *readingRoom) Resources(context.Context, string, int) ([]Resource, string, error) {
	return nil, "", nil
}

func (l *readingRoom) ResourceTemplates(context.Context) ([]ResourceTemplate, error) { return nil, nil }

func (l *readingRoom) ReadResource(ctx context.Context, uri string) ([]ResourceContents, error) {
	return []ResourceContents{{URI: uri, Text: "text"}}, l.ask(ctx)
}

func (l *readingRoom) Prompts() []Prompt { return []Prompt{{Name: "one"}} }

func (l *readingRoom) Prompt(ctx context.Context, _ string, _ map[string]string) (string, []PromptMessage, error) {
	return "one", nil, l.ask(ctx)
}

// TestLimitsOfReads holds resources and prompts to the limits that calls are held to.
func TestLimitsOfReads(t *testing.T) {
	for what, ask := range map[string]func(context.Context, *Router) error{
		"resource": func(ctx context.Context, r *Router) error {
			_, err := r.ReadResource(ctx, inference.Caller{Principal: "p"}, "", "books+x://1")
			return err
		},
		"prompt": func(ctx context.Context, r *Router) error {
			_, _, err := r.Prompt(ctx, inference.Caller{Principal: "p"}, "", "books__one", nil)
			return err
		},
	} {
		with := func(t *testing.T, c Config, l Limits, ask func(context.Context) error) *Router {
			t.Helper()
			r, err := New(c, Deps{Log: zerolog.Nop()})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Add("books", &readingRoom{ask: ask}, Options{Limits: l}); err != nil {
				t.Fatal(err)
			}
			return r
		}
		nothing := func(context.Context) error { return nil }
		t.Run(what+" rate of the connector", func(t *testing.T) {
			r := with(t, DefaultConfig(), Limits{Rate: Rate{1, time.Hour}}, nothing)
			if err := ask(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := ask(t.Context(), r); !errors.Is(err, inference.ErrBusy) {
				t.Fatalf("the second: %v, want ErrBusy", err)
			}
		})
		t.Run(what+" rate of the principal", func(t *testing.T) {
			c := DefaultConfig()
			c.Rate = Rate{1, time.Hour}
			r := with(t, c, Limits{}, nothing)
			if err := ask(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := ask(t.Context(), r); !errors.Is(err, inference.ErrBusy) {
				t.Fatalf("the second: %v, want ErrBusy", err)
			}
		})
		t.Run(what+" calls of the principal", func(t *testing.T) {
			c := DefaultConfig()
			c.Calls = 1
			var r *Router
			var inner error
			r = with(t, c, Limits{}, func(ctx context.Context) error {
				inner = ask(ctx, r) // while the first one runs
				return nil
			})
			if err := ask(t.Context(), r); err != nil || !errors.Is(inner, inference.ErrBusy) {
				t.Fatalf("the first: %v; one beside it: %v, want ErrBusy", err, inner)
			}
			if r.principals.all["p"].running != 0 {
				t.Error("a place was not given back")
			}
		})
		t.Run(what+" bulkhead and timeout", func(t *testing.T) {
			var r *Router
			var inner error
			r = with(t, DefaultConfig(), Limits{Concurrent: 1, Timeout: 20 * time.Millisecond}, func(ctx context.Context) error {
				inner = ask(context.WithoutCancel(ctx), r) // waits for the place of this one
				<-ctx.Done()
				return ctx.Err()
			})
			if err := ask(t.Context(), r); !errors.Is(err, inference.ErrDeadline) || !errors.Is(inner, inference.ErrDeadline) {
				t.Fatalf("the first: %v; one beside it: %v, want ErrDeadline", err, inner)
			}
		})
		t.Run(what+" breaker", func(t *testing.T) {
			asked := 0
			r := with(t, DefaultConfig(), Limits{}, func(context.Context) error {
				if asked++; asked == 1 {
					panic("broken")
				}
				return errors.New("out of order")
			})
			for range breakerFailures + 1 {
				if err := ask(t.Context(), r); !errors.Is(err, ErrUnavailable) {
					t.Fatalf("%v, want ErrUnavailable", err)
				}
			}
			if asked != breakerFailures {
				t.Fatalf("the connector was asked %d times, want %d", asked, breakerFailures)
			}
		})
	}
}
