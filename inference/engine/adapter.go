package engine

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"hearth/inference"
)

// adapterKey tells sets of adapters with their scales apart. The empty one is
// the model as it is.
type adapterKey string

// adapterSet puts what a request asks for into one order, without those of scale
// 0, which change nothing: equal sets have equal keys.
func adapterSet(asked []inference.AdapterScale) ([]inference.AdapterScale, adapterKey) {
	var set []inference.AdapterScale
	for _, a := range asked {
		if a.Scale != 0 {
			set = append(set, a)
		}
	}
	slices.SortFunc(set, func(a, b inference.AdapterScale) int { return cmp.Compare(a.Adapter, b.Adapter) })
	var key []byte
	for _, a := range set {
		key = binary.LittleEndian.AppendUint32(key, uint32(a.Adapter))
		key = binary.LittleEndian.AppendUint32(key, math.Float32bits(a.Scale))
	}
	return set, adapterKey(key)
}

// checkAdapters refuses adapters that the backend does not have.
func checkAdapters(asked []inference.AdapterScale, have int) error {
	if len(asked) > inference.MaxAdapters {
		return inference.Invalid("lora", "may name at most %d adapters, got %d", inference.MaxAdapters, len(asked))
	}
	for i, a := range asked {
		at := fmt.Sprintf("lora[%d]", i)
		if a.Adapter < 0 || a.Adapter >= have {
			return inference.Invalid(at, "there is no adapter %d, the model has %d", a.Adapter, have)
		}
		if slices.ContainsFunc(asked[:i], func(b inference.AdapterScale) bool { return b.Adapter == a.Adapter }) {
			return inference.Invalid(at, "adapter %d is named twice", a.Adapter)
		}
		if err := inference.CheckAdapterScale(at+".scale", a.Scale); err != nil {
			return err
		}
	}
	return nil
}

// adapterTurn is how many steps in a row are computed with the same adapters
// while requests with others wait: a change makes the backend plan its
// computation anew, and a long turn makes the others wait. A turn in which
// prompts took a whole micro-batch ends earlier.
const adapterTurn = 8

// adapterTurns says with which adapters the steps are computed. A batch is
// computed with one set of them, so the sets of the running requests take turns:
// after each turn the set goes on that waits for longest.
type adapterTurns struct {
	key    adapterKey // of the turn
	set    []inference.AdapterScale
	steps  int // of the turn
	tokens int

	loaded  adapterKey // what the backend computes with
	unknown bool       // it failed to change that

	elsewhere int // rows that decode and are not in the plan: other adapters'
}

// takeTurn chooses the adapters of the next step. Planning a step again chooses
// the same, unless nobody is left who could be computed with them.
func (l *loop) takeTurn() {
	t := &l.turns
	t.elsewhere = 0
	if l.t.Adapters == 0 {
		return
	}
	var next *sequence
	more := false
	for _, s := range l.seqs[:l.t.Sequences] {
		switch {
		case s == nil || s.owner == nil || s.waits() || s.aside:
		case s.scope.adapters == t.key:
			more = true
		case next == nil || s.passed > next.passed || s.passed == next.passed && s.ticket < next.ticket:
			next = s
		}
	}
	if next == nil || more && t.steps < adapterTurn && t.tokens < capacity(l.t) {
		return
	}
	t.key, t.set = next.scope.adapters, next.owner.req.adapters
	t.steps, t.tokens = 0, 0
}

// inTurn reports whether s may be computed in this step.
func (l *loop) inTurn(s *sequence) bool {
	return l.t.Adapters == 0 || s.scope.adapters == l.turns.key
}

// adapt makes the backend compute with the adapters of the turn.
func (l *loop) adapt() error {
	t := &l.turns
	if t.loaded == t.key && !t.unknown {
		return nil
	}
	t.unknown = true
	if err := l.b.Adapt(t.set); err != nil {
		return err
	}
	t.loaded, t.unknown = t.key, false
	return nil
}

// noteTurn keeps the accounts of the turns after a step that computed so many
// tokens of prompts.
func (l *loop) noteTurn(prefilled int) {
	if l.t.Adapters == 0 {
		return
	}
	l.turns.steps++
	l.turns.tokens += l.batch.Len()
	for _, s := range l.seqs[:l.t.Sequences] {
		switch {
		case s == nil:
		case s.owner == nil || s.scope.adapters == l.turns.key:
			s.passed = 0
		default:
			s.passed++
		}
	}
	if l.turns.elsewhere > 0 {
		// A chunk that others' rows waited for: as much as one beside rows.
		l.pace.most = max(l.pace.most, prefilled)
	}
}
