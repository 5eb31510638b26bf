package batch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrLocked: another process writes the same file.
var ErrLocked = errors.New("another run is writing it")

// maxResultBytes bounds a line of an output file: an answer and what is around it.
const maxResultBytes = MaxAnswerBytes + 64<<10

// linePrefix is how every line begins that this package writes.
const linePrefix = `{"id":"batch_req_`

// Results are the two output files of a batch: one of answers, one of failures,
// which is made when there is a first failure.
type Results struct {
	answers, failures resultFile
	failedBefore      int
}

// OpenResults opens the files of an earlier run of the same input, or makes the
// first of them, and marks in in what they hold. The torn line that a killed
// process left at the end is cut off; anything else that does not belong to this
// input is an error that names file and line, and leaves both files as they are.
// The caller closes the Results.
func OpenResults(in *Input, answers, failures string) (_ *Results, err error) {
	for _, pair := range [][2]string{{in.name, answers}, {in.name, failures}, {answers, failures}} {
		if sameFile(pair[0], pair[1]) {
			return nil, fmt.Errorf("%s and %s are the same file: input, answers and failures need a file each", pair[0], pair[1])
		}
	}
	r := &Results{answers: resultFile{path: answers}, failures: resultFile{path: failures}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if err := r.answers.open(true); err != nil {
		return nil, err
	}
	if err := r.failures.open(false); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if _, err := r.answers.read(in); err != nil {
		return nil, err
	}
	if r.failures.file != nil {
		if r.failedBefore, err = r.failures.read(in); err != nil {
			return nil, err
		}
	}
	// Only now, when both are known to be ours, is anything changed.
	return r, errors.Join(r.answers.cut(), r.failures.cut())
}

// sameFile reports whether two names are those of one file, be it there or not.
func sameFile(a, b string) bool {
	sa, errA := os.Stat(a)
	sb, errB := os.Stat(b)
	if errA == nil && errB == nil {
		return os.SameFile(sa, sb)
	}
	return filepath.Clean(a) == filepath.Clean(b)
}

// Failed returns how many requests of earlier runs stand among the failures.
func (r *Results) Failed() int { return r.failedBefore }

// write appends answers, whole lines each, and returns when they are on disk.
func (r *Results) write(group []*answer) error {
	var good, bad []byte
	for _, a := range group {
		if a.failed {
			bad = append(bad, a.line...)
		} else {
			good = append(good, a.line...)
		}
	}
	if len(bad) > 0 && r.failures.file == nil {
		if err := r.failures.open(true); err != nil {
			return err
		}
	}
	return errors.Join(r.answers.append(good), r.failures.append(bad))
}

// Close closes both files and with them gives up their locks.
func (r *Results) Close() error { return errors.Join(r.answers.close(), r.failures.close()) }

// resultFile is one output file. file is nil until it is open.
type resultFile struct {
	path string
	file *os.File
	size int64 // of its whole lines, in bytes
}

// open opens and locks the file; with create it makes it if it is not there.
func (f *resultFile) open(create bool) error {
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND, 0)
	made := create && errors.Is(err, os.ErrNotExist)
	if made {
		file, err = os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644)
	}
	if err != nil {
		return fmt.Errorf("open an output file: %w", err)
	}
	st, err := file.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("is not a file, and a batch that is interrupted goes on with what is in it")
	}
	if err == nil {
		// The lock goes with the process, however it ends.
		if err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrLocked
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", f.path, err), file.Close())
	}
	f.file = file
	if made {
		syncFolder(filepath.Dir(f.path))
	}
	return nil
}

// syncFolder makes the name of a new file last. Not every file system can sync
// folders; what is lost without it is a file, after a failure of the machine, so
// that the batch begins anew.
func syncFolder(path string) {
	if dir, err := os.Open(path); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
}

// resultLine is what is read of a line.
type resultLine struct {
	CustomID *string `json:"custom_id"`
}

// read marks in in what the file holds, sets size, and returns the number of lines.
func (f *resultFile) read(in *Input) (int, error) {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("read %s: %w", f.path, err)
	}
	return f.scan(f.file, in)
}

func (f *resultFile) scan(file io.Reader, in *Input) (int, error) {
	r := bufio.NewReaderSize(file, 64<<10)
	for n := 1; ; n++ {
		line, problem, err := readLine(r, maxResultBytes)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("read %s: %w", f.path, err)
		}
		if err != nil {
			if problem == nil && len(line) > 0 && !torn(line) {
				problem = errors.New("is not a line of a batch")
			}
			if problem != nil {
				return 0, f.foreign(n, problem)
			}
			return n - 1, nil
		}
		var l resultLine
		if problem == nil && (json.Unmarshal(line, &l) != nil || l.CustomID == nil) {
			problem = errors.New("is not a line of a batch")
		}
		if problem != nil {
			return 0, f.foreign(n, problem)
		}
		id := digestOf(*l.CustomID)
		e, known := in.entries[id]
		switch {
		case !known:
			return 0, f.foreign(n, fmt.Errorf("has the custom_id %s, which %s has not", quote(*l.CustomID), in.name))
		case e.done:
			return 0, f.foreign(n, fmt.Errorf("has the custom_id %s, which is there already", quote(*l.CustomID)))
		}
		e.done = true
		in.entries[id] = e
		f.size += int64(len(line))
	}
}

func (f *resultFile) foreign(line int, problem error) error {
	return fmt.Errorf("line %d of %s %w; name another file, or move this one away to begin anew", line, f.path, problem)
}

// torn reports whether text without a newline can be what a killed process left
// of a line: its beginning, or, where the machine failed, zeros.
func torn(line []byte) bool {
	if len(bytes.Trim(line, "\x00")) == 0 {
		return true
	}
	return strings.HasPrefix(linePrefix, string(line)) || bytes.HasPrefix(line, []byte(linePrefix))
}

// cut leaves the whole lines.
func (f *resultFile) cut() error {
	if f.file == nil {
		return nil
	}
	if err := f.file.Truncate(f.size); err != nil {
		return fmt.Errorf("cut off the unfinished line at the end of %s: %w", f.path, err)
	}
	return nil
}

// append writes whole lines by one call and syncs them. If that fails, as on a
// full disk, nothing of them stays.
func (f *resultFile) append(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	_, err := f.file.Write(lines)
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", f.path, err), f.cut())
	}
	f.size += int64(len(lines))
	return nil
}

func (f *resultFile) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	if err != nil {
		return fmt.Errorf("close %s: %w", f.path, err)
	}
	return nil
}
