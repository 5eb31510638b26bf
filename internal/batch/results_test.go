package batch

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// line returns an answer for an id.
func line(t testing.TB, id string, failed bool) *answer {
	t.Helper()
	status := 200
	if failed {
		status = 400
	}
	a, err := newAnswer(&Request{CustomID: id}, &response{status: status, requestID: "r", body: []byte(`{"text":"<` + id + `>"}`)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// files returns the names of two output files in a new folder.
func files(t testing.TB) (answers, failures string) {
	t.Helper()
	dir := t.TempDir()
	return filepath.Join(dir, "out.jsonl"), filepath.Join(dir, "out.errors.jsonl")
}

// written returns the ids that a file holds, in order.
func written(t testing.TB, path string) (all []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 0 && b[len(b)-1] != '\n' {
		t.Fatalf("%s ends in a torn line: %q", path, b)
	}
	for text := range strings.Lines(string(b)) {
		var l resultLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%s: %q: %v", path, text, err)
		}
		all = append(all, *l.CustomID)
	}
	return all
}

// TestTornAtEveryByte: wherever a process was killed while it wrote, the lines
// that are whole stay, the torn one goes, and its request is asked again.
func TestTornAtEveryByte(t *testing.T) {
	whole := string(line(t, "a", false).line) + string(line(t, "b", false).line)
	first := strings.IndexByte(whole, '\n') + 1
	out, failures := files(t)
	in, path := input(t, request("a"), request("b"), request("c"))
	for n := range len(whole) + 1 {
		in.Close()
		in, err := OpenInput(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(out, []byte(whole[:n]), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := OpenResults(in, out, failures)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		want := "a b c"
		switch {
		case n == len(whole):
			want = "c"
		case n >= first:
			want = "b c"
		}
		if got := strings.Join(ids(t, in), " "); got != want {
			t.Errorf("cut at %d: %q are pending, want %q", n, got, want)
		}
		if err := errors.Join(r.write([]*answer{line(t, "c", false)}), r.Close(), in.Close()); err != nil {
			t.Fatal(err)
		}
		if got := written(t, out); got[len(got)-1] != "c" || len(got) != 4-len(strings.Fields(want)) {
			t.Errorf("cut at %d: the file holds %q", n, got)
		}
	}
}

func TestFailuresHaveAFileOfTheirOwn(t *testing.T) {
	in, path := input(t, request("a"), request("b"), request("c"))
	out, failures := files(t)
	r, err := OpenResults(in, out, failures)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(failures); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of failures is there before the first: %v", err)
	}
	if err := r.write([]*answer{line(t, "b", true), line(t, "a", false)}); err != nil {
		t.Fatal(err)
	}
	again, err := OpenInput(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := OpenResults(again, out, failures); !errors.Is(err, ErrLocked) {
		t.Errorf("a second run beside the first: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err = OpenResults(again, out, failures); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := strings.Join(ids(t, again), " "); got != "c" || r.Failed() != 1 || again.Done() != 2 {
		t.Errorf("%q are pending, %d failed, %d done", got, r.Failed(), again.Done())
	}
}

// TestForeignFilesStayAsTheyAre: what is not of this batch is named, not cut.
func TestForeignFilesStayAsTheyAre(t *testing.T) {
	a, other := string(line(t, "a", false).line), string(line(t, "other", false).line)
	for _, c := range []struct{ name, out, failures, want string }{
		{"other batch", a + other, "", `line 2 of OUT has the custom_id "other"`},
		{"twice", a + a, "", `line 2 of OUT has the custom_id "a", which is there already`},
		{"in both", a, a, `line 1 of ERR has the custom_id "a", which is there already`},
		{"text", "Dear diary\n", "", "line 1 of OUT is not a line of a batch"},
		{"text without an end", "Dear diary", "", "line 1 of OUT is not a line of a batch"},
		{"text after a line", a + "and so on", "", "line 2 of OUT is not a line of a batch"},
		{"no id", "{}\n", "", "line 1 of OUT is not a line of a batch"},
		{"empty line", a + "\n", "", "line 2 of OUT is not a line of a batch"},
		{"torn before a foreign file", a[:40], "x\n", "line 1 of ERR is not a line of a batch"},
	} {
		in, _ := input(t, request("a"), request("b"))
		out, failures := files(t)
		if err := os.WriteFile(out, []byte(c.out), 0o600); err != nil {
			t.Fatal(err)
		}
		if c.failures != "" {
			if err := os.WriteFile(failures, []byte(c.failures), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := OpenResults(in, out, failures)
		want := strings.NewReplacer("OUT", out, "ERR", failures).Replace(c.want)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", c.name, err, want)
		}
		if b, err := os.ReadFile(out); err != nil || string(b) != c.out {
			t.Errorf("%s: the file was changed to %q, %v", c.name, b, err)
		}
	}
}

func TestOneFileForTwoThingsIsRefused(t *testing.T) {
	in, path := input(t, request("a"))
	out, failures := files(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.WriteFile(out, nil, 0o600), os.Symlink(out, link)); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{path, failures}, {out, path}, {out, out}, {out, link}, {failures, failures}} {
		if r, err := OpenResults(in, c[0], c[1]); err == nil || !strings.Contains(err.Error(), "same file") {
			t.Errorf("%q: %v, %v", c, r, err)
		}
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != request("a") {
		t.Errorf("the input was changed to %q, %v", b, err)
	}
	if _, err := OpenResults(in, t.TempDir(), failures); err == nil {
		t.Error("a folder was taken for the answers")
	}
	if _, err := OpenResults(in, os.DevNull, failures); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a device for the answers: %v", err)
	}
}

// FuzzResults: whatever an output file holds, it is refused, or what is kept of
// it are whole lines of known requests, none twice, and what is not kept is one
// torn line.
func FuzzResults(f *testing.F) {
	a, b := string(line(f, "a", false).line), string(line(f, "b", true).line)
	f.Add([]byte(a + b))
	f.Add([]byte(a + b[:30]))
	f.Add([]byte(a + "\x00\x00\x00"))
	f.Add([]byte(b + b))
	f.Add([]byte(`{"custom_id":"a","Custom_ID":"b"}` + "\n" + `{"id":"batch`))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := &Input{name: "in", entries: map[digest]entry{digestOf("a"): {line: 1}, digestOf("b"): {line: 2}}}
		out := resultFile{path: "out"}
		n, err := out.scan(bytes.NewReader(data), in)
		if err != nil {
			return
		}
		kept, rest := data[:out.size], data[out.size:]
		if bytes.Contains(rest, []byte("\n")) || (len(rest) > 0 && !torn(rest)) {
			t.Fatalf("%q would be cut off", rest)
		}
		seen := map[string]bool{}
		for text := range bytes.Lines(kept) {
			var l resultLine
			if err := json.Unmarshal(text, &l); err != nil || text[len(text)-1] != '\n' || (*l.CustomID != "a" && *l.CustomID != "b") || seen[*l.CustomID] {
				t.Fatalf("%q is kept", kept)
			}
			seen[*l.CustomID] = true
		}
		if n != len(seen) || in.Done() != n {
			t.Fatalf("%d lines, %d done of %q", n, in.Done(), kept)
		}
	})
}
