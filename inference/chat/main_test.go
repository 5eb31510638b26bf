package chat_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"hearth/inference/llama"
)

// TestMain fails the package if a test left a goroutine or a handle open.
func TestMain(m *testing.M) {
	code := m.Run()
	if live := llama.LiveHandles(); len(live) > 0 {
		fmt.Fprintln(os.Stderr, "FAIL: handles that were not closed:", live)
		code = 1
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		code = 1
	}
	os.Exit(code)
}
