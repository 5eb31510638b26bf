package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"hearth/mcpserver/router"
)

var (
	png = []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde\x00\x00\x00\x0cIDATx\x9cc\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\xc9\xfe\x92\xef\x00\x00\x00\x00IEND\xaeB`\x82")
	wav = []byte("RIFF\x26\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00@\x1f\x00\x00\x80>\x00\x00\x02\x00\x10\x00data\x02\x00\x00\x00\x00\x00")
)

// fixture is a connector of all that the suite asks for by name.
type fixture struct {
	tell func(router.Change)

	mu             sync.Mutex
	tools, prompts int // how often they changed
}

type action func(ctx context.Context, c *router.Call) (*router.Result, error)

// actions are the tools, in order.
func (f *fixture) actions() (names []string, run map[string]action) {
	run = map[string]action{}
	add := func(name string, do action) { names, run[name] = append(names, name), do }
	says := func(contents ...router.Content) action {
		return func(context.Context, *router.Call) (*router.Result, error) {
			return &router.Result{Content: contents}, nil
		}
	}
	text := func(s string) router.Content { return router.Content{Type: router.ContentText, Text: s} }
	image := router.Content{Type: router.ContentImage, Data: png, MIME: "image/png"}
	embedded := func(uri, mime, s string) router.Content {
		return router.Content{Type: router.ContentResource, Contents: router.ResourceContents{URI: uri, MIME: mime, Text: s}}
	}
	add("test_simple_text", says(text("This is a simple text response for testing.")))
	add("test_image_content", says(image))
	add("test_audio_content", says(router.Content{Type: router.ContentAudio, Data: wav, MIME: "audio/wav"}))
	add("test_embedded_resource", says(embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")))
	add("test_multiple_content_types", says(text("Multiple content types test:"), image,
		embedded("test://mixed-content-resource", "application/json", `{"test":"data","value":123}`)))
	add("test_error_handling", func(context.Context, *router.Call) (*router.Result, error) {
		return nil, &router.ToolError{Message: "This tool intentionally returns an error for testing"}
	})
	logging := func(ctx context.Context, c *router.Call) (*router.Result, error) {
		for _, said := range []string{"Tool execution started", "Tool processing data", "Tool execution completed"} {
			data, _ := json.Marshal(said)
			c.Log(router.LogMessage{Level: "info", Logger: "fixture", Data: data})
			if err := pause(ctx); err != nil {
				return nil, err
			}
		}
		return router.Text("logged"), nil
	}
	add("test_tool_with_logging", logging)
	add("test_logging_tool", logging)
	add("test_tool_with_progress", func(ctx context.Context, c *router.Call) (*router.Result, error) {
		for _, p := range []float64{0, 50, 100} {
			c.Progress(router.Progress{Progress: p, Total: 100})
			if err := pause(ctx); err != nil {
				return nil, err
			}
		}
		return router.Text("done"), nil
	})
	add("test_sampling", func(ctx context.Context, c *router.Call) (*router.Result, error) {
		var a struct{ Prompt string }
		if err := json.Unmarshal(c.Arguments, &a); err != nil {
			return nil, err
		}
		got, err := router.AskPeer(ctx, c.Peer, map[string]router.Question{"answer": sampling(a.Prompt)})
		if err != nil {
			return nil, err
		}
		return router.Text("LLM response: " + sampled(got["answer"])), nil
	})
	add("test_elicitation", func(ctx context.Context, c *router.Call) (*router.Result, error) {
		var a struct{ Message string }
		if err := json.Unmarshal(c.Arguments, &a); err != nil {
			return nil, err
		}
		return elicited(ctx, c, a.Message, `{"type":"object","properties":{"username":{"type":"string","description":"User's response"},"email":{"type":"string","description":"User's email address"}},"required":["username","email"]}`)
	})
	add("test_streaming_elicitation", func(ctx context.Context, c *router.Call) (*router.Result, error) {
		return elicited(ctx, c, "Who are you?", `{"type":"object","properties":{"username":{"type":"string"}}}`)
	})
	add("test_elicitation_sep1034_defaults", func(ctx context.Context, c *router.Call) (*router.Result, error) {
		return elicited(ctx, c, "Please check the values", `{"type":"object","properties":{
			"name":{"type":"string","default":"John Doe"},"age":{"type":"integer","default":30},"score":{"type":"number","default":95.5},
			"status":{"type":"string","enum":["active","inactive","pending"],"default":"active"},"verified":{"type":"boolean","default":true}}}`)
	})
	add("test_elicitation_sep1330_enums", func(ctx context.Context, c *router.Call) (*router.Result, error) {
		const titled = `[{"const":"value1","title":"First Option"},{"const":"value2","title":"Second Option"},{"const":"value3","title":"Third Option"}]`
		return elicited(ctx, c, "Please choose", `{"type":"object","properties":{
			"untitledSingle":{"type":"string","enum":["option1","option2","option3"]},
			"titledSingle":{"type":"string","oneOf":`+titled+`},
			"legacyEnum":{"type":"string","enum":["opt1","opt2","opt3"],"enumNames":["Option One","Option Two","Option Three"]},
			"untitledMulti":{"type":"array","items":{"type":"string","enum":["option1","option2","option3"]}},
			"titledMulti":{"type":"array","items":{"anyOf":`+titled+`}}}}`)
	})
	add("test_missing_capability", func(ctx context.Context, c *router.Call) (*router.Result, error) {
		if _, err := router.AskPeer(ctx, c.Peer, map[string]router.Question{"answer": sampling("Hello")}); err != nil {
			return nil, err
		}
		return router.Text("answered"), nil
	})
	confirm := elicitation("Please confirm", `{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"]}`)
	name := elicitation("What is your name?", `{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}`)
	roots := router.Question{Method: router.AskRoots, Params: json.RawMessage(`{}`)}
	rounds := func(rounds ...map[string]router.Question) action {
		return func(ctx context.Context, c *router.Call) (*router.Result, error) {
			var out strings.Builder
			for _, asked := range rounds {
				got, err := router.AskPeer(ctx, c.Peer, asked)
				if err != nil {
					return nil, err
				}
				text, err := json.Marshal(got)
				if err != nil {
					return nil, err
				}
				fmt.Fprintf(&out, "state-ok %s\n", text)
			}
			return router.Text(out.String()), nil
		}
	}
	type q = map[string]router.Question
	add("test_input_required_result_elicitation", rounds(q{"user_name": name}))
	add("test_input_required_result_sampling", rounds(q{"capital_question": sampling("What is the capital of France?")}))
	add("test_input_required_result_list_roots", rounds(q{"client_roots": roots}))
	add("test_input_required_result_request_state", rounds(q{"confirm": confirm}))
	add("test_input_required_result_multiple_inputs", rounds(q{"user_name": name, "greeting": sampling("Generate a greeting"), "client_roots": roots}))
	add("test_input_required_result_multi_round", rounds(q{"step1": name}, q{"step2": elicitation("Step 2: What is your favorite color?", `{"type":"object","properties":{"color":{"type":"string"}},"required":["color"]}`)}))
	add("test_input_required_result_tampered_state", rounds(q{"confirm": confirm}))
	add("test_input_required_result_capabilities", func(ctx context.Context, c *router.Call) (*router.Result, error) {
		asked := q{}
		if a, ok := c.Peer.(router.Asker); ok {
			for key, one := range (q{"name": name, "greeting": sampling("Generate a greeting"), "roots": roots}) {
				if a.Can(one.Method) {
					asked[key] = one
				}
			}
		}
		return rounds(asked)(ctx, c)
	})
	add("test_trigger_tool_change", func(context.Context, *router.Call) (*router.Result, error) {
		f.mu.Lock()
		f.tools++
		f.mu.Unlock()
		f.tell(router.Change{Tools: true})
		return router.Text("changed"), nil
	})
	add("test_trigger_prompt_change", func(context.Context, *router.Call) (*router.Result, error) {
		f.mu.Lock()
		f.prompts++
		f.mu.Unlock()
		f.tell(router.Change{Prompts: true})
		return router.Text("changed"), nil
	})
	return names, run
}

// pause is long enough for a client to see two messages apart.
func pause(ctx context.Context) error {
	select {
	case <-time.After(20 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func sampling(prompt string) router.Question {
	params, _ := json.Marshal(map[string]any{
		"messages":  []any{map[string]any{"role": "user", "content": map[string]any{"type": "text", "text": prompt}}},
		"maxTokens": 100,
	})
	return router.Question{Method: router.AskSampling, Params: params}
}

// sampled returns the text of the answer of a client's model.
func sampled(answer json.RawMessage) string {
	var a struct{ Content struct{ Text string } }
	_ = json.Unmarshal(answer, &a)
	return a.Content.Text
}

func elicitation(message, schema string) router.Question {
	params, _ := json.Marshal(map[string]any{"message": message, "requestedSchema": json.RawMessage(schema)})
	return router.Question{Method: router.AskElicitation, Params: params}
}

func elicited(ctx context.Context, c *router.Call, message, schema string) (*router.Result, error) {
	if c.Peer == nil {
		return nil, router.Missing(router.AskElicitation)
	}
	action, values, err := c.Peer.Elicit(ctx, message, json.RawMessage(schema))
	if err != nil {
		return nil, err
	}
	return router.Text(fmt.Sprintf("Elicitation completed: action=%s, content=%s", action, values)), nil
}

func (f *fixture) OnChange(tell func(router.Change)) { f.tell = tell }

// Tools implements router.Connector.
func (f *fixture) Tools() []router.Tool {
	names, _ := f.actions()
	f.mu.Lock()
	if f.tools%2 == 1 {
		names = append(names, "test_changed")
	}
	f.mu.Unlock()
	var out []router.Tool
	for _, name := range names {
		input := `{"type":"object"}`
		switch name {
		case "test_sampling":
			input = `{"type":"object","properties":{"prompt":{"type":"string"}},"required":["prompt"]}`
		case "test_elicitation":
			input = `{"type":"object","properties":{"message":{"type":"string"}},"required":["message"]}`
		}
		out = append(out, router.Tool{Name: name, Description: "A tool that the suite calls.", Input: json.RawMessage(input)})
	}
	return append(out, router.Tool{Name: "json_schema_2020_12_tool", Description: "Tool with JSON Schema 2020-12 features", Input: json.RawMessage(`{
		"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object",
		"$defs":{"address":{"$anchor":"addressDef","type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"}}}},
		"properties":{"name":{"type":"string"},"address":{"$ref":"#/$defs/address"},"contactMethod":{"type":"string","enum":["phone","email"]},"phone":{"type":"string"},"email":{"type":"string"}},
		"allOf":[{"anyOf":[{"required":["phone"]},{"required":["email"]}]}],
		"if":{"properties":{"contactMethod":{"const":"phone"}},"required":["contactMethod"]},"then":{"required":["phone"]},"else":{"required":["email"]},
		"additionalProperties":false}`)})
}

// Run implements router.Connector.
func (f *fixture) Run(ctx context.Context, c *router.Call) (*router.Result, error) {
	_, run := f.actions()
	do := run[c.Tool]
	if do == nil {
		return router.Text("nothing"), nil
	}
	return do(ctx, c)
}

// Close implements router.Connector.
func (f *fixture) Close(context.Context) error { return nil }

// Resources implements router.ResourceProvider.
func (f *fixture) Resources(context.Context, string, int) ([]router.Resource, string, error) {
	return []router.Resource{
		{URI: "test://static-text", Name: "static text", Description: "A text.", MIME: "text/plain"},
		{URI: "test://static-binary", Name: "static binary", Description: "An image.", MIME: "image/png"},
		{URI: "test://watched-resource", Name: "watched", Description: "A text that may change.", MIME: "text/plain"},
	}, "", nil
}

const dataTemplate = "test://template/{id}/data"

// ResourceTemplates implements router.ResourceProvider.
func (f *fixture) ResourceTemplates(context.Context) ([]router.ResourceTemplate, error) {
	return []router.ResourceTemplate{{URITemplate: dataTemplate, Name: "data", Description: "The data of an id.", MIME: "application/json"}}, nil
}

// ReadResource implements router.ResourceProvider.
func (f *fixture) ReadResource(_ context.Context, uri string) ([]router.ResourceContents, error) {
	switch uri {
	case "test://static-text":
		return []router.ResourceContents{{URI: uri, MIME: "text/plain", Text: "This is the content of the static text resource."}}, nil
	case "test://static-binary":
		return []router.ResourceContents{{URI: uri, MIME: "image/png", Blob: png}}, nil
	case "test://watched-resource":
		return []router.ResourceContents{{URI: uri, MIME: "text/plain", Text: "It has not changed."}}, nil
	}
	id, ok := strings.CutPrefix(uri, "test://template/")
	if id, ok2 := strings.CutSuffix(id, "/data"); ok && ok2 && id != "" && !strings.Contains(id, "/") {
		text, err := json.Marshal(map[string]any{"id": id, "templateTest": true, "data": "Data for ID: " + id})
		return []router.ResourceContents{{URI: uri, MIME: "application/json", Text: string(text)}}, err
	}
	return nil, router.ErrNoResource
}

// Watch implements router.ResourceWatcher.
func (f *fixture) Watch(_ context.Context, uri string) (stop func(), err error) {
	if uri != "test://watched-resource" {
		return nil, router.ErrNoResource
	}
	return func() {}, nil
}

// Prompts implements router.PromptProvider.
func (f *fixture) Prompts() []router.Prompt {
	out := []router.Prompt{
		{Name: "test_simple_prompt", Description: "A prompt without arguments."},
		{Name: "test_prompt_with_arguments", Description: "A prompt with arguments.", Arguments: []router.PromptArgument{
			{Name: "arg1", Description: "First test argument", Required: true}, {Name: "arg2", Description: "Second test argument", Required: true},
		}},
		{Name: "test_prompt_with_embedded_resource", Description: "A prompt with a resource.", Arguments: []router.PromptArgument{
			{Name: "resourceUri", Description: "URI of the resource to embed", Required: true},
		}},
		{Name: "test_prompt_with_image", Description: "A prompt with an image."},
		{Name: "test_input_required_result_prompt", Description: "A prompt that asks."},
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.prompts%2 == 1 {
		out = append(out, router.Prompt{Name: "test_changed_prompt", Description: "A prompt that comes and goes."})
	}
	return out
}

// Prompt implements router.PromptProvider.
func (f *fixture) Prompt(ctx context.Context, name string, a map[string]string) (string, []router.PromptMessage, error) {
	says := func(contents ...router.Content) (string, []router.PromptMessage, error) {
		var out []router.PromptMessage
		for _, c := range contents {
			out = append(out, router.PromptMessage{Role: "user", Content: c})
		}
		return name, out, nil
	}
	text := func(s string) router.Content { return router.Content{Type: router.ContentText, Text: s} }
	switch name {
	case "test_simple_prompt", "test_changed_prompt":
		return says(text("This is a simple prompt for testing."))
	case "test_prompt_with_arguments":
		return says(text(fmt.Sprintf("Prompt with arguments: arg1='%s', arg2='%s'", a["arg1"], a["arg2"])))
	case "test_prompt_with_embedded_resource":
		return says(router.Content{Type: router.ContentResource, Contents: router.ResourceContents{URI: a["resourceUri"], MIME: "text/plain", Text: "Embedded resource content for testing."}},
			text("Please process the embedded resource above."))
	case "test_prompt_with_image":
		return says(router.Content{Type: router.ContentImage, Data: png, MIME: "image/png"}, text("Please analyze the image above."))
	case "test_input_required_result_prompt":
		got, err := router.AskPeer(ctx, router.PeerFrom(ctx), map[string]router.Question{
			"user_context": elicitation("What context should the prompt use?", `{"type":"object","properties":{"context":{"type":"string"}},"required":["context"]}`),
		})
		if err != nil {
			return "", nil, err
		}
		return says(text("Context: " + string(got["user_context"])))
	}
	return "", nil, errors.New("there is no such prompt")
}

// Complete implements router.Completer.
func (f *fixture) Complete(_ context.Context, _, _, typed string, _ map[string]string) ([]string, int, error) {
	var out []string
	for _, word := range []string{"paris", "park", "party"} {
		if strings.HasPrefix(word, typed) {
			out = append(out, word)
		}
	}
	return out, len(out), nil
}
