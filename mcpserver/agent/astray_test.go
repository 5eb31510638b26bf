package agent

import (
	"strings"
	"testing"

	"hearth/inference"
)

func TestWhatTheModelGetsWrong(t *testing.T) {
	w := newWorld(t, nil, calls("db__querry", `{}`, "db__query", `[1]`, "db__query", `{"a":`, "db__query", ``))
	if _, err := w.run(t, ask()); err != nil {
		t.Fatal(err)
	}
	results := w.model.requests[1].Messages[2:]
	for i, want := range []string{
		`There is no tool "db__querry". The tools are: db__query, db__drop, web__fetch. Call one of them, or answer in words.`,
		"no JSON object", "no JSON object", "{}",
	} {
		if !strings.Contains(results[i].Content, want) {
			t.Errorf("result %d is %q, want %q", i, results[i].Content, want)
		}
	}
	if len(w.tools.made) != 1 {
		t.Errorf("%d calls ran, want 1", len(w.tools.made))
	}
	if q := w.model.requests[0]; !q.HoldCalls || !q.LooseCalls {
		t.Errorf("what the model begins is not held to be right, or what is wrong not read: %+v", q)
	}
}

func TestInventedTools(t *testing.T) {
	invented := func() []inference.Event { return calls("stock", `{"of":"nails"}`) }
	reading := inference.HostedTools{Label: "db", ReadOnly: true}
	for _, c := range []struct {
		name     string
		hosted   inference.HostedTools
		answers  [][]inference.Event
		messages int    // of the last request
		says     string // its last message
		mode     inference.ToolMode
		unknown  bool // an answer of that shape is taken as a call again
	}{
		{
			"once", reading,
			[][]inference.Event{invented()},
			1, "hello\n\nThe tools are: db__query. Call one of them, or answer in words.", "", true,
		},
		{
			"after a result", reading,
			[][]inference.Event{calls("db__query", `{}`), invented()},
			3, "{}\n\nThe tools are: db__query. Call one of them, or answer in words.", "", true,
		},
		{
			"twice, where nothing writes", reading,
			[][]inference.Event{invented(), invented()},
			1, "hello\n\nThe tools are: db__query. Call one of them, or answer in words.", inference.ToolRequired, false,
		},
		{
			"twice, where something writes",
			inference.HostedTools{Label: "db"},
			[][]inference.Event{invented(), invented()},
			3, `There is no tool "stock". The tools are: db__query, db__drop. Call one of them, or answer in words.`, "", false,
		},
		{
			"three times", reading,
			[][]inference.Event{invented(), invented(), invented()},
			1, "hello\n\nThe tools are: db__query. Call one of them, or answer in words.", "", false,
		},
		{
			"beside a tool there is", reading,
			[][]inference.Event{calls("stock", `{}`, "db__query", `{}`)},
			4, `{}`, "", true,
		},
		{
			"beside words", reading,
			[][]inference.Event{says("Let me see.", inference.FinishToolCalls, inference.ToolCallDelta{ID: "c", Name: "stock", Arguments: `{}`})},
			3, `There is no tool "stock". The tools are: db__query. Call one of them, or answer in words.`, "", true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, c.answers...)
			r := ask(c.hosted)
			events, err := w.run(t, r)
			if err != nil {
				t.Fatal(err)
			}
			last := w.model.requests[len(w.model.requests)-1]
			if n := len(last.Messages); n != c.messages || last.Messages[n-1].Content != c.says {
				t.Errorf("the model reads %+v", last.Messages)
			}
			if last.ToolChoice.Mode != c.mode || last.UnknownCalls != c.unknown || !w.model.requests[0].UnknownCalls {
				t.Errorf("tool choice %q, such calls are taken: %v", last.ToolChoice.Mode, last.UnknownCalls)
			}
			if text := tell(events); strings.Contains(text, "stock") || !strings.Contains(text, "enough") {
				t.Errorf("who asked reads\n%s", text)
			}
			if r.Messages[0].Content != "hello" {
				t.Errorf("the client's message became %q", r.Messages[0].Content)
			}
		})
	}
}
