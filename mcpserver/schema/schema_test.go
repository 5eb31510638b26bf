package schema

import (
	"strings"
	"testing"
)

// TestCheckRemembersWhatIsValid: a text that was valid is not taken for another, and
// one that was not valid stays so.
func TestCheckRemembersWhatIsValid(t *testing.T) {
	s, err := Compile("t", `{"type":"object","properties":{"n":{"type":"integer"},"s":{"type":"string"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	long := `{"s":"` + strings.Repeat("x", mostKept) + `"}`
	for _, c := range []struct {
		text  string
		valid bool
		kept  string // what is remembered then
	}{
		{`{"n":"x"}`, false, ""},
		{`{"n":"x"}`, false, ""},
		{`{"n":1}`, true, `{"n":1}`},
		{`{"n":1}`, true, `{"n":1}`},
		{`{"n":"x"}`, false, `{"n":1}`},
		{`{"n":2}`, true, `{"n":2}`},
		{`{"n":1}`, true, `{"n":1}`},
		{long, true, `{"n":1}`},
		{`no JSON`, false, `{"n":1}`},
	} {
		if err := Check(s, []byte(c.text)); (err == nil) != c.valid {
			t.Errorf("%.40s: %v", c.text, err)
		}
		kept := ""
		if p := s.valid.Load(); p != nil {
			kept = *p
		}
		if kept != c.kept {
			t.Errorf("after %.40s %.40s is remembered, want %s", c.text, kept, c.kept)
		}
	}
}
