package router

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hearth/inference"
)

func TestRegistration(t *testing.T) {
	long := strings.Repeat("x", MaxNameBytes)
	for _, c := range []struct {
		name  string
		label string
		tool  Tool
		says  string
	}{
		{"good", "db", Tool{Name: "get", Input: anything}, ""},
		{"label in capitals", "DB", Tool{Name: "get", Input: anything}, `the name "DB" must match`},
		{"label with a separator", "a__b", Tool{Name: "get", Input: anything}, "must match"},
		{"name too long", "db", Tool{Name: long, Input: anything}, "must match"},
		{"name with a space", "db", Tool{Name: "get it", Input: anything}, `tool "get it": the name "db__get it" must match`},
		{"no name", "db", Tool{Input: anything}, "must match"},
		{"no schema", "db", Tool{Name: "get"}, "the schema of the arguments is missing"},
		{"schema that is no JSON", "db", Tool{Name: "get", Input: json.RawMessage(`{`)}, "db__get/input: not valid JSON"},
		{"schema that is none", "db", Tool{Name: "get", Input: json.RawMessage(`{"type":"objekt"}`)}, "db__get/input"},
		{"output that is none", "db", Tool{Name: "get", Input: anything, Output: json.RawMessage(`{"type":3}`)}, "db__get/output"},
		{"reference over the network", "db", Tool{Name: "get", Input: json.RawMessage(`{"$ref":"https://example.org/schema"}`)}, "example.org"},
		{"reference to a file", "db", Tool{Name: "get", Input: json.RawMessage(`{"$ref":"file:///etc/passwd"}`)}, "file:///etc/passwd"},
		{"schema too large", "db", Tool{Name: "get", Input: json.RawMessage(`{"description":"` + strings.Repeat("x", MaxSchemaBytes) + `"}`)}, "at most 262144 are taken"},
		{"description too long", "db", Tool{Name: "get", Input: anything, Description: strings.Repeat("x", maxDescriptionBytes+1)}, "at most 16384 are taken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			err := w.Add(c.label, &fakeConnector{tools: []Tool{c.tool}}, Options{})
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, want %q", err, c.says)
			}
			if err != nil && len(w.List(t.Context(), inference.DefaultCaller)) != 0 {
				t.Error("a connector that was refused is listed")
			}
		})
	}
}

func TestCollisionsNameBoth(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.Add("db", offers("get", "put", "get"), Options{}); err == nil || !strings.Contains(err.Error(), "db__get is that of db__get, too") {
		t.Errorf("got %v", err)
	}
	w.add(t, "db", offers("get"), Options{})
	if err := w.Add("db", offers("put"), Options{}); err == nil || !strings.Contains(err.Error(), `two are named "db"`) {
		t.Errorf("got %v", err)
	}
}

func names(all []*Entry) []string {
	var out []string
	for _, e := range all {
		out = append(out, e.Name)
	}
	return out
}

func TestOrderAndChanges(t *testing.T) {
	w := newWorld(t, nil)
	second := offers("get_z", "get_a")
	w.add(t, "web", offers("get_page"), Options{})
	w.add(t, "db", second, Options{})
	want := []string{"web__get_page", "db__get_z", "db__get_a"}
	if got := names(w.List(t.Context(), inference.DefaultCaller)); !slices.Equal(got, want) {
		t.Fatalf("listed %v, want %v", got, want)
	}
	was := w.named["db__get_a"].Definition
	var heard []Change
	stop := w.Subscribe(func(c Change) { heard = append(heard, c) })
	second.mu.Lock()
	second.tools = []Tool{{Name: "get_a", Description: "another", Input: anything}, {Name: "bad name", Input: anything}, {Name: "get_b", Input: anything}}
	second.mu.Unlock()
	second.change(Change{Tools: true})
	want = []string{"web__get_page", "db__get_a", "db__get_b"}
	if got := names(w.List(t.Context(), inference.DefaultCaller)); !slices.Equal(got, want) {
		t.Errorf("after a change %v, want %v", got, want)
	}
	if now := w.named["db__get_a"].Definition; now == was {
		t.Error("another description has the same hash")
	}
	if _, err := w.call(t.Context(), "db__get_z", "{}"); !errors.Is(err, ErrNoTool) {
		t.Errorf("a tool that is gone: %v", err)
	}
	second.change(Change{Resource: "file:///a"})
	stop()
	second.change(Change{Tools: true})
	if len(heard) != 2 || !heard[0].Tools || heard[1].Resource != "db+file:///a" {
		t.Errorf("heard %+v", heard)
	}
}

// TestListAndCallAgree: whatever the configuration says, exactly the tools that are
// listed can be called or ask for an approval; the others are not there.
func TestListAndCallAgree(t *testing.T) {
	all := []string{"get_a", "get_b", "put_a", "put_b", "drop"}
	patterns := append([]string{"*", "get_*", "*_a", "nothing"}, all...)
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, nil)
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(patterns), 0, 3, rapid.ID[string])
		o := Options{Allow: some.Draw(rt, "allow"), Deny: some.Draw(rt, "deny")}
		if err := w.Add("x", offers(all...), o); err != nil {
			rt.Fatal(err)
		}
		listed := names(w.List(context.Background(), inference.DefaultCaller))
		for _, n := range all {
			_, err := w.call(context.Background(), "x__"+n, "{}")
			switch there := slices.Contains(listed, "x__"+n); {
			case there && errors.Is(err, ErrNoTool), !there && !errors.Is(err, ErrNoTool):
				rt.Errorf("%s: listed %v, called: %v", n, there, err)
			case matches(o.Deny, n) == there:
				rt.Errorf("%s: denied %v, listed %v", n, matches(o.Deny, n), there)
			case there && (err == nil) != (strings.HasPrefix(n, "get") || matches(o.Allow, n)):
				rt.Errorf("%s: %v", n, err)
			case there && err != nil && !errors.Is(err, inference.ErrApproval):
				rt.Errorf("%s: %v", n, err)
			}
		}
	})
}

// TestWithoutALabel: what a connector without a label offers has its own names, and
// takes none of the others'.
func TestWithoutALabel(t *testing.T) {
	r, err := New(DefaultConfig(), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	own, other := offers("get_own", "lib__get"), offers("get")
	if err := r.Add("", own, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := r.Add("lib", other, Options{}); err == nil || !strings.Contains(err.Error(), "the name lib__get is taken") {
		t.Errorf("two tools of one name: %v", err)
	}
	if err := r.Add("", offers("get_more"), Options{}); err == nil {
		t.Error("two connectors without a label")
	}
	result, err := r.Call(t.Context(), &Request{Tool: "get_own"})
	if err != nil || result.Content[0].Text != "{}" || own.made() != 1 {
		t.Errorf("call: %+v, %v", result, err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// foreign offers what others define.
type foreign struct{ *fakeConnector }

func (foreign) Foreign() {}

// TestForeignToolsAreLeftOut: a tool that cannot be registered keeps nothing from
// starting where others define it; where the operator does, it is an error.
func TestForeignToolsAreLeftOut(t *testing.T) {
	for _, bad := range []Tool{
		{Name: "get_file", Input: json.RawMessage(`{"$ref":"file:///etc/passwd"}`)},
		{Name: "get_broken", Input: json.RawMessage(`{"type":"objekt"}`)},
		{Name: "no name at all", Input: anything},
		{Name: "get", Input: anything}, // the second of this name
	} {
		c := offers("get", "get_more")
		c.tools = append(c.tools[:1:1], bad, c.tools[1])
		w := newWorld(t, nil)
		if err := w.Add("own", c, Options{}); err == nil {
			t.Errorf("%s: the operator's own tool was left out", bad.Name)
		}
		w.add(t, "other", foreign{c}, Options{})
		if got := len(w.All()); got != 2 {
			t.Errorf("%s: %d tools are offered", bad.Name, got)
		}
		if _, err := w.call(t.Context(), "other__get_more", `{}`); err != nil {
			t.Errorf("%s: %v", bad.Name, err)
		}
	}
}
