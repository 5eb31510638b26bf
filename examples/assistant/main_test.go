package main

import (
	"io"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"hearth/internal/example"
	"hearth/internal/testkit"
)

// TestExample: a call of the model's finds the values, which are of this run only. Its own
// words are not held to them: a small model loses a value now and then.
func TestExample(t *testing.T) {
	// The servers end with the thread that starts them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	node, modules := testkit.NPM(t)
	var p programs
	seed := strconv.FormatUint(rand.Uint64(), 10)
	t.Logf("seed %s", seed)
	answers, err := example.Run(t.Context(), p.setup, p.flags, io.Discard,
		"-hearth", filepath.Join(testkit.Root(t), "build", "out", "bin", "hearth"), "-model", testkit.ToolModel(t), "-threads", "1", "-seed", seed, "-node", node, "-modules", modules, "-python", testkit.Python(t))
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
		t.Logf("%s\n%s", a.Question.Text, a.Text)
		if !found {
			t.Errorf("%s\nno call found %s: %+v", a.Question.Text, a.Question.Answer, a.Calls)
		}
	}
}
