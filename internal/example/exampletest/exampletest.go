// Package exampletest is the test of the worked examples: it runs one with values of its
// own and looks for them in what the model's calls found. It holds nothing.
package exampletest

import (
	"flag"
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

// Check runs the example, with more arguments for its own flags, and fails where no call
// of the model's found a value that was asked for. The model's own words are only
// logged: a small one loses a value now and then.
func Check(t *testing.T, setup example.Setup, flags func(*flag.FlagSet), more ...string) {
	t.Helper()
	// The servers end with the thread that starts them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	seed := strconv.FormatUint(rand.Uint64(), 10)
	t.Logf("seed %s", seed)
	arguments := append([]string{
		"-hearth", filepath.Join(testkit.Root(t), "build", "out", "bin", "hearth"), "-model", testkit.ToolModel(t), "-threads", "1", "-seed", seed,
	}, more...)
	answers, err := example.Run(t.Context(), setup, flags, io.Discard, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	if len(answers) < 2 {
		t.Fatalf("%d answers, want one to each question", len(answers))
	}
	for _, a := range answers {
		t.Logf("%s\n%s", a.Question.Text, a.Text)
		found := false
		for _, c := range a.Calls {
			found = found || strings.Contains(c.Output, a.Question.Answer)
		}
		if !found {
			t.Errorf("%s\nno call found %s: %+v", a.Question.Text, a.Question.Answer, a.Calls)
		}
	}
}
