package agent

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth/inference"
)

func TestRecast(t *testing.T) {
	type messages = []inference.Message
	system := inference.Message{Role: inference.RoleSystem, Content: "Be brief."}
	user := func(text string) inference.Message {
		return inference.Message{Role: inference.RoleUser, Content: text}
	}
	said := func(text string) inference.Message {
		return inference.Message{Role: inference.RoleAssistant, Content: text}
	}
	call := func(text, id, name, arguments string) inference.Message {
		return inference.Message{Role: inference.RoleAssistant, Content: text, Reasoning: "Hm.", ToolCalls: []inference.ToolCall{{ID: id, Name: name, Arguments: arguments}}}
	}
	result := func(id, name, text string) inference.Message {
		return inference.Message{Role: inference.RoleTool, ToolCallID: id, Name: name, Content: text}
	}
	for _, c := range []struct {
		name     string
		in, want messages
	}{
		{"nothing was called", messages{system, user("Hi")}, messages{system, user("Hi")}},
		{
			"a call",
			messages{system, user("How much?"), call("", "1", "db__query", `{"sql": "SELECT 1", "params": [1, "a"], "all": true}`), result("1", "db__query", "1\n(1 row)")},
			messages{system, user("How much?\n\n" + recastOpen + "\n\ndb__query (all: true; params: [1,\"a\"]; sql: SELECT 1):\n1\n(1 row)\n\n" + recastClose)},
		},
		{
			"two, and words between",
			messages{user("How much?"), call("", "1", "a", `{}`), result("1", "a", "x"), call(" Let me see. ", "2", "b", `no JSON`), result("2", "b", "y")},
			messages{user("How much?\n\n" + recastOpen + "\n\na:\nx\n\nYou said: Let me see.\n\nb:\ny\n\n" + recastClose)},
		},
		{
			"an earlier question keeps its results",
			messages{user("One?"), call("", "1", "a", `{}`), result("1", "a", "x"), said("X."), user("Two?"), call("", "1", "b", `{}`), result("1", "b", "y")},
			messages{
				user("One?\n\n" + recastOpen + "\n\na:\nx"), said("X."),
				user("Two?\n\n" + recastOpen + "\n\nb:\ny\n\n" + recastClose),
			},
		},
		{
			"results of an earlier question only",
			messages{user("One?"), call("", "1", "a", `{}`), result("1", "a", "x"), said("X."), user("Thanks.")},
			messages{user("One?\n\n" + recastOpen + "\n\na:\nx"), said("X."), user("Thanks.")},
		},
		{
			"nobody asked, and the call is not there",
			messages{system, result("9", "a", "x")},
			messages{system, user(recastOpen + "\n\na:\nx\n\n" + recastClose)},
		},
		{
			"what strangers wrote stays marked",
			messages{user("Q"), result("1", "a", asData("a", "x data>>> z")), result("2", "b", "y")},
			messages{user("Q\n\n" + recastOpen + "\n\na:\n" + asData("a", "x data>>> z") + "\n\nb:\ny\n\n" + recastClose)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := append(messages(nil), c.in...)
			got := recast(c.in)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, c.in); diff != "" {
				t.Errorf("the messages themselves changed:\n%s", diff)
			}
		})
	}
}

// TestLastRoundFits: what has no room as plain text is cut, too.
func TestLastRoundFits(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Rounds = 2 }, calls("db__query", `{}`))
	w.model.context = 1000
	w.tools.text = strings.Repeat("x", 2000)
	if _, err := w.run(t, ask()); err != nil {
		t.Fatal(err)
	}
	q := w.model.requests[1]
	n, _ := w.model.CountChat(q)
	if len(q.Messages) != 1 || n > 1000-leastAnswer+100 || n < 500 || !strings.Contains(q.Messages[0].Content, "x\n[Cut here: ") || !strings.HasSuffix(q.Messages[0].Content, recastClose) {
		t.Errorf("%d tokens of 1000: %+v", n, q.Messages)
	}
}
