package mcpserver

import (
	"fmt"
	"testing"
)

// TestSelection: a named server has what its patterns name, for lists, calls, reads,
// prompts, completions and subscriptions alike, and nothing else.
func TestSelection(t *testing.T) {
	for _, version := range []string{legacy, modern} {
		t.Run(version, func(t *testing.T) {
			f := newShelf(30)
			f.tools, f.prompts = []string{"long", "secret"}, []string{"review", "hidden"}
			s := withShelf(t, f, func(c *Config) {
				c.Select = &Selection{Tools: []string{"lib__lo*", "count_tokens"}, Resources: []string{"lib+book://1*"}, Prompts: []string{"lib__review"}}
			})
			p := connect(t, serve(t, s), version)
			if got := fmt.Sprint(decoded[listed](t, p.ask(1, "tools/list", "")).Tools); got != "[{count_tokens} {lib__long}]" {
				t.Errorf("tools %s", got)
			}
			f.offer("long", "secret", "lower")
			if got := fmt.Sprint(decoded[listed](t, p.ask(1, "tools/list", "")).Tools); got != "[{count_tokens} {lib__long} {lib__lower}]" {
				t.Errorf("tools after a change %s", got)
			}
			if got := fmt.Sprint(decoded[listed](t, p.ask(1, "prompts/list", "")).Prompts); got != "[{lib__review}]" {
				t.Errorf("prompts %s", got)
			}
			page := decoded[listed](t, p.ask(1, "resources/list", ""))
			if len(page.Resources) != 11 || page.Resources[0].URI != "lib+book://1" || page.Resources[10].URI != "lib+book://19" {
				t.Errorf("resources %+v", page.Resources)
			}
			if got := decoded[listed](t, p.ask(1, "resources/templates/list", "")).ResourceTemplates; len(got) != 0 {
				t.Errorf("templates %+v", got)
			}
			decoded[readout](t, p.ask(1, "resources/read", `"uri":"lib+book://12"`))
			for method, params := range map[string][]string{
				"tools/call":          {`"name":"lib__secret","arguments":{}`, `"name":"chat","arguments":{"prompt":"x"}`},
				"resources/read":      {`"uri":"lib+book://2"`, `"uri":"models://"`, `"uri":"models://tiny"`},
				"prompts/get":         {`"name":"lib__hidden","arguments":{"book":"Emma"}`},
				"completion/complete": {`"ref":{"type":"ref/prompt","name":"lib__hidden"},"argument":{"name":"book","value":"E"}`, `"ref":{"type":"ref/resource","uri":"lib+book://{id}"},"argument":{"name":"id","value":"1"}`, `"ref":{"type":"ref/resource","uri":"models://{id}"},"argument":{"name":"id","value":"t"}`},
			} {
				for _, one := range params {
					if r := p.ask(1, method, one); r.Error == nil {
						t.Errorf("%s %s: %s", method, one, r.Result)
					}
				}
			}
			if version == legacy {
				if r := p.ask(1, "resources/subscribe", `"uri":"lib+book://2"`); r.Error == nil {
					t.Errorf("subscribed to what is not there: %s", r.Result)
				}
			}
			// A result that was cut is its caller's, whatever is selected.
			result := decoded[struct{ Content []struct{ Type, URI string } }](t, p.ask(1, "tools/call", `"name":"lib__long","arguments":{}`))
			decoded[readout](t, p.ask(1, "resources/read", fmt.Sprintf(`"uri":%q`, result.Content[len(result.Content)-1].URI)))
		})
	}
}

// TestSelectionOfNothing: a server that names nothing offers nothing.
func TestSelectionOfNothing(t *testing.T) {
	s := withShelf(t, newShelf(3), func(c *Config) { c.Select = &Selection{} })
	p := connect(t, serve(t, s), modern)
	for _, method := range []string{"tools/list", "resources/list", "resources/templates/list", "prompts/list"} {
		l := decoded[listed](t, p.ask(1, method, ""))
		if len(l.Tools)+len(l.Resources)+len(l.ResourceTemplates)+len(l.Prompts) != 0 {
			t.Errorf("%s: %+v", method, l)
		}
	}
}
