package chat

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"hearth/inference"
)

func bareTools() map[string]*inference.Tool {
	w := weather()
	return map[string]*inference.Tool{
		"weather": &w,
		"time":    {Name: "time"},
		"fetched": {Name: "fetched", Parameters: json.RawMessage(`{"$ref":"file:///etc/hostname"}`)},
		"broken":  {Name: "broken", Parameters: json.RawMessage(`{"type":"unicorn"}`)},
	}
}

// runBare feeds the parts and joins what comes out.
func runBare(t testing.TB, parts []string, reason inference.FinishReason) (text string, calls []inference.ToolCall, taken int) {
	t.Helper()
	d := &bareCalls{inner: plainDecoder{}, scan: bareScan{tools: bareTools()}, newID: func() string { return "id" }, taken: func() { taken++ }}
	take := func(pieces []piece) {
		for _, p := range pieces {
			text += p.content
			if p.call != nil {
				addCall(t, &calls, p.call)
			}
		}
	}
	for _, s := range parts {
		take(d.feed(s))
	}
	take(d.finish(reason))
	return text, calls, taken
}

func TestBareCalls(t *testing.T) {
	const object = `{"name": "weather", "arguments": {"city": "Köln"}}`
	for _, c := range []struct {
		name, in   string
		tool, args string // empty: the text stays as it is
	}{
		{name: "bare", in: object, tool: "weather", args: `{"city": "Köln"}`},
		{name: "space around", in: "\n " + object + "\n\n", tool: "weather", args: `{"city": "Köln"}`},
		{name: "over lines", in: "{\n  \"name\": \"weather\",\n  \"arguments\": {\n    \"city\": \"}`\\\"{\"\n  }\n}", tool: "weather", args: "{\n    \"city\": \"}`\\\"{\"\n  }"},
		{name: "fence of json", in: "```json\n" + object + "\n```", tool: "weather", args: `{"city": "Köln"}`},
		{name: "fence of nothing", in: "```\n" + object + "\n```\n", tool: "weather", args: `{"city": "Köln"}`},
		{name: "fence that stays open", in: "```json\n" + object, tool: "weather", args: `{"city": "Köln"}`},
		{name: "arguments first", in: `{"arguments":{"city":"Bonn"},"name":"weather"}`, tool: "weather", args: `{"city":"Bonn"}`},
		{name: "arguments as text", in: `{"name":"weather","arguments":"{\"city\":\"Bonn\"}"}`, tool: "weather", args: `{"city":"Bonn"}`},
		{name: "no arguments needed", in: `{"name":"time","arguments":{}}`, tool: "time", args: `{}`},

		{name: "nothing", in: ""},
		{name: "words", in: "It rains."},
		{name: "words before", in: "Here: " + object},
		{name: "words after", in: object + " That is the call."},
		{name: "words after the fence", in: "```json\n" + object + "\n```\nThere."},
		{name: "two", in: object + object},
		{name: "another fence", in: "```python\n" + object + "\n```"},
		{name: "four backquotes", in: "````\n" + object + "\n````"},
		{name: "backquotes without a fence", in: object + "```"},
		{name: "two backquotes at the end", in: "```\n" + object + "\n``"},
		{name: "another tool", in: `{"name": "rm", "arguments": {}}`},
		{name: "beginning of a tool's name", in: `{"name": "weath", "arguments": {}}`},
		{name: "arguments of a wrong type", in: `{"name": "weather", "arguments": {"city": 7}}`},
		{name: "missing argument", in: `{"name": "weather", "arguments": {}}`},
		{name: "no arguments", in: `{"name": "time"}`},
		{name: "no name", in: `{"arguments": {}}`},
		{name: "name twice", in: `{"name": "time", "name": "weather", "arguments": {}}`},
		{name: "arguments twice", in: `{"arguments": {}, "arguments": {}, "name": "time"}`},
		{name: "one more member", in: `{"name": "time", "arguments": {}, "id": 1}`},
		{name: "comma at the end", in: `{"name": "time", "arguments": {},}`},
		{name: "arguments that are a list", in: `{"name": "time", "arguments": []}`},
		{name: "arguments as other text", in: `{"name": "time", "arguments": "now"}`},
		{name: "brackets that do not match", in: `{"name": "time", "arguments": {"a": [}]}`},
		{name: "cut off", in: `{"name": "weather", "arguments": {"city": "Kö`},
		{name: "list", in: "[" + object + "]"},
		{name: "other JSON", in: `{"city": "Köln"}`},
		{name: "schema that refers to a file", in: `{"name": "fetched", "arguments": {}}`},
		{name: "schema that is none", in: `{"name": "broken", "arguments": {}}`},
		{name: "deep arguments", in: `{"name": "time", "arguments": {"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}`},
		{name: "long arguments", in: `{"name": "time", "arguments": {"a":"` + strings.Repeat("x", maxBareCall) + `"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for how, parts := range map[string][]string{"whole": {c.in}, "by rune": runes(c.in)} {
				text, calls, taken := runBare(t, parts, inference.FinishStop)
				if c.tool == "" {
					if text != c.in || calls != nil || taken != 0 {
						t.Errorf("%s: got text %.200q, calls %v, counted %d", how, text, calls, taken)
					}
					continue
				}
				want := []inference.ToolCall{{ID: "id", Name: c.tool, Arguments: c.args}}
				if text != "" || !reflect.DeepEqual(calls, want) || taken != 1 {
					t.Errorf("%s: got text %q, calls %v, counted %d; want %v", how, text, calls, taken, want)
				}
			}
			if text, calls, _ := runBare(t, []string{c.in}, inference.FinishLength); text != c.in || calls != nil {
				t.Errorf("cut off by its length: got text %.200q, calls %v", text, calls)
			}
		})
	}
}

// What cannot become a call any more is passed on at once.
// TestLooseCalls: where the model is told what is wrong with its arguments, they
// make a call whatever they are; a tool that was not offered makes none.
func TestLooseCalls(t *testing.T) {
	for in, want := range map[string]string{
		`{"name": "weather", "arguments": {"city": 3, "x": 1}}`: `{"city": 3, "x": 1}`,
		`{"name": "broken", "arguments": {}}`:                   `{}`,
		`{"name": "other", "arguments": {}}`:                    "",
		`{"name": "weather", "arguments": [1]}`:                 "",
	} {
		d := &bareCalls{inner: plainDecoder{}, scan: bareScan{tools: bareTools()}, newID: func() string { return "id" }, taken: func() {}, loose: true}
		var text, args string
		for _, p := range append(d.feed(in), d.finish(inference.FinishStop)...) {
			text += p.content
			if p.call != nil {
				args += p.call.Arguments
			}
		}
		if args != want || (text == "") != (want != "") {
			t.Errorf("%s: call with %q, text %q", in, args, text)
		}
	}
}

// TestUnknownCalls: where the model is told which tools there are, what is shaped like
// a call of another is a call, and nothing else is.
func TestUnknownCalls(t *testing.T) {
	for in, want := range map[string]string{
		`{"name": "other", "arguments": {"city": 3}}`:            "other",
		"```json\n{\"arguments\": {}, \"name\": \"other\"}\n```": "other",
		`{"name": "John Doe", "arguments": {}}`:                  "John Doe",
		`{"name": "weath", "arguments": {}}`:                     "weath", // begins a tool's name
		`{"name": "weathers", "arguments": {}}`:                  "weathers",
		`{"name": "time", "arguments": {}}`:                      "time",

		`{"name": "weather", "arguments": {"city": 3}}`:                              "", // a tool there is, called wrongly
		`{"name": "other", "arguments": [1]}`:                                        "",
		`{"name": "other", "arguments": "{}"}`:                                       "",
		`{"arguments": "{}", "name": "other"}`:                                       "",
		`{"name": "other", "arguments": null}`:                                       "",
		`{"name": "other", "arguments": {}, "age": 3}`:                               "",
		`{"name": "Anna", "age": 3}`:                                                 "",
		`{"name": "Anna"}`:                                                           "",
		`{"name": "", "arguments": {}}`:                                              "",
		`{"name": " ", "arguments": {}}`:                                             "",
		`{"name": "a\nb", "arguments": {}}`:                                          "",
		`{"name": "` + strings.Repeat("x", maxUnknownName+1) + `", "arguments": {}}`: "",
		`So: {"name": "other", "arguments": {}}`:                                     "",
		`{"name": "other", "arguments": {}} is a call.`:                              "",
		`{"name": "other", "arguments": {}}{"name": "other", "arguments": {}}`:       "",
	} {
		d := &bareCalls{inner: plainDecoder{}, scan: bareScan{tools: bareTools(), any: true}, newID: func() string { return "id" }, taken: func() {}}
		var text, name, args string
		for _, r := range in {
			for _, p := range d.feed(string(r)) {
				text += p.content
			}
		}
		for _, p := range d.finish(inference.FinishStop) {
			text += p.content
			if p.call != nil {
				name, args = p.call.Name, args+p.call.Arguments
			}
		}
		if name != want || want == "" && text != in || want != "" && (text != "" || !json.Valid([]byte(args))) {
			t.Errorf("%s: call of %q with %q, text %q", in, name, args, text)
		}
	}
}

func TestBareCallsHoldNoLongerThanNeeded(t *testing.T) {
	for _, c := range []struct{ text, next string }{
		{"  ", "I"},
		{"``", "x"},
		{"```", "p"},
		{`{"`, "c"},
		{`{"name": "`, "x"},
		{`{"name": "time", "arguments": `, "["},
	} {
		d := &bareCalls{inner: plainDecoder{}, scan: bareScan{tools: bareTools()}, newID: func() string { return "" }, taken: func() {}}
		if out := d.feed(c.text); len(out) != 0 {
			t.Errorf("%q may still be a call, but %v came out", c.text, out)
		}
		if out := d.feed(c.next); len(out) != 1 || out[0].content != c.text+c.next {
			t.Errorf("after %q nothing is open, but %v came out", c.text+c.next, out)
		}
	}
}

// A call in the template's own form ends the holding back, and reasoning is
// never held.
func TestBareCallsBesideOthers(t *testing.T) {
	inner := &scripted{[]piece{{reasoning: "hm"}, {content: "{"}, {call: &inference.ToolCallDelta{ID: "a", Name: "time"}}, {content: "x"}}}
	d := &bareCalls{inner: inner, scan: bareScan{tools: bareTools()}, newID: func() string { return "" }, taken: func() { t.Error("counted") }}
	got := d.feed("")
	want := []piece{{reasoning: "hm"}, {content: "{"}, {call: &inference.ToolCallDelta{ID: "a", Name: "time"}}, {content: "x"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// scripted is a decoder that says the same whatever it is fed.
type scripted struct{ pieces []piece }

func (s *scripted) feed(string) []piece                   { return s.pieces }
func (s *scripted) finish(inference.FinishReason) []piece { return nil }

// FuzzBareCalls: text that is no call comes out as it went in, a call has an
// offered tool and arguments that its schema accepts, and neither depends on how
// the text was cut.
func FuzzBareCalls(f *testing.F) {
	for _, s := range []string{
		"", "plain", "```json\n{\"name\": \"weather\", \"arguments\": {\"city\": \"x\"}}\n```", `{"arguments":"{}","name":"time"}`,
		"{\"name\": \"time\", \"arguments\": {\"a\": [1, \"}\"]}} ", "``` ", `{"name": "wea`, "\n{ \"name\" : \"time\" , \"arguments\" : { } }",
	} {
		f.Add(s, uint8(3), true)
	}
	f.Fuzz(func(t *testing.T, in string, size uint8, stopped bool) {
		reason := inference.FinishLength
		if stopped {
			reason = inference.FinishStop
		}
		text, calls, taken := runBare(t, []string{in}, reason)
		n := int(size%16) + 1
		var parts []string
		for s := in; s != ""; {
			k := min(n, len(s))
			parts, s = append(parts, s[:k]), s[k:]
		}
		if again, same, _ := runBare(t, parts, reason); again != text || !reflect.DeepEqual(same, calls) {
			t.Errorf("%q in parts of %d: got %q %v, want %q %v", in, n, again, same, text, calls)
		}
		if len(calls) != taken || len(calls) > 1 {
			t.Fatalf("%d calls, counted %d", len(calls), taken)
		}
		if len(calls) == 0 {
			if text != in {
				t.Errorf("%q became %q", in, text)
			}
			return
		}
		tool := bareTools()[calls[0].Name]
		if text != "" || !stopped || tool == nil || !satisfies(calls[0].Arguments, parameters(tool)) {
			t.Errorf("%q became %q and %v", in, text, calls)
		}
		var whole map[string]any
		body := strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(in), "```"), "json"), "```"))
		if err := json.Unmarshal([]byte(body), &whole); err == nil && fmt.Sprint(whole["name"]) != calls[0].Name {
			t.Errorf("%q became a call of %s", in, calls[0].Name)
		}
	})
}
