package batch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// request returns a line of the input.
func request(id string) string {
	return fmt.Sprintf(`{"custom_id":%q,"method":"POST","url":"/v1/completions","body":{"prompt":%q}}`, id, "say "+id)
}

// input writes the lines into a file and opens it.
func input(t testing.TB, lines ...string) (*Input, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := OpenInput(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	return in, path
}

// ids returns what is pending.
func ids(t *testing.T, in *Input) (all []string) {
	t.Helper()
	if err := in.pending(t.Context(), func(r *Request) error { all = append(all, r.CustomID); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestInputIsReadInOrder(t *testing.T) {
	in, _ := input(t, request("a"), "", request("b")+"\r", "  ", request("c"))
	if got := fmt.Sprint(ids(t, in)); got != "[a b c]" || in.Total() != 3 || in.Done() != 0 {
		t.Errorf("%s of %d, %d done", got, in.Total(), in.Done())
	}
}

// TestInputListsWhatIsWrong with line numbers, before anything is sent.
func TestInputListsWhatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.jsonl")
	write := func(lines ...string) error {
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := OpenInput(t.Context(), path)
		if err == nil {
			_ = in.Close()
		}
		return err
	}
	err := write(request("a"), "nonsense", "", request("b"), request("a"), request(""))
	var wrong *InputError
	if !errors.As(err, &wrong) {
		t.Fatal(err)
	}
	for i, want := range []string{"line 2: is not valid JSON", `line 5: custom_id "a" is that of line 1`, "line 6: custom_id is missing or empty"} {
		if len(wrong.Problems) != 3 || !strings.HasPrefix(wrong.Problems[i], want) {
			t.Errorf("problem %d of %q, want %q", i, wrong.Problems, want)
		}
	}
	many := make([]string, maxProblems+5)
	for i := range many {
		many[i] = "{}"
	}
	if err := write(many...); !errors.As(err, &wrong) || len(wrong.Problems) != maxProblems || wrong.More != 5 || !strings.HasSuffix(err.Error(), "and 5 more") {
		t.Errorf("%d problems and %d more: %v", len(wrong.Problems), wrong.More, err)
	}
	if err := write("", " "); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "no request") {
		t.Errorf("an empty file: %v", err)
	}
	if _, err := OpenInput(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Errorf("a folder: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := os.WriteFile(path, []byte(request("a")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenInput(ended, path); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// TestInputThatChanges between the two readings is noticed.
func TestInputThatChanges(t *testing.T) {
	for name, lines := range map[string][]string{
		"another id":  {request("a"), request("x")},
		"swapped":     {request("b"), request("a")},
		"broken":      {request("a"), "{"},
		"shorter":     {request("a")},
		"moved":       {request("a"), "", request("b")},
		"same id two": {request("a"), request("a")},
	} {
		in, path := input(t, request("a"), request("b"))
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := in.pending(t.Context(), func(*Request) error { return nil }); err == nil || !strings.Contains(err.Error(), "was changed while it was used") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLongLinesAreDropped(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	r := bufio.NewReaderSize(strings.NewReader("ab\n"+long+"\ncd"), 16)
	for _, want := range []struct {
		line    string
		problem error
		err     error
	}{{"ab\n", nil, nil}, {"", errLineTooLong, nil}, {"cd", nil, io.EOF}} {
		line, problem, err := readLine(r, 1000)
		if string(line) != want.line || !errors.Is(problem, want.problem) || !errors.Is(err, want.err) {
			t.Errorf("%q, %v, %v; want %+v", line, problem, err, want)
		}
	}
}
