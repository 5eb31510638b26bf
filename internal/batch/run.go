package batch

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// MaxConcurrency bounds how many requests are under way at the same time.
const MaxConcurrency = 256

// Options say where and how a run sends its requests.
type Options struct {
	Client *http.Client
	Base   string // of the server, without a slash at the end
	// Model is the model of requests that name none; empty: the server's first.
	Model string
	// Concurrency is how many requests are under way at the same time (1 to
	// MaxConcurrency).
	Concurrency int
	// Retries is how often one request that is answered with 429 or 503 is sent
	// again (0 or more) before the run ends with ErrRefused.
	Retries int
	// OnProgress, which may be nil, is called by the goroutine of Run after every
	// group of lines that was written.
	OnProgress func(Progress)
	// OnLost, which may be nil, is called when a request found no server or lost
	// it, before it is sent again; from many goroutines.
	OnLost func(error)
}

// Progress is how far a batch is, earlier runs included.
type Progress struct {
	Done, Failed, Total int // Failed are a part of Done
}

// Summary is what a run did, without earlier ones.
type Summary struct {
	Answered, Failed int // requests; those that failed are not among the answered
	PromptTokens     int
	CachedTokens     int // of the prompts
	CompletionTokens int
	Elapsed          time.Duration
}

// Run sends the requests of in that have no line in out yet, and returns when
// all have one, or ctx ends (with its cause), or the server is gone or refuses
// for too long (ErrUnreachable, ErrRefused), or a file fails. What was answered
// until then is written, and another run goes on from there. Requests that fail
// for good (a status that is neither 200, 429 nor 503) end nothing: they are
// counted, and stand among the failures.
func Run(ctx context.Context, in *Input, out *Results, o Options) (Summary, error) {
	if o.Concurrency < 1 || o.Concurrency > MaxConcurrency {
		return Summary{}, fmt.Errorf("batch: the concurrency must be between 1 and %d, got %d", MaxConcurrency, o.Concurrency)
	}
	return run(ctx, in, out, newAsker(o))
}

func run(ctx context.Context, in *Input, out *Results, k *asker) (Summary, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	began := time.Now()
	p := Progress{Done: in.Done(), Failed: out.Failed(), Total: in.Total()}
	k.progress(p)

	requests := make(chan *Request)
	answers := make(chan *answer, k.Concurrency)
	var readers, senders sync.WaitGroup
	readers.Go(func() {
		defer close(requests)
		if err := in.pending(ctx, func(r *Request) error {
			select {
			case requests <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}); err != nil {
			stop(err)
		}
	})
	for range k.Concurrency {
		senders.Go(func() {
			for r := range requests {
				a, err := k.ask(ctx, r)
				if err != nil {
					stop(err)
					return
				}
				answers <- a
			}
		})
	}
	go func() {
		readers.Wait()
		senders.Wait()
		close(answers)
	}()

	var s Summary
	var failed error // of the files: nothing is written after it
	for a := range answers {
		group := []*answer{a}
		for more := true; more && len(group) < k.Concurrency; {
			select {
			case next, ok := <-answers:
				if more = ok; ok {
					group = append(group, next)
				}
			default:
				more = false
			}
		}
		if failed != nil {
			continue
		}
		if failed = out.write(group); failed != nil {
			stop(failed)
			continue
		}
		for _, a := range group {
			s.count(a)
			p.Done++
			if a.failed {
				p.Failed++
			}
		}
		k.progress(p)
	}
	s.Elapsed = time.Since(began)
	if failed != nil {
		return s, failed
	}
	return s, context.Cause(ctx)
}

func (k *asker) progress(p Progress) {
	if k.OnProgress != nil {
		k.OnProgress(p)
	}
}

func (s *Summary) count(a *answer) {
	if a.failed {
		s.Failed++
		return
	}
	s.Answered++
	s.PromptTokens += a.usage.Prompt
	s.CachedTokens += a.usage.Details.Cached
	s.CompletionTokens += a.usage.Completion
}
