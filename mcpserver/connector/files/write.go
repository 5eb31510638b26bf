package files

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"hearth/mcpserver/router"
)

// tempPrefix begins the name of a file that is being written.
const tempPrefix = ".hearth-"

type writeArgs struct {
	Path    string `json:"path"`
	Content string `json:"content"`
	Mode    string `json:"mode"`
	Old     string `json:"old"`
}

func (c *Connector) write(ctx context.Context, a *writeArgs) (*router.Result, error) {
	if (a.Mode == "replace") != (a.Old != "") {
		return nil, failed("old: must be given with mode replace, and with no other: it is the text that content replaces")
	}
	if int64(len(a.Content)) > int64(c.config.WriteBytes) {
		return nil, failed("content: has %d bytes, a file may have at most %d", len(a.Content), int64(c.config.WriteBytes))
	}
	p, err := c.writable(a.Path, "write", func(r *root) bool { return r.Write })
	if err != nil {
		return nil, err
	}
	at, err := c.resolve(p)
	if err != nil {
		return nil, err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if a.Mode == "create" || a.Mode == "" || a.Mode == "overwrite" || a.Mode == "append" {
		if parent := path.Dir(at.rel); parent != "." {
			if err := at.root.dir.MkdirAll(parent, 0o777); err != nil {
				return nil, c.explain(p, err)
			}
		}
	}
	dir, err := openDir(at)
	if err != nil {
		return nil, c.explain(p, err)
	}
	defer dir.Close()
	data, exists, mode, err := c.edited(p, dir, path.Base(at.rel), a)
	if err == nil {
		err = dir.put(path.Base(at.rel), data, mode, !exists)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, failed("%s exists: mode overwrite, append or replace changes it", shown(p.String()))
	case err != nil:
		return nil, c.explain(p, err)
	}
	return router.Text(fmt.Sprintf("%s has %d bytes now.", shown(p.String()), len(data))), nil
}

// edited returns what the file shall hold, whether there is one, and its mode.
func (c *Connector) edited(p place, dir *folder, name string, a *writeArgs) (data []byte, exists bool, mode fs.FileMode, err error) {
	info, err := dir.lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if a.Mode == "replace" {
			return nil, false, 0, err
		}
		return []byte(a.Content), false, 0, nil
	case err != nil:
		return nil, false, 0, err
	case a.Mode == "create" || a.Mode == "":
		return nil, false, 0, fs.ErrExist
	case info.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, false, 0, kindError(fileMode(info.Mode))
	}
	mode = fs.FileMode(info.Mode & 0o777)
	if a.Mode == "overwrite" {
		return []byte(a.Content), true, mode, nil
	}
	old, err := dir.read(name, int64(c.config.WriteBytes))
	if err != nil {
		return nil, false, 0, err
	}
	if cs, isText := sniff(old[:min(len(old), sniffBytes)], len(old) <= sniffBytes); len(old) > 0 && (!isText || cs.enc != nil) {
		return nil, false, 0, failed("%s is not text in UTF-8: only mode overwrite can change it", shown(p.String()))
	}
	if a.Mode == "append" {
		old = append(old, a.Content...)
	} else if old, err = replaceOnce(p, old, a.Old, a.Content); err != nil {
		return nil, false, 0, err
	}
	if int64(len(old)) > int64(c.config.WriteBytes) {
		return nil, false, 0, failed("%s would have %d bytes, a file that is written may have at most %d", shown(p.String()), len(old), int64(c.config.WriteBytes))
	}
	return old, true, mode, nil
}

func replaceOnce(p place, data []byte, old, text string) ([]byte, error) {
	name := shown(p.String())
	switch n := bytes.Count(data, []byte(old)); {
	case n == 0 && bytes.Contains(data, []byte(strings.ReplaceAll(old, "\n", "\r\n"))) && strings.Contains(old, "\n"):
		return nil, failed("old: is in %s only with Windows line ends: write them as \\r\\n in old and content", name)
	case n == 0:
		return nil, failed("old: is not in %s: read the file and give the text exactly, with its spaces and line ends", name)
	case n > 1:
		return nil, failed("old: is in %s %d times: give more of the text around it, so that it is there once", name, n)
	}
	return bytes.Replace(data, []byte(old), []byte(text), 1), nil
}

// writable parses the path of something that is changed.
func (c *Connector) writable(text, verb string, may func(*root) bool) (place, error) {
	p, err := c.parse(text)
	if err != nil {
		return place{}, err
	}
	if p.root == nil || p.rel == "." {
		return place{}, failed("path: name something in a folder, such as %s", c.example())
	}
	if !may(p.root) {
		return place{}, failed("%s: nothing in the folder %s may be changed so: %s is not allowed there", shown(p.String()), p.root.Name, verb)
	}
	return p, nil
}

type moveArgs struct {
	From string `json:"from"`
	To   string `json:"to"`
}

func (c *Connector) move(ctx context.Context, a *moveArgs) (*router.Result, error) {
	write := func(r *root) bool { return r.Write }
	from, err := c.writable(a.From, "write", write)
	if err != nil {
		return nil, err
	}
	to, err := c.writable(a.To, "write", write)
	if err != nil {
		return nil, err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	source, name, err := c.parent(from)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	info, err := source.lstat(name)
	if err != nil {
		return nil, c.explain(from, err)
	}
	switch info.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		if err := c.nothingWithheld(ctx, place{from.root, path.Join(source.rel, name)}); err != nil {
			return nil, err
		}
	default:
		return nil, failed("%s is %s: only files and folders are moved", shown(from.String()), kindOf(fileMode(info.Mode)))
	}
	target, newName, err := c.parent(to)
	if err != nil {
		return nil, err
	}
	defer target.Close()
	if err := source.rename(name, target, newName, true); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, c.explain(to, err)
		}
		return nil, c.explain(from, err)
	}
	if err := errors.Join(target.sync(), source.sync()); err != nil {
		return nil, fmt.Errorf("move %s: %w", shown(from.String()), err)
	}
	return router.Text(shown(from.String()) + " is " + shown(to.String()) + " now."), nil
}

// nothingWithheld refuses a folder in which something is withheld: under another
// path it might be offered.
func (c *Connector) nothingWithheld(ctx context.Context, p place) error {
	w := walk{c: c, root: p.root, depth: maxDepth, all: true, visit: func(string, fs.FileInfo) error { return nil }}
	if err := w.run(ctx, p.rel); err != nil {
		return c.explain(p, err)
	}
	if w.withheld+w.unreadable+w.deeper+len(w.crowded) > 0 {
		return failed("%s holds something that is hidden, withheld or cannot be looked at, so it is not moved as a whole", shown(p.String()))
	}
	return nil
}

type deleteArgs struct {
	Path string `json:"path"`
}

func (c *Connector) delete(_ context.Context, a *deleteArgs) (*router.Result, error) {
	p, err := c.writable(a.Path, "delete", func(r *root) bool { return r.Delete })
	if err != nil {
		return nil, err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	dir, name, err := c.parent(p)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	info, err := dir.lstat(name)
	if err != nil {
		return nil, c.explain(p, err)
	}
	switch kind := info.Mode & unix.S_IFMT; kind {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
		err = dir.remove(name, kind == unix.S_IFDIR)
	default:
		return nil, failed("%s is %s: only files, links and empty folders are deleted", shown(p.String()), kindOf(fileMode(info.Mode)))
	}
	if err == nil {
		err = dir.sync()
	}
	if err != nil {
		return nil, c.explain(p, err)
	}
	return router.Text(shown(p.String()) + " is deleted."), nil
}

// parent opens the folder that something lies in; the last name of the path is
// not followed where it is a link.
func (c *Connector) parent(p place) (*folder, string, error) {
	name := path.Base(p.rel)
	at, err := c.resolve(place{p.root, path.Dir(p.rel)})
	if err != nil {
		return nil, "", err
	}
	at.rel = path.Join(at.rel, name)
	if _, err := c.allowed(at); err != nil {
		return nil, "", err
	}
	dir, err := openDir(at)
	if err != nil {
		return nil, "", c.explain(p, err)
	}
	return dir, name, nil
}

// folder is an open folder. What is done in it takes single names, so it happens
// in this folder whatever becomes of the tree around.
type folder struct {
	*os.File
	rel string
}

// openDir opens the folder that a place lies in.
func openDir(p place) (*folder, error) {
	rel := path.Dir(p.rel)
	f, err := place{p.root, rel}.openFolder()
	if err != nil {
		return nil, err
	}
	return &folder{f, rel}, nil
}

func (d *folder) at(do func(fd int) error) error {
	return withFD(d.File, func(fd int) error { return ignoringEINTR(func() error { return do(fd) }) })
}

func (d *folder) lstat(name string) (st unix.Stat_t, err error) {
	err = d.at(func(fd int) error { return unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

func (d *folder) open(name string, flags int, perm uint32) (*os.File, error) {
	var out int
	err := d.at(func(fd int) (err error) {
		out, err = unix.Openat(fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(out), name), nil
}

// read returns a file's contents, of at most most bytes.
func (d *folder) read(name string, most int64) ([]byte, error) {
	f, err := d.open(name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, kindError(info.Mode())
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = failed("%s has %d bytes, a file that is changed may have at most %d", shown(name), info.Size(), most)
	}
	return data, err
}

// put makes the name hold data in one step, on disk when it returns. mode 0 is
// that of a new file; with fresh there must be none of that name.
func (d *folder) put(name string, data []byte, mode fs.FileMode, fresh bool) (err error) {
	temp := tempPrefix + rand.Text()
	f, err := d.open(temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		if !renamed {
			err = errors.Join(err, d.remove(temp, false))
		}
	}()
	_, err = f.Write(data)
	if err == nil && mode != 0 {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = d.rename(temp, d, name, fresh); err != nil {
		return err
	}
	renamed = true
	return d.sync()
}

// rename moves a name to another folder's name; with fresh it replaces nothing.
func (d *folder) rename(name string, to *folder, newName string, fresh bool) error {
	flags := uint(0)
	if fresh {
		flags = unix.RENAME_NOREPLACE
	}
	return d.at(func(from int) error {
		return to.at(func(fd int) error {
			err := unix.Renameat2(from, name, fd, newName, flags)
			if fresh && (err == unix.EINVAL || err == unix.ENOSYS) {
				// The file system cannot. A link to a new name replaces nothing either.
				switch linked := unix.Linkat(from, name, fd, newName, 0); linked {
				case nil:
				case unix.EPERM:
					return err // it is a folder, or there are no links either
				default:
					return linked
				}
				return unix.Unlinkat(from, name, 0)
			}
			return err
		})
	})
}

func (d *folder) remove(name string, dir bool) error {
	flags := 0
	if dir {
		flags = unix.AT_REMOVEDIR
	}
	return d.at(func(fd int) error { return unix.Unlinkat(fd, name, flags) })
}

func (d *folder) sync() error {
	err := d.at(unix.Fsync)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil // a file system that has nothing to sync
	}
	return err
}

func fileMode(m uint32) fs.FileMode {
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFLNK:
		return fs.ModeSymlink
	case unix.S_IFIFO:
		return fs.ModeNamedPipe
	case unix.S_IFSOCK:
		return fs.ModeSocket
	case unix.S_IFCHR, unix.S_IFBLK:
		return fs.ModeDevice
	}
	return 0
}
