package main

import (
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"hearth/internal/example"
	"hearth/internal/testkit"
)

// TestExample: the model finds the values of this run in the database, and says them.
func TestExample(t *testing.T) {
	// The servers end with the thread that starts them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	answers, err := example.Run(t.Context(), setup, nil, io.Discard,
		"-hearth", filepath.Join(testkit.Root(t), "build", "out", "bin", "hearth"), "-model", testkit.ToolModel(t), "-threads", "1", "-seed", "1")
	if err != nil {
		t.Fatal(err)
	}
	if len(answers) != 2 {
		t.Fatalf("%d answers, want 2", len(answers))
	}
	for _, a := range answers {
		found := false
		for _, c := range a.Calls {
			found = found || strings.Contains(c.Output, a.Question.Answer)
		}
		if !found {
			t.Errorf("%s\nno call found %s: %+v", a.Question.Text, a.Question.Answer, a.Calls)
		}
		if !strings.Contains(a.Text, a.Question.Answer) {
			t.Errorf("%s\nanswered %q, want %s in it", a.Question.Text, a.Text, a.Question.Answer)
		}
	}
}
