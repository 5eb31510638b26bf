package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestWorld(t *testing.T) {
	w := newWorld(7)
	if again := newWorld(7); !reflect.DeepEqual(w, again) {
		t.Error("the same seed makes other data")
	}
	other := newWorld(8)
	all := w.sql
	for _, text := range w.pages {
		all += text
	}
	for name, text := range w.files {
		all += name + text
	}
	n := map[string]int{}
	for i, q := range w.questions {
		n[q.Kind]++
		if !strings.Contains(all, q.Want) || strings.Contains(q.Text, q.Want) {
			t.Errorf("%q: %s is not in the data, or in the question", q.Text, q.Want)
		}
		if other.questions[i].Want == q.Want && !strings.HasPrefix(q.Text, "Which file") {
			t.Errorf("%q has the same answer with another seed", q.Text)
		}
		if len(q.others) == 0 || slices.Contains(q.others, q.Want) {
			t.Errorf("%q: its other values are %v", q.Text, q.others)
		}
	}
	for i, q := range w.questions {
		if q.Kind != kinds[i/perKind] {
			t.Errorf("question %d is on %s", i+1, q.Kind)
		}
	}
	for _, kind := range kinds {
		if n[kind] != perKind {
			t.Errorf("%d questions on %s", n[kind], kind)
		}
	}
}

func TestRight(t *testing.T) {
	q := question{Want: "48213", others: []string{"10001"}}
	for answer, want := range map[string]bool{
		"It is 48213.": true, "48,213": true, "code=48213": true, "It is 148213.": false, "It is 4821.": false,
		"48213 or 10001": false, "": false, "It is 10001.": false,
	} {
		if q.right(answer) != want {
			t.Errorf("%q: %v", answer, !want)
		}
	}
	if q := (question{Want: "Velmor"}); !q.right("velmor street") || q.right("Velmora") {
		t.Error("names are words of any case")
	}
}

func TestCalls(t *testing.T) {
	tools := []*tool{{Name: "a", Input: []byte(`{"type":"object","properties":{"x":{"type":"integer","minimum":1}},"required":["x"],"additionalProperties":false}`)}}
	if err := tools[0].compile(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tool, arguments string
		valid           bool
	}{{"a", `{"x":1}`, true}, {"a", `{"x":0}`, false}, {"a", `{}`, false}, {"a", `{"x":1,"y":2}`, false}, {"a", `{"x":1`, false}, {"b", `{"x":1}`, false}} {
		made := call{Tool: c.tool, Arguments: c.arguments}
		if made.check(tools); (made.Invalid == "") != c.valid {
			t.Errorf("%s %s: %q", c.tool, c.arguments, made.Invalid)
		}
	}
	for text, want := range map[string]string{
		`{"name": "a", "arguments": {"x": 1}}`: `{"x": 1}`, "```json\n{\"name\": \"a\", \"arguments\": {}}\n```": `{}`,
		`{"name": "a", "arguments": {}} words`: "", `{"name": "a", "arguments": [1]}`: "", "words": "", `{"name": "a"}`: "",
		`{"name": "a", "arguments": {}}` + "\n" + `{"name": "a", "arguments": {}}`: "",
	} {
		if name, arguments, ok := bareCall(text); arguments != want || ok != (want != "") || ok && name != "a" {
			t.Errorf("%q: %q %q %v", text, name, arguments, ok)
		}
	}
	if !leftAsText.MatchString(`So: {"name": "a", "arguments": {`) || leftAsText.MatchString(`{"name": "Anna", "age": 3}`) {
		t.Error("calls left as text")
	}
}

func TestReport(t *testing.T) {
	r := report{Lines: []line{
		{Side: sideHearth, question: question{Kind: kindWeb}, answer: answer{Calls: []call{{}, {Invalid: "x"}}}, Right: true},
		{Side: sidePlain, question: question{Kind: kindFolder}, LeftAsText: true},
	}}
	r.sum()
	if got, want := r.Sums[3], (tally{Side: sideHearth, Kind: "all", Questions: 1, Right: 1, Calls: 2, Valid: 1}); got != want {
		t.Errorf("got %+v", got)
	}
	if got, want := r.Sums[6], (tally{Side: sidePlain, Kind: kindFolder, Questions: 1, LeftAsText: 1, Silent: 1}); got != want {
		t.Errorf("got %+v", got)
	}
	var b strings.Builder
	r.print(&b)
	if !strings.Contains(b.String(), "| Hearth | all | 1 of 1 (100 %) | 1 of 2 (50 %) | 0 | 0 |") {
		t.Errorf("printed\n%s", b.String())
	}
	if err := r.verdict(); err == nil || !strings.Contains(err.Error(), "1 of 2 calls through Hearth are not valid") {
		t.Errorf("verdict: %v", err)
	}
	r.Lines[0].Calls, r.Lines[0].Right, r.Lines[1].Right, r.Sums = nil, false, true, nil
	r.sum()
	if err := r.verdict(); err == nil || !strings.Contains(err.Error(), "the plain client has 1 right answers, Hearth has 0") {
		t.Errorf("verdict: %v", err)
	}
}

func TestCutRunLeavesItsReport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	r := report{Seeds: []uint64{3}}
	for i := range 2 {
		r.Lines = append(r.Lines, line{Seed: 3, Side: sideLenient, Number: i + 1, question: question{Kind: kindFolder}, Right: i == 0})
		if err := r.save(file); err != nil {
			t.Fatal(err)
		}
		var got report
		if text, err := os.ReadFile(file); err != nil || json.Unmarshal(text, &got) != nil {
			t.Fatalf("%v: %s", err, text)
		}
		want := tally{Side: sideLenient, Kind: "all", Questions: i + 1, Right: 1, Silent: i + 1}
		if got.Whole || len(got.Lines) != i+1 || len(got.Sums) != len(kinds)+1 || got.Sums[len(kinds)] != want {
			t.Errorf("after %d answers: %+v", i+1, got)
		}
	}
	if err := r.verdict(); err != nil {
		t.Errorf("a run without Hearth: %v", err)
	}
}

func TestChoice(t *testing.T) {
	s := settings{each: perKind}
	if !s.asks(0) || !s.asks(29) {
		t.Error("without a choice, all are asked")
	}
	if err := s.chosen.Set("web,1,30"); err != nil {
		t.Fatal(err)
	}
	s.each = 3
	var got []int
	for i := range len(kinds) * perKind {
		if s.asks(i) {
			got = append(got, i+1)
		}
	}
	if !slices.Equal(got, []int{1, 11, 12, 13}) {
		t.Errorf("asked %v", got)
	}
	for _, bad := range []string{"", "0", "31", "shop,mail"} {
		if new(chosen).Set(bad) == nil {
			t.Errorf("%q is a choice", bad)
		}
	}
	two, err := chooseSides("lenient,hearth")
	if err != nil || len(two) != 2 || two[0].name != sideLenient || two[1].name != sideHearth {
		t.Errorf("%v, %v", two, err)
	}
	for _, bad := range []string{"", "hearth,hearth", "nobody"} {
		if _, err := chooseSides(bad); err == nil {
			t.Errorf("%q are sides", bad)
		}
	}
}
