package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Progress is told how far a run is.
type Progress struct {
	Done  int   // requests that have ended, of the groups that have a number
	Total int   // requests of the groups that have a number
	Piece int64 // pieces that have arrived, of all groups
}

// Options of a run.
type Options struct {
	Seed uint64
	// OnProgress, if set, is called after each request, from any goroutine.
	OnProgress func(Progress)
	// Client, if set, sends the requests; otherwise [NewHTTPClient] makes one.
	Client *http.Client
}

// Result is one run of a scenario.
type Result struct {
	Scenario Scenario  `json:"scenario"`
	Target   Target    `json:"target"`
	Seed     uint64    `json:"seed"`
	Begin    time.Time `json:"begin"`
	// WindowFrom and WindowTo bound the time in which all groups ran, in
	// milliseconds since Begin.
	WindowFrom float64  `json:"window_from_ms"`
	WindowTo   float64  `json:"window_to_ms"`
	Samples    []Sample `json:"samples"`
}

// errFinished cuts off the groups without a number of requests.
var errFinished = errors.New("the other groups are done")

// runner is the state of one run.
type runner struct {
	target   Target
	scenario Scenario
	opts     Options
	client   *http.Client
	since    func() float64
	begun    map[string]*gate // opens when each client of a group is decoding
	// documents checks the answers of the groups that ask for documents.
	documents map[string]*checker

	pieces atomic.Int64
	done   atomic.Int64

	mu      sync.Mutex
	samples []Sample
	from    float64 // start of the last group
	to      float64 // end of the last request of a group with a number
}

// gate opens when it was passed n times.
type gate struct {
	left atomic.Int64
	open chan struct{}
}

func newGate(n int) *gate {
	g := &gate{open: make(chan struct{})}
	g.left.Store(int64(n))
	return g
}

func (g *gate) pass() {
	if g.left.Add(-1) == 0 {
		close(g.open)
	}
}

// Run sends the scenario to the target and returns the raw samples. A request
// that fails ends the run with an error: a comparison of runs that did not do
// the same work would mean nothing.
func Run(ctx context.Context, t Target, s Scenario, o Options) (*Result, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	r := &runner{target: t, scenario: s, opts: o, client: o.Client, begun: map[string]*gate{}, documents: map[string]*checker{}}
	if r.client == nil {
		r.client = NewHTTPClient()
	}
	for _, g := range s.Groups {
		r.begun[g.Name] = newGate(g.Clients)
		check, err := newChecker(&g)
		if err != nil {
			return nil, fmt.Errorf("scenario %s, group %s: %w", s.Name, g.Name, err)
		}
		r.documents[g.Name] = check
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := time.Now()
	r.since = sinceFunc(begin)

	var finite, endless sync.WaitGroup
	for _, g := range s.Groups {
		group := &finite
		if g.Requests == 0 {
			group = &endless
		}
		for client := range g.Clients {
			group.Go(func() {
				if err := r.loop(ctx, g, client); err != nil {
					cancel(err)
				}
			})
		}
	}
	finite.Wait()
	r.mu.Lock()
	r.to = r.since()
	r.mu.Unlock()
	cancel(errFinished)
	endless.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, errFinished) {
		return nil, fmt.Errorf("run scenario %s: %w", s.Name, cause)
	}
	return &Result{Scenario: s, Target: t, Seed: o.Seed, Begin: begin, WindowFrom: r.from, WindowTo: r.to, Samples: r.samples}, nil
}

// loop is one client: it sends its requests one after another.
func (r *runner) loop(ctx context.Context, g Group, client int) error {
	begun := r.begun[g.Name]
	started := false
	start := func() {
		if !started {
			started = true
			begun.pass()
		}
	}
	// Whoever waits for this group must not wait for ever when it ends early.
	defer start()
	if g.After != "" {
		select {
		case <-r.begun[g.After].open:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		r.mu.Lock()
		r.from = max(r.from, r.since())
		r.mu.Unlock()
	}
	talk := newTalk(r.opts.Seed, r.scenario.Name, &g, client)
	for index := 0; g.Requests == 0 || index < g.Requests; index++ {
		_, turn := g.turn(index)
		s := Sample{Group: g.Name, Client: client, Index: index, Turn: turn}
		var body []byte
		var err error
		send := send
		if g.Texts > 0 {
			send = sendEmbedding
			body, err = embeddingBody(r.target, r.opts.Seed, r.scenario.Name, g, client, index)
		} else {
			body, err = requestBody(r.target, &g, talk.next(index))
		}
		if err != nil {
			return err
		}
		err = send(ctx, r.client, r.target.URL, body, r.since, &s, func(pieces int) {
			r.pieces.Add(1)
			if pieces == startPieces {
				start()
			}
		})
		if err == nil && s.Texts != g.Texts {
			err = fmt.Errorf("%d texts were sent, and %d vectors came back", g.Texts, s.Texts)
		}
		cut := errors.Is(context.Cause(ctx), errFinished)
		switch {
		case err == nil:
			s.Document = r.documents[g.Name].whole(&s)
			talk.answered(index, &s)
		case cut:
			s.Cut = true
		default:
			return fmt.Errorf("client %d of group %s, request %d: %w", client, g.Name, index, err)
		}
		r.record(g, s)
		if cut {
			return nil
		}
	}
	return nil
}

// record keeps a sample and tells the progress.
func (r *runner) record(g Group, s Sample) {
	r.mu.Lock()
	r.samples = append(r.samples, s)
	r.mu.Unlock()
	if g.Requests > 0 {
		r.done.Add(1)
	}
	if r.opts.OnProgress != nil {
		r.opts.OnProgress(Progress{Done: int(r.done.Load()), Total: r.scenario.total(), Piece: r.pieces.Load()})
	}
}
