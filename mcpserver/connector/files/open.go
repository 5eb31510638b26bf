package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// notStores are file systems whose files are no stored bytes: reading one may
// wait, have an effect, or show the insides of processes.
var notStores = []int64{
	unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC,
	unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.SECURITYFS_MAGIC, unix.SELINUX_MAGIC, unix.BPF_FS_MAGIC,
	unix.EFIVARFS_MAGIC, unix.PSTOREFS_MAGIC, unix.BINFMTFS_MAGIC, unix.NSFS_MAGIC,
}

// errNotStored says that a file is not one of stored bytes.
var errNotStored = errors.New("is not a plain file")

// errNotFolder is what the system says of a folder that is none.
var errNotFolder error = unix.ENOTDIR

// openFile opens a file for reading. It does not wait, and what it returns is a
// regular file of a file system that stores files.
func (p place) openFile() (*os.File, fs.FileInfo, error) {
	// A device may do something when it is opened, so look first; what is opened is
	// looked at again.
	info, err := p.root.dir.Stat(p.rel)
	if err == nil && !info.Mode().IsRegular() {
		return nil, nil, kindError(info.Mode())
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := p.root.dir.OpenFile(p.rel, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err = f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = kindError(info.Mode())
	}
	if err == nil {
		err = stored(f)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, nil, err
	}
	return f, info, nil
}

// openFolder opens a folder. It does not wait.
func (p place) openFolder() (*os.File, error) {
	f, err := p.root.dir.OpenFile(p.rel, os.O_RDONLY|unix.O_NONBLOCK|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := stored(f); err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return f, nil
}

func kindError(m fs.FileMode) error {
	if m.IsDir() {
		return unix.EISDIR
	}
	return fmt.Errorf("%w: it is %s", errNotStored, kindOf(m))
}

// kindOf names what lies at a path.
func kindOf(m fs.FileMode) string {
	switch {
	case m.IsRegular():
		return "a file"
	case m.IsDir():
		return "a folder"
	case m&fs.ModeSymlink != 0:
		return "a link"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}

func stored(f *os.File) error {
	var st unix.Statfs_t
	err := withFD(f, func(fd int) error { return ignoringEINTR(func() error { return unix.Fstatfs(fd, &st) }) })
	if err != nil {
		return err
	}
	if slices.Contains(notStores, int64(st.Type)) {
		return fmt.Errorf("%w: it belongs to the system", errNotStored)
	}
	return nil
}

func withFD(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

func ignoringEINTR(do func() error) error {
	for {
		if err := do(); err != unix.EINTR {
			return err
		}
	}
}

// explainErrno is explain for what has no name in io/fs.
func explainErrno(name, root string, err error) error {
	for _, e := range []struct {
		is   error
		text string
	}{
		{unix.EISDIR, "%s is a folder: list shows what is in it"},
		{unix.ENOTDIR, "%s is not a folder, or a part of its path is none"},
		{unix.ENOTEMPTY, "%s is not empty"},
		{unix.ENAMETOOLONG, "%s is too long a name"},
		{unix.ELOOP, "%s goes through too many links"},
		{unix.ENXIO, "%s is not a plain file"},
		{unix.EXDEV, "%s lies on another disk: write a copy there instead"},
		{unix.EINVAL, "%s cannot be moved into itself"},
		{unix.ENOSPC, "there is no room on the disk for %s"},
		{unix.EDQUOT, "there is no room on the disk for %s"},
		{unix.EROFS, "the disk of %s can only be read"},
		{unix.ETXTBSY, "%s is a program that runs"},
	} {
		if errors.Is(err, e.is) {
			return failed(e.text, name)
		}
	}
	if errors.Is(err, errNotStored) {
		text := err.Error()
		return failed("%s %s", name, text[strings.Index(text, errNotStored.Error()):])
	}
	if strings.Contains(err.Error(), "escapes from parent") { // os.Root's error has no name
		return failed("%s is a link that leads out of the folder %s", name, root)
	}
	return fmt.Errorf("%s: %w", name, err)
}
