package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecret(t *testing.T) {
	t.Setenv("HEARTH_TEST_SECRET", "from the environment")
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, maxSecret+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		secret      Secret
		value       string
		check, read string // parts of what is wrong
	}{
		{"", "", "", ""},
		{"env:HEARTH_TEST_SECRET", "from the environment", "", ""},
		{Secret("file:" + file), "from a file", "", ""},
		{"env:HEARTH_TEST_NOT_SET", "", "", "HEARTH_TEST_NOT_SET is not set"},
		{Secret("file:" + filepath.Join(dir, "none")), "", "", "no such file"},
		{Secret("file:" + dir), "", "", "must be a file of at most"},
		{Secret("file:" + large), "", "", "must be a file of at most"},
		{"hunter2", "", "env:NAME or file:PATH", "env:NAME or file:PATH"},
		{"env:", "", "names nothing", "is not set"},
	} {
		if got := c.secret.Check(); !strings.Contains(got, c.check) || (c.check == "") != (got == "") {
			t.Errorf("Check of %q: %q, want %q", c.secret, got, c.check)
		}
		value, err := c.secret.Value()
		if value != c.value || (err == nil) != (c.read == "") || err != nil && !strings.Contains(err.Error(), c.read) {
			t.Errorf("Value of %q: %q, %v; want %q, %q", c.secret, value, err, c.value, c.read)
		}
	}
}
