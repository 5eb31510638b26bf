package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// The files of a server's state.
const (
	stateFile = "lists.json"
	pinFile   = "pins.json"
	tokenFile = "token.json"
)

// maxStateBytes bounds a file that is read back.
const maxStateBytes = 64 << 20

// pins are what is remembered of a server, in two files: its lists, which are only
// a copy, and the hashes of the definitions that were approved, which another
// process may change.
type pins struct {
	mu       sync.Mutex
	folder   string
	lists    remembered
	approved map[string]string // hash by the server's name of the tool
	seen     bool              // the lists are the server's own
}

// pinned is the file of the hashes.
type pinned struct {
	Source   string            `json:"source"`
	Approved map[string]string `json:"approved"`
}

// openPins reads both files. Lists of another program or address do not count, its
// pins neither.
func openPins(path, source string) (*pins, error) {
	p := &pins{folder: filepath.Dir(path), approved: map[string]string{}}
	p.lists.Source = source
	var lists remembered
	if ok, err := readJSON(path, &lists); err != nil {
		return nil, err
	} else if ok && lists.Source == source {
		p.lists, p.seen = lists, true
	}
	return p, p.load()
}

// load reads the hashes again.
func (p *pins) load() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var file pinned
	ok, err := readJSON(filepath.Join(p.folder, pinFile), &file)
	if err != nil {
		return err
	}
	p.approved = map[string]string{}
	if ok && file.Source == p.lists.Source && file.Approved != nil {
		p.approved = file.Approved
	}
	return nil
}

func (p *pins) known() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

// hash is of all that a model or a person reads of a tool, and all that decides
// how it is called.
func (d *definition) hash() string {
	text, err := json.Marshal(d)
	if err != nil {
		return "" // no definition is approved by it
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// update takes over new lists. Tools that were never seen are approved by being
// seen, unless all are to wait: then only those of the first list are.
func (p *pins) update(lists *remembered, mode string) error {
	unlock, err := lockState(p.folder)
	if err != nil {
		return err
	}
	defer unlock()
	if err := p.load(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	first := len(p.approved) == 0
	added := false
	for i := range lists.Tools {
		d := &lists.Tools[i]
		if _, has := p.approved[d.Name]; !has && (first || mode != pinAll) {
			p.approved[d.Name], added = d.hash(), true
		}
	}
	same := same(p.lists, lists)
	p.lists, p.seen = *lists, true
	if !same || added {
		if err := writeJSON(filepath.Join(p.folder, stateFile), &p.lists); err != nil {
			return err
		}
	}
	if added {
		return writeJSON(filepath.Join(p.folder, pinFile), &pinned{p.lists.Source, p.approved})
	}
	return nil
}

// snapshot returns the lists, and why tools in them wait for an approval.
func (p *pins) snapshot(mode string) (remembered, map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	waits := map[string]string{}
	if mode != pinOff {
		for i := range p.lists.Tools {
			d := &p.lists.Tools[i]
			switch hash, has := p.approved[d.Name]; {
			case !has:
				waits[d.Name] = "the server began to offer it after its first list"
			case hash != d.hash():
				waits[d.Name] = "its definition is not the one that was approved"
			}
		}
	}
	return p.lists, waits
}

// Pending is a tool that waits for an approval.
type Pending struct {
	Name        string // without the label
	Why         string
	Description string
}

// ListPending returns the tools of a server that wait, from the files of its
// state: the server need not run, nor this program's.
func ListPending(cfg Config, label string) ([]Pending, error) {
	u, err := offline(cfg, label)
	if err != nil {
		return nil, err
	}
	lists, waits := u.pins.snapshot(u.cfg.Pin)
	names := u.names(lists.Tools)
	var out []Pending
	for _, d := range lists.Tools {
		if why := waits[d.Name]; why != "" && names[d.Name] != "" {
			out = append(out, Pending{names[d.Name], why, d.Description})
		}
	}
	return out, nil
}

// Approve takes over the definition of one tool as it is now, or of all that wait
// where name is "*". A running server notices. It returns the names.
func Approve(cfg Config, label, name string) ([]string, error) {
	u, err := offline(cfg, label)
	if err != nil {
		return nil, err
	}
	unlock, err := lockState(u.pins.folder)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := u.pins.load(); err != nil {
		return nil, err
	}
	lists, waits := u.pins.snapshot(u.cfg.Pin)
	names := u.names(lists.Tools)
	var done []string
	for i := range lists.Tools {
		d := &lists.Tools[i]
		ours := names[d.Name]
		if waits[d.Name] != "" && ours != "" && (name == "*" || name == ours) {
			u.pins.approved[d.Name] = d.hash()
			done = append(done, ours)
		}
	}
	if len(done) == 0 {
		return nil, fmt.Errorf("no tool %s of %s waits for an approval", name, label)
	}
	return done, writeJSON(filepath.Join(u.pins.folder, pinFile), &pinned{lists.Source, u.pins.approved})
}

// offline is an Upstream that only reads its files.
func offline(cfg Config, label string) (*Upstream, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	u := &Upstream{label: label, cfg: cfg.withDefaults()}
	if u.cfg.State == "" {
		var err error
		if u.cfg.State, err = stateFolder(label); err != nil {
			return nil, err
		}
	}
	var err error
	u.pins, err = openPins(filepath.Join(u.cfg.State, stateFile), u.cfg.source())
	return u, err
}

// lockState keeps processes apart that change the same state.
func lockState(folder string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state of the MCP server: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock the state of the MCP server: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

func readJSON(path string, v any) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxStateBytes {
		return false, fmt.Errorf("%s is no file of at most %d bytes: remove it", path, maxStateBytes)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return false, fmt.Errorf("%s cannot be read: %w; remove it to begin anew", path, err)
	}
	return true, nil
}

// writeJSON replaces a file as a whole, for this user alone.
func writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(raw); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
