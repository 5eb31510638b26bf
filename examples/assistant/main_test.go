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

// TestExample: the model finds the values of this run by the three servers. Its words on
// the last one are not held to anything: it says a time in many ways.
func TestExample(t *testing.T) {
	// The servers end with the thread that starts them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	node, modules := testkit.NPM(t)
	var p programs
	answers, err := example.Run(t.Context(), p.setup, p.flags, io.Discard,
		"-hearth", filepath.Join(testkit.Root(t), "build", "out", "bin", "hearth"), "-model", testkit.ToolModel(t), "-threads", "1", "-seed", "1", "-node", node, "-modules", modules, "-python", testkit.Python(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(answers) != 3 {
		t.Fatalf("%d answers, want 3", len(answers))
	}
	for _, a := range answers {
		found := false
		for _, c := range a.Calls {
			found = found || strings.Contains(c.Output, a.Question.Answer)
		}
		if !found {
			t.Errorf("%s\nno call found %s: %+v", a.Question.Text, a.Question.Answer, a.Calls)
		}
	}
}
