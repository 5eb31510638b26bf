package chat

import "testing"

func TestJSONValue(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":1},`:            `{"a":1}`,
		`{"a":{"b":[1]}} }`:   `{"a":{"b":[1]}}`,
		`{"a":"}"}}`:          `{"a":"}"}`,
		`{"a":"\"}"}}`:        `{"a":"\"}"}`,
		`{"a":"\\"}}`:         `{"a":"\\"}`,
		`"{\"a\":\"x\"}" }`:   `"{\"a\":\"x\"}"`,
		`{"a":"it goes on}`:   "",
		`{"a":[{"b":1}], "c"`: "",
	} {
		var v jsonValue
		got := ""
		for i := range len(text) {
			if v.step(text[i]) {
				got = text[:i+1]
				break
			}
		}
		if got != want {
			t.Errorf("%s: the value is %q", text, got)
		}
	}
}
