package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"hearth/inference"
	"hearth/mcpserver/router"
)

const (
	maxWatched = 1000                   // files that are watched at once
	settle     = 100 * time.Millisecond // changes of one file within it are one
)

// watches are the files that are watched. The folders they lie in are what the
// system watches, since a file that is written anew is another file.
type watches struct {
	mu      sync.Mutex
	on      func(router.Change)
	notify  *fsnotify.Watcher
	done    chan struct{}             // closed when the goroutine has ended
	folders map[string]*watchedFolder // by root and path
	byPath  map[string]*watchedFolder // by what the system is told
	count   int
	closed  bool
}

type watchedFolder struct {
	key  string
	dir  *folder // open as long as it is watched: its number is its name
	path string
	// uris are those of each name, with how many watch each.
	uris map[string]map[string]int
}

func (w *watches) tell(on func(router.Change)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = on
}

// Watch looks at a file, which exists, until stop is called.
func (c *Connector) Watch(_ context.Context, uri string) (stop func(), err error) {
	p, err := c.fromURI(uri)
	if err != nil {
		return nil, err
	}
	if _, err := p.root.dir.Lstat(p.rel); errors.Is(err, fs.ErrNotExist) {
		return nil, router.ErrNoResource
	} else if err != nil {
		return nil, c.explain(p, err)
	}
	w := &c.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return nil, fmt.Errorf("watch: %w", inference.ErrShutdown)
	case w.count >= maxWatched:
		return nil, failed("%d files are watched already", maxWatched)
	}
	f, err := w.folder(p)
	if err != nil {
		return nil, c.explain(p, err)
	}
	name := path.Base(p.rel)
	if f.uris[name] == nil {
		f.uris[name] = map[string]int{}
	}
	f.uris[name][uri]++
	w.count++
	return sync.OnceFunc(func() { w.stop(f, name, uri) }), nil
}

// folder watches the folder of a place. The lock is held.
func (w *watches) folder(p place) (*watchedFolder, error) {
	key := join(p.root.Name, path.Dir(p.rel))
	if f := w.folders[key]; f != nil {
		return f, nil
	}
	if w.notify == nil {
		notify, err := fsnotify.NewWatcher()
		if err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
		w.notify, w.done = notify, make(chan struct{})
		w.folders, w.byPath = map[string]*watchedFolder{}, map[string]*watchedFolder{}
		go w.run(notify, w.done)
	}
	dir, err := openDir(p)
	if err != nil {
		return nil, err
	}
	// By the open folder's number and not by its path, which may lead elsewhere by
	// now.
	f := &watchedFolder{key: key, dir: dir, uris: map[string]map[string]int{}}
	err = withFD(dir.File, func(fd int) error {
		f.path = fmt.Sprintf("/proc/self/fd/%d", fd)
		return w.notify.Add(f.path)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch: %w", err), dir.Close())
	}
	w.folders[key], w.byPath[f.path] = f, f
	return f, nil
}

func (w *watches) stop(f *watchedFolder, name, uri string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.count--
	if f.uris[name][uri]--; f.uris[name][uri] > 0 {
		return
	}
	if delete(f.uris[name], uri); len(f.uris[name]) > 0 {
		return
	}
	if delete(f.uris, name); len(f.uris) > 0 {
		return
	}
	delete(w.folders, f.key)
	delete(w.byPath, f.path)
	_ = w.notify.Remove(f.path) // it fails only where the folder is gone, and the watch with it
	_ = f.dir.Close()           // nothing was written
}

// run tells of changes until the watcher is closed.
func (w *watches) run(notify *fsnotify.Watcher, done chan struct{}) {
	defer close(done)
	pending := map[string]bool{}
	var order []string
	var timer <-chan time.Time
	for {
		select {
		case e, ok := <-notify.Events:
			if !ok {
				return
			}
			for _, uri := range w.about(e) {
				if !pending[uri] {
					pending[uri] = true
					order = append(order, uri)
				}
			}
			if timer == nil && len(order) > 0 {
				timer = time.After(settle)
			}
		case _, ok := <-notify.Errors:
			if !ok {
				return
			}
			// The system lost count of what changed: it may be anything.
			order = w.all()
			timer = time.After(settle)
		case <-timer:
			w.mu.Lock()
			on := w.on
			w.mu.Unlock()
			for _, uri := range order {
				if on != nil {
					on(router.Change{Resource: uri})
				}
			}
			clear(pending)
			order, timer = nil, nil
		}
	}
}

// about returns the URIs that an event is about.
func (w *watches) about(e fsnotify.Event) []string {
	if e.Op == fsnotify.Chmod {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.byPath[filepath.Dir(e.Name)]
	if f == nil {
		return nil
	}
	var out []string
	for uri := range f.uris[filepath.Base(e.Name)] {
		out = append(out, uri)
	}
	return out
}

func (w *watches) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, f := range w.folders {
		for _, uris := range f.uris {
			for uri := range uris {
				out = append(out, uri)
			}
		}
	}
	return out
}

func (w *watches) close() error {
	w.mu.Lock()
	w.closed = true
	notify, done := w.notify, w.done
	w.mu.Unlock()
	if notify == nil {
		return nil
	}
	err := notify.Close()
	<-done
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.folders {
		err = errors.Join(err, f.dir.Close())
	}
	return err
}
