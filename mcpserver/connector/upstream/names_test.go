package upstream

import (
	"maps"
	"testing"

	"github.com/rs/zerolog"
)

// TestNames: what a server calls its tools, two of them are never one to clients.
func TestNames(t *testing.T) {
	u := &Upstream{label: "up", log: zerolog.Nop()}
	taken := u.hashed("a_b")
	for _, c := range []struct {
		theirs []string
		want   map[string]string
	}{
		{[]string{"a.b", "c"}, map[string]string{"a.b": "a_b", "c": "c"}},
		{[]string{"a.b", "a_b"}, map[string]string{"a.b": "a_b", "a_b": taken}},
		// Made so that the name with the hash is taken, too.
		{[]string{"a.b", taken, "a_b"}, map[string]string{"a.b": "a_b", taken: taken}},
	} {
		var tools []definition
		for _, name := range c.theirs {
			tools = append(tools, definition{Name: name})
		}
		if got := u.names(tools); !maps.Equal(got, c.want) {
			t.Errorf("%q became %q, want %q", c.theirs, got, c.want)
		}
	}
}
