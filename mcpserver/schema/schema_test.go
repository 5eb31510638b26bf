package schema

import (
	"errors"
	"strings"
	"testing"

	"hearth/inference"
)

// TestCheck: what breaks a schema is told by the field, the bound and what was there.
func TestCheck(t *testing.T) {
	const text = `{"type":"object","required":["n"],"additionalProperties":false,"properties":{
		"n":{"type":"integer","minimum":1,"maximum":9},"s":{"minLength":2,"maxLength":3,"enum":["ab","abc","a","abcd"]},
		"l":{"minItems":1,"maxItems":2,"items":{"type":["string","null"]}},"d":{"format":"date"},"o":{"properties":{"in":{"type":"boolean"}}}}}`
	s, err := Compile("x", text)
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{
		`{"n":1}`:                  "",
		`{"n":3.0,"l":["a",null]}`: "",
		`{}`:                       "n: is required",
		`{"n":0}`:                  "n: must be at least 1, got 0",
		`{"n":1e300}`:              "n: must be at most 9, got 1e+300",
		`{"n":"1"}`:                "n: must be of type integer, got string",
		`{"n":1,"s":"abd"}`:        "s: must be one of ab, abc, a, abcd, got abd",
		`{"n":1,"s":"a"}`:          "s: must have at least 2 characters, got 1",
		`{"n":1,"s":"abcd"}`:       "s: must have at most 3 characters, got 4",
		`{"n":1,"l":[]}`:           "l: must have at least 1 items, got 0",
		`{"n":1,"l":["","",""]}`:   "l: must have at most 2 items, got 3",
		`{"n":1,"l":["",7]}`:       "l[1]: must be of type null or string, got number",
		`{"n":1,"o":{"in":1}}`:     "o.in: must be of type boolean, got number",
		`{"n":1,"d":"tomorrow"}`:   "d: ",
		`{"n":1,"m":1}`:            "m: is not an argument of this tool",
		`{"n":1,"s":"` + strings.Repeat("x", 200) + `"}`: "…",
		`{"n":1`:          "not valid JSON",
		`{"n":1e9999999}`: "a number has more than",
	} {
		err := Check(s, []byte(given))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", given, err)
		case want != "" && (!errors.Is(err, inference.ErrInvalid) || !strings.Contains(err.Error(), want) || len(err.Error()) > 300):
			t.Errorf("%s: %v, want %q", given, err, want)
		}
		if again := Check(s, []byte(given)); (again == nil) != (err == nil) {
			t.Errorf("%s: the second check says %v", given, again)
		}
	}
}
