package batch

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxProblems bounds the list of what is wrong with an input; the others are
// counted.
const maxProblems = 20

// InputError lists what is wrong with the lines of an input.
type InputError struct {
	Name     string
	Problems []string // "line 3: …"; the first of all
	More     int      // problems that are not in the list
}

// Error returns all problems, one a line.
func (e *InputError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s cannot be used, nothing was sent:", e.Name)
	for _, p := range e.Problems {
		b.WriteString("\n  " + p)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\n  and %d more", e.More)
	}
	return b.String()
}

// digest stands for a custom_id: 128 bits of its SHA-256.
type digest [16]byte

func digestOf(id string) digest {
	sum := sha256.Sum256([]byte(id))
	return digest(sum[:16])
}

// entry is what is kept of a request.
type entry struct {
	line int
	done bool // its answer stands in an output file
}

// Input is a file of requests that was read once and found right.
type Input struct {
	name    string
	file    *os.File
	entries map[digest]entry
}

// OpenInput reads and checks the whole file at path. It returns an *InputError
// that names all lines that cannot be used. The caller closes the Input.
func OpenInput(ctx context.Context, path string) (_ *Input, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the input: %w", err)
	}
	in := &Input{name: path, file: f, entries: map[digest]entry{}}
	defer func() {
		if err != nil {
			_ = f.Close() // it was only read
		}
	}()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open the input: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file: the input is read more than once, so put the requests into a file", path)
	}
	if err := in.check(ctx); err != nil {
		return nil, err
	}
	return in, nil
}

// check reads all lines for the first time.
func (in *Input) check(ctx context.Context) error {
	wrong := &InputError{Name: in.name}
	note := func(line int, problem string) {
		if len(wrong.Problems) == maxProblems {
			wrong.More++
			return
		}
		wrong.Problems = append(wrong.Problems, fmt.Sprintf("line %d: %s", line, problem))
	}
	err := in.lines(ctx, func(n int, line []byte, err error) error {
		if err != nil {
			note(n, err.Error())
			return nil
		}
		r, err := parseLine(line)
		if err != nil {
			note(n, err.Error())
			return nil
		}
		id := digestOf(r.CustomID)
		if first, twice := in.entries[id]; twice {
			note(n, fmt.Sprintf("custom_id %s is that of line %d", quote(r.CustomID), first.line))
			return nil
		}
		if len(in.entries) == MaxRequests {
			return fmt.Errorf("%s has more than %d requests: split it", in.name, MaxRequests)
		}
		in.entries[id] = entry{line: n}
		return nil
	})
	switch {
	case err != nil:
		return err
	case len(wrong.Problems) > 0:
		return wrong
	case len(in.entries) == 0:
		return &InputError{Name: in.name, Problems: []string{"there is no request in it"}}
	}
	return nil
}

// errLineTooLong is the error of a line of more than MaxLineBytes.
var errLineTooLong = fmt.Errorf("has more than %d MiB", MaxLineBytes>>20)

// lines calls do with each line that is not blank, and its number from 1. The
// line is without its newline, and valid during the call; one that is too long
// comes as an error instead. What do returns ends the reading.
func (in *Input) lines(ctx context.Context, do func(n int, line []byte, err error) error) error {
	if _, err := in.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", in.name, err)
	}
	r := bufio.NewReaderSize(in.file, 64<<10)
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, problem, err := readLine(r, MaxLineBytes)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", in.name, err)
		}
		if problem != nil || len(bytes.TrimSpace(line)) > 0 {
			if err := do(n, bytes.TrimRight(line, "\r\n"), problem); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// readLine returns the next line with its newline, if it has one. Of a line
// longer than most it drops the text and returns errLineTooLong as the problem.
func readLine(r *bufio.Reader, most int) (line []byte, problem, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if problem == nil {
			line = append(line, part...)
			if len(line) > most {
				line, problem = nil, errLineTooLong
			}
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, problem, err
		}
	}
}

// Total returns the number of requests.
func (in *Input) Total() int { return len(in.entries) }

// Done returns how many of them are answered.
func (in *Input) Done() int {
	n := 0
	for _, e := range in.entries {
		if e.done {
			n++
		}
	}
	return n
}

// pending calls do with each request that is not answered, in the order of the
// file, which is read for the second time.
func (in *Input) pending(ctx context.Context, do func(*Request) error) error {
	changed := func(n int, what string) error {
		return fmt.Errorf("line %d of %s %s: the file was changed while it was used; leave it as it is and run the command again", n, in.name, what)
	}
	seen := 0
	err := in.lines(ctx, func(n int, line []byte, problem error) error {
		if problem != nil {
			return changed(n, problem.Error())
		}
		r, err := parseLine(line)
		if err != nil {
			return changed(n, err.Error())
		}
		e, known := in.entries[digestOf(r.CustomID)]
		if !known || e.line != n {
			return changed(n, "has another custom_id than before")
		}
		seen++
		if e.done {
			return nil
		}
		return do(r)
	})
	if err == nil && seen != len(in.entries) {
		return fmt.Errorf("%s has %d requests now and had %d: the file was changed while it was used", in.name, seen, len(in.entries))
	}
	return err
}

// Close closes the file.
func (in *Input) Close() error {
	if err := in.file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", in.name, err)
	}
	return nil
}
