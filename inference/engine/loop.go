package engine

import (
	"time"

	"hearth/inference"
	"hearth/inference/prefixstore"
)

// sequence is one sequence id of the backend that holds cells: for the choice
// that owns it, or as an idle prefix that nobody owns.
type sequence struct {
	id    int32
	owner *choice // nil: an idle prefix
	scope scope
	held  int   // positions 0..held-1 are in the cache
	chain chain // the same, for the ledger
	filed bool  // in the index of prefixes

	// Of a running sequence.
	ticket   uint64               // of admission: one waits only for a smaller one
	end      int                  // cells promised, held ones included
	source   *sequence            // the leader whose prefix this one waits for, or nil
	promised int                  // cells that will come from source
	blocks   []*prefixstore.Block // that are still to be loaded, in their order
	until    int                  // the position behind the last token of use in them
	passed   int                  // steps of other adapters since the last of its own
	aside    bool                 // its next tokens are computed beside the steps
	own      bool                 // what comes from source is copied: it takes cells of its own
	copies   int                  // cells that were copied, where a pool would share them

	// Of an idle prefix.
	used     uint64 // loop.decoded when it was last used
	shared   int    // times that its prefix was given to another
	sharedTo int    // the longest of those prefixes
	kept     bool   // the store has all of it, or refused it
}

// future is how many cells s will still take from the free ones.
func (s *sequence) future() int {
	if s.own {
		return max(s.end-s.held, 0)
	}
	return max(s.end-max(s.held, s.promised), 0)
}

// part is what one sequence contributes to a batch.
type part struct {
	c      *choice
	first  int // index of its first token in the batch
	n      int // tokens
	last   bool
	guess  int  // tokens behind them that are guessed
	forced bool // by what the sampler foresaw
}

// loop is the scheduler's state. Only the goroutine of Engine.run touches it.
type loop struct {
	b      Backend
	t      inference.Traits
	cfg    Config
	obs    Observer
	window int // most tokens of one sequence
	share  bool
	pool   bool // the cells are bounded together, however they lie for now
	layout layout

	queue   queue
	seqs    []*sequence // by id; nil: the id is free
	index   *prefixes
	cells   ledger
	future  int // sum of all sequences' future
	running int // sequences with an owner
	serving int // requests of their owners, but for probes
	idle    int // sequences without
	ticket  uint64
	decoded uint64 // rows decoded so far: the clock of idle prefixes
	dirty   bool   // something changed that may let a waiting choice in
	pace    pace
	turns   adapterTurns
	aside   aside

	// Of the store of prefixes: see keep.go.
	store    *prefixstore.Store   // nil: there is none
	chain    []*prefixstore.Block // of a search; reused
	loading  int                  // sequences that get blocks
	runs     [][]byte             // of blocks that are loaded; reused, as ends
	ends     []int32
	saved    int // bytes that this step stored
	saveMost int // saveBytes; tests have less

	// Of the step in hand; the memory is reused.
	batch     inference.Batch
	parts     []part
	prefills  []*choice
	guessed   int               // tokens of the batch that are guesses
	certain   bool              // nothing is guessed in this plan
	turn      int32             // where rows begin when not all fit
	rowCount  int               // of the batch: sequences that decode,
	rowTokens int               // and their tokens, but for guesses
	appended  inference.Sampled // a token that was not drawn
	rows      []inference.SampleRow
	sampled   []inference.Sampled
	sampling  []*choice

	// Of a step that goes ahead: see ahead.go.
	ahead  bool
	began  time.Time
	stops  []*choice   // whose stop string came meanwhile
	mailed func() bool // tells whether somebody wants the loop

	now       func() time.Time
	steps     uint64
	preempted uint64
	lastToken time.Time
	ended     func(*request) // tells the engine that a request is over
	admitted  func(*request) // tells the engine that a request left the queue
	publish   func()         // takes the snapshot of Stats
}

func newLoop(b Backend, cfg Config, obs Observer) *loop {
	t := b.Traits()
	ids := t.Sequences
	if t.Unified {
		ids = min(ids+t.Holders, maxSequences)
	}
	l := &loop{
		b: b, t: t, cfg: cfg, obs: obs,
		window: windowOf(t),
		share:  t.Share && t.TrimTail && !cfg.Prefix.Off,
		pool:   t.Unified,
		seqs:   make([]*sequence, ids),
		index:  newPrefixes(),
		cells:  ledger{unified: t.Unified},
		pace: pace{
			target: float64(cfg.TargetITL), min: cfg.MinChunk,
			max: min(cfg.MaxChunk, capacity(t)),
		},
		saveMost: saveBytes,
		aside:    aside{least: asideLeast, most: asideMost, cells: asideCells},
		rows:     make([]inference.SampleRow, 0, cfg.Sequences+cfg.guesses()),
		sampled:  make([]inference.Sampled, cfg.Sequences+cfg.guesses()),
		sampling: make([]*choice, 0, cfg.Sequences),
		parts:    make([]part, 0, cfg.Sequences),
		prefills: make([]*choice, 0, cfg.Sequences),
		stops:    make([]*choice, 0, cfg.Sequences),
		now:      time.Now,
	}
	l.pace.min = min(l.pace.min, l.pace.max)
	if t.Keep && l.share {
		l.store = cfg.Store
	}
	return l
}

// windowOf is the number of tokens that one sequence can hold.
func windowOf(t inference.Traits) int {
	n := t.Cells
	if !t.Unified && t.Streams == 0 {
		n /= t.Sequences
	}
	if t.Context > 0 {
		n = min(n, t.Context)
	}
	return n
}

// capacity is the most tokens of one step: more than a micro-batch would only
// make the step longer.
func capacity(t inference.Traits) int {
	if t.MicroBatch > 0 {
		return min(t.Batch, t.MicroBatch)
	}
	return t.Batch
}

// step does one round of work and reports whether there was any.
func (l *loop) step() bool {
	if l.ahead {
		l.catchUp()
		return true
	}
	l.saved = 0
	l.admit()
	loaded := l.loadBlocks()
	l.follow()
	l.keepPromises()
	l.lay()
	l.closeGaps()
	l.grow()
	l.expire()
	if l.running > 0 {
		began := l.now()
		computed := l.compute()
		if l.advanceAside(l.now().Sub(began)) || computed {
			return true
		}
	}
	return loaded || l.dirty && l.queue.size > 0 || l.running == 0 && l.keepIdle()
}

// enqueue takes in a submitted request.
func (l *loop) enqueue(r *request) {
	for _, c := range r.choices {
		l.queue.push(c)
	}
	l.dirty = true
}

// change sets what s holds and was promised, and keeps the sum of futures right.
func (l *loop) change(s *sequence, held, promised, end int) {
	l.future -= s.future()
	s.held, s.promised, s.end = held, promised, end
	l.future += s.future()
}

// roomFor reports whether n more cells can be promised if every idle prefix is
// dropped.
func (l *loop) roomFor(n int) bool {
	return !l.pool || l.cells.live+l.future+n <= l.t.Cells
}
