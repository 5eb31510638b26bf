package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const passing = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"noise of a test that passes\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: needs a GPU\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`

const failing = `{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:9: want 1, got 2\n"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`

func TestReport(t *testing.T) {
	for name, c := range map[string]struct {
		in       string
		want     []string // in this order
		unwanted string
		err      error
	}{
		"passing": {in: passing, want: []string{"ok  \tp\t0.1s", "1 passed, 0 failed, 1 skipped"}, unwanted: "noise"},
		"failing": {in: passing + failing, want: []string{"want 1, got 2", "FAIL\tp", "1 passed, 1 failed"}, unwanted: "noise", err: errFailed},
		"broken build": {
			in:   `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: syntax error\n"}` + "\n" + `{"ImportPath":"p","Action":"build-fail"}` + "\n",
			want: []string{"syntax error"}, err: errFailed,
		},
		"not JSON": {in: "go: no such package\n" + passing, want: []string{"go: no such package", "1 passed"}},
		"empty":    {in: "", want: []string{"0 passed"}, err: errNone},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			_, err := report(strings.NewReader(c.in), &out)
			if !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Errorf("error %v, want %v", err, c.err)
			}
			rest := out.String()
			for _, w := range c.want {
				_, after, ok := strings.Cut(rest, w)
				if !ok {
					t.Fatalf("no %q in order in:\n%s", w, out.String())
				}
				rest = after
			}
			if c.unwanted != "" && strings.Contains(out.String(), c.unwanted) {
				t.Errorf("%q in:\n%s", c.unwanted, out.String())
			}
		})
	}
}

func TestSkippedFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "skipped")
	var out strings.Builder
	if err := run(strings.NewReader(passing), &out, file); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(raw), "SKIPPED p TestB: needs a GPU\n"; got != want {
		t.Errorf("skipped file %q, want %q", got, want)
	}
}
