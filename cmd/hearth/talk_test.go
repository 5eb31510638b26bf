package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/peterh/liner"

	"hearth/inference"
)

// script is an editor whose lines were typed before.
type script struct {
	lines   []string
	history []string
	prompts []string
}

func (s *script) Prompt(p string) (string, error) {
	s.prompts = append(s.prompts, p)
	if len(s.lines) == 0 {
		return "", io.EOF
	}
	line := s.lines[0]
	s.lines = s.lines[1:]
	if line == "^C" {
		return "", liner.ErrPromptAborted
	}
	return line, nil
}

func (s *script) AppendHistory(item string) { s.history = append(s.history, item) }

func talkTo(m *fakeModel, lines ...string) (c *conversation, s *script, out, status *bytes.Buffer, err error) {
	out, status = &bytes.Buffer{}, &bytes.Buffer{}
	c = &conversation{model: m, options: inference.Options{N: 1}, out: out, status: status}
	s = &script{lines: lines}
	err = c.loop(context.Background(), s)
	return c, s, out, status, err
}

func texts(messages []inference.Message) []string {
	var all []string
	for _, m := range messages {
		all = append(all, string(m.Role)+": "+m.Content)
	}
	return all
}

func TestConversationRemembers(t *testing.T) {
	m := &fakeModel{events: says("Hel", "lo")}
	c, s, out, status, err := talkTo(m, "/system Be kind.", "one", `two\`, "lines", "^C", "", "/stats", "/nonsense", "/help")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"system: Be kind.", "user: one", "assistant: Hello", "user: two\nlines", "assistant: Hello"}
	if d := cmp.Diff(want, texts(c.messages)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want[:4], texts(m.chat.Messages)); d != "" {
		t.Error("the second request:", d)
	}
	for _, part := range []string{"Hello\n", "(Ctrl-D or /exit leaves)", "2 answers, 4 tokens generated, 8 of 22 prompt tokens cached", "context 13 of 100", "no command /nonsense", "forget the conversation"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the output lacks %q:\n%s", part, out)
		}
	}
	if status.Len() > 0 {
		t.Errorf("status: %s", status)
	}
	if d := cmp.Diff([]string{"/system Be kind.", "one", "two lines", "/stats", "/nonsense", "/help"}, s.history); d != "" {
		t.Error(d)
	}
}

func TestConversationForgets(t *testing.T) {
	m := &fakeModel{events: says("ok")}
	c, _, _, _, err := talkTo(m, "/system S", "one", "/reset", "two", "/system", "/exit", "never")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"user: two", "assistant: ok"}, texts(c.messages)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"system: S", "user: two"}, texts(m.chat.Messages)); d != "" {
		t.Error(d)
	}
}

func TestConversationWarnsBeforeTheContextIsFull(t *testing.T) {
	for _, c := range []struct {
		prompt, completion int
		want               string
	}{
		{10, 64, ""},
		{10, 65, "takes 75 of 100 tokens of the context, and 25 are left: /reset"},
		{90, 10, "takes 100 of 100 tokens of the context, and 0 are left: /reset"},
	} {
		events := says("ok")
		for i := range events {
			if events[i].Kind == inference.EventUsage {
				events[i].Usage = inference.Usage{PromptTokens: c.prompt, CompletionTokens: c.completion}
			}
		}
		_, _, _, status, err := talkTo(&fakeModel{events: events}, "go on")
		if err != nil {
			t.Fatal(err)
		}
		if got := status.String(); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%d and %d tokens: %q, want %q", c.prompt, c.completion, got, c.want)
		}
	}
}

func TestConversationSurvivesErrors(t *testing.T) {
	m := &fakeModel{err: &inference.OverflowError{Prompt: 200, Context: 100}}
	c, _, _, status, err := talkTo(m, "too long")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.messages) != 0 {
		t.Errorf("an unanswered message was kept: %v", texts(c.messages))
	}
	if !strings.Contains(status.String(), "200 tokens") || !strings.Contains(status.String(), "/reset") {
		t.Errorf("status: %s", status)
	}
}

// TestStoppedAnswerIsKept: what the user saw is what the model remembers.
func TestStoppedAnswerIsKept(t *testing.T) {
	m := &fakeModel{events: says("half")[:1], end: inference.ErrCancelled}
	c := &conversation{model: m, out: io.Discard, status: io.Discard}
	if err := c.answer(t.Context(), "go"); !errors.Is(err, inference.ErrCancelled) {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff([]string{"user: go", "assistant: half"}, texts(c.messages)); d != "" {
		t.Error(d)
	}
	if m.closed != 1 {
		t.Errorf("the stream was closed %d times", m.closed)
	}
}

func TestThinkingIsShownOnATerminalOnly(t *testing.T) {
	events := append([]inference.Event{{Kind: inference.EventDelta, Reasoning: "hm"}}, says("yes")...)
	for color, want := range map[bool]string{false: "yes\n", true: "\x1b[2mhm\x1b[0m\nyes\n"} {
		var out bytes.Buffer
		c := &conversation{model: &fakeModel{events: events}, out: &out, status: io.Discard, color: color}
		if err := c.answer(t.Context(), "?"); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("color %v: %q, want %q", color, &out, want)
		}
	}
}

func TestPrinterPrintsSeveralChoicesWhole(t *testing.T) {
	events := []inference.Event{
		{Kind: inference.EventDelta, Choice: 1, Content: "b1"},
		{Kind: inference.EventDelta, Choice: 0, Content: "a"},
		{Kind: inference.EventDelta, Choice: 1, Content: "b2\n"},
		{Kind: inference.EventFinish, Choice: 1, Finish: inference.FinishLength},
	}
	s, err := (&fakeModel{events: events}).Complete(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := &printer{out: &out, status: io.Discard, choices: 2}
	if _, err := p.print(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if want := "==> 1 <==\na\n==> 2 <==\nb1b2\n"; out.String() != want || !p.cut {
		t.Errorf("%q (cut %v), want %q", &out, p.cut, want)
	}
}

func TestMeter(t *testing.T) {
	clock := time.Unix(0, 0)
	for _, terminal := range []bool{false, true} {
		var out bytes.Buffer
		m := newMeter(&out, terminal, "loading x")
		m.now = func() time.Time { return clock }
		m.began, m.line = clock, clock
		m.set(1, 10)
		clock = clock.Add(barDelay - 1)
		m.set(2, 10)
		if out.Len() != 0 {
			t.Errorf("terminal %v: shown within a second: %q", terminal, &out)
		}
		clock = clock.Add(time.Second)
		m.set(3, 10)
		if shown := strings.Contains(out.String(), "loading x"); shown != terminal {
			t.Errorf("terminal %v: after two seconds: %q", terminal, &out)
		}
		clock = clock.Add(lineInterval)
		m.set(4, 10)
		m.set(5, 10)
		if !strings.Contains(out.String(), "40") || (!terminal && out.String() != "loading x: 40 %\n") {
			t.Errorf("terminal %v: %q", terminal, &out)
		}
		out.Reset()
		clock = clock.Add(lineInterval)
		m.say("6 of 10 y")
		m.set(6, 10)
		if !strings.Contains(out.String(), "6 of 10 y") {
			t.Errorf("terminal %v: another text is not shown: %q", terminal, &out)
		}
		m.set(5, 0) // a total that is not known is not divided by
		m.finish()
		m.finish()
	}
}
