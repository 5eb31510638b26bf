package openai

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"hearth/inference"
)

// chatOf sends a chat request and returns what the model was asked.
func chatOf(t *testing.T, body string) *inference.ChatRequest {
	t.Helper()
	f := &fakeModels{refuse: inference.ErrBusy}
	resp, answer := post(t, newServer(t, f, nil), "/v1/chat/completions", body)
	if resp.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("%d %s", resp.StatusCode, answer)
	}
	return f.chat
}

func TestChatRequest(t *testing.T) {
	got := chatOf(t, `{
		"model":"small","user":"me","metadata":{"a":"b"},"store":true,"made_up":1,
		"messages":[
			{"role":"developer","content":"Be brief."},
			{"role":"user","content":[{"type":"text","text":"Hi"},{"type":"text","text":"there"}],"name":"ann"},
			{"role":"assistant","content":null,"reasoning_content":"why","tool_calls":[
				{"id":"c1","type":"function","function":{"name":"weather","arguments":"{\"city\": \"Bonn\"}"}},
				{"id":"c2","type":"function","function":{"name":"time","arguments":{"zone": 1}}}]},
			{"role":"tool","tool_call_id":"c2","content":"noon"}],
		"tools":[{"type":"function","function":{"name":"weather","description":"d","strict":true,"parameters":{"type":"object"}}},{"type":"function","function":{"name":"time"}}],
		"tool_choice":{"type":"function","function":{"name":"time"}},"parallel_tool_calls":false,
		"response_format":{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":{"type":"object"}}},
		"logprobs":true,"top_logprobs":3,"n":2,"stop":["a","b"],"max_completion_tokens":9,
		"temperature":0.5,"top_p":0.75,"top_k":-1,"min_p":0.25,"presence_penalty":1,"frequency_penalty":-1,"repeat_penalty":1.5,"repeat_last_n":8,
		"typical_p":0.5,"top_n_sigma":1.5,"dry_multiplier":0.75,"dry_base":1.25,"dry_allowed_length":3,"dry_penalty_last_n":99,"dry_sequence_breakers":["x"],
		"xtc_probability":0.25,"xtc_threshold":0.125,"mirostat":2,"mirostat_tau":4,"mirostat_eta":0.5,"dynatemp_range":0.375,"dynatemp_exponent":3,
		"banned_strings":["no","nein"],"lora":[{"name":"poet","scale":-0.5},{"name":"terse","scale":null}],
		"logit_bias":{"5":-100,"7":2},"seed":42,"chat_template_kwargs":{"enable_thinking":false,"x":[1]},"reasoning_effort":"low","service_tier":"flex","forced_text":"append"}`)
	seed, half := uint32(42), float32(-0.5)
	want := &inference.ChatRequest{
		Options: inference.Options{
			Caller: inference.DefaultCaller, Priority: inference.PriorityLow, N: 2, MaxTokens: 9, Stop: []string{"a", "b"}, Logprobs: true, TopLogprobs: 3,
			Sampling: inference.Sampling{
				Temperature: 0.5, TopP: 0.75, MinP: 0.25, PresencePenalty: 1, FrequencyPenalty: -1, RepeatPenalty: 1.5, RepeatLastN: 8,
				TypicalP: 0.5, TopNSigma: 1.5, DryMultiplier: 0.75, DryBase: 1.25, DryAllowedLength: 3, DryLastN: 99, DryBreakers: []string{"x"},
				XTCProbability: 0.25, XTCThreshold: 0.125, Mirostat: 2, MirostatTau: 4, MirostatEta: 0.5, DynatempRange: 0.375, DynatempExponent: 3,
				Banned:    []string{"no", "nein"},
				LogitBias: map[int32]float32{5: -100, 7: 2}, Seed: &seed,
			},
			Format:   inference.Format{Kind: inference.FormatJSONSchema, Schema: json.RawMessage(`{"type":"object"}`)},
			Forced:   inference.ForcedAppend,
			Adapters: []inference.AdapterUse{{Name: "poet", Scale: &half}, {Name: "terse"}},
		},
		Messages: []inference.Message{
			{Role: inference.RoleSystem, Content: "Be brief."},
			{Role: inference.RoleUser, Content: "Hi\nthere", Name: "ann"},
			{Role: inference.RoleAssistant, Reasoning: "why", ToolCalls: []inference.ToolCall{
				{ID: "c1", Name: "weather", Arguments: `{"city": "Bonn"}`}, {ID: "c2", Name: "time", Arguments: `{"zone": 1}`},
			}},
			{Role: inference.RoleTool, ToolCallID: "c2", Name: "time", Content: "noon"},
		},
		Tools: []inference.Tool{
			{Name: "weather", Description: "d", Parameters: json.RawMessage(`{"type":"object"}`), Strict: true}, {Name: "time"},
		},
		ToolChoice:  inference.ToolChoice{Mode: inference.ToolRequired, Name: "time"},
		NoReasoning: true,
		TemplateArgs: map[string]json.RawMessage{
			"enable_thinking": json.RawMessage("false"), "x": json.RawMessage("[1]"), "reasoning_effort": json.RawMessage(`"low"`),
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDefaults(t *testing.T) {
	got := chatOf(t, `{"messages":[{"role":"user","content":"Hi"}],"temperature":null,"tools":null,"stop":null,"max_tokens":-1,"grammar":"","functions":[]}`)
	want := inference.Options{Caller: inference.DefaultCaller, N: 1, Sampling: inference.DefaultSampling(), Format: inference.Format{Kind: inference.FormatText}}
	if !reflect.DeepEqual(got.Options, want) || !got.ParallelToolCalls || got.NoReasoning || got.ToolChoice != (inference.ToolChoice{}) {
		t.Errorf("got %+v", got)
	}
	if got := chatOf(t, `{"messages":[{"role":"user","content":"Hi"}],"stop":"x","seed":-1,"reasoning_effort":"none","max_tokens":5,"max_completion_tokens":5}`); *got.Sampling.Seed != 0 || got.Stop[0] != "x" || !got.NoReasoning || got.MaxTokens != 5 {
		t.Errorf("got %+v with seed %d", got, *got.Sampling.Seed)
	}
}

func TestRefused(t *testing.T) {
	const hi = `"messages":[{"role":"user","content":"Hi"}]`
	chat := func(more string) string { return `{` + hi + `,` + more + `}` }
	message := func(m string) string { return `{"messages":[{"role":"user","content":"Hi"},` + m + `]}` }
	for _, c := range []struct{ path, body, param, say string }{
		{"chat/completions", ``, "", "empty"},
		{"chat/completions", `[]`, "", "JSON object, got a list"},
		{"chat/completions", `{"a":`, "", "not valid JSON"},
		{"chat/completions", `{"a":1} {}`, "", "more data"},
		{"chat/completions", "{\"a\":\"\xff\"}", "", "UTF-8"},
		{"chat/completions", `{` + hi + `,` + hi + `}`, "messages", "twice"},
		{"chat/completions", `{}`, "messages", "missing"},
		{"chat/completions", `{"Messages":[]}`, "Messages", `spelled "messages"`},
		{"chat/completions", `{"model":"small","Model":"other",` + hi + `}`, "Model", `spelled "model"`},
		{"chat/completions", chat(`"MAX_TOKENS":5`), "MAX_TOKENS", `spelled "max_tokens"`},
		{"chat/completions", chat(`"\u017Feed":5`), "ſeed", `spelled "seed"`},
		{"chat/completions", chat(`"tools":[{"type":"function","function":{"Name":"a"}}]`), "tools[0].function.Name", `spelled "name"`},
		{"chat/completions", chat(`"tools":[{"type":"function","function":{"name":"a","parameters":{"type":"object","type":"array"}}}]`), "tools.function.parameters.type", "twice"},
		{"chat/completions", chat(`"metadata":{"a":[{"b":1,"\u0062":2}]}`), "metadata.a.b", "twice"},
		{"chat/completions", chat(`"metadata":` + strings.Repeat(`{"a":`, maxDepth) + `1` + strings.Repeat(`}`, maxDepth)), "metadata", "deeper than 80 levels"},
		{"chat/completions", chat(`"metadata":` + strings.Repeat(`[`, 1<<12)), "metadata", "deeper than 80 levels"},
		{"chat/completions", `{"messages":[{"role":"user","content":"\ud800"}]}`, "", "surrogate"},
		{"chat/completions", `{"messages":[{"role":"user","content":"\udc00\ud800"}]}`, "", "surrogate"},
		{"chat/completions", `{"messages":"Hi"}`, "messages", "list, got a string"},
		{"chat/completions", `{"model":7}`, "model", "string, got a number"},
		{"chat/completions", chat(`"temperature":"hot"`), "temperature", "number, got a string"},
		{"chat/completions", chat(`"n":1.5`), "n", "integer, got 1.5"},
		{"chat/completions", chat(`"n":0`), "n", "between 1 and 16"},
		{"chat/completions", chat(`"stream":"yes"`), "stream", "true or false"},
		{"chat/completions", chat(`"stream_options":{"include_usage":1}`), "stream_options.include_usage", "true or false"},
		{"chat/completions", chat(`"max_tokens":0`), "max_tokens", "at least 1"},
		{"chat/completions", chat(`"max_tokens":3,"max_completion_tokens":4`), "max_tokens", "means the same"},
		{"chat/completions", chat(`"max_tokens":99999999999`), "max_tokens", "integer"},
		{"chat/completions", chat(`"stop":[1]`), "stop[0]", "string, got a number"},
		{"chat/completions", chat(`"stop":{}`), "stop", "list of strings"},
		{"chat/completions", chat(`"forced_text":"always"`), "forced_text", `must be "off", "guess" or "append"`},
		{"chat/completions", chat(`"forced_text":""`), "forced_text", "leave it out"},
		{"completions", `{"prompt":"a","forced_text":true}`, "forced_text", "string, got a boolean"},
		{"chat/completions", chat(`"service_tier":"gold"`), "service_tier", "must be flex"},
		{"chat/completions", chat(`"service_tier":1`), "service_tier", "string, got a number"},
		{"chat/completions", chat(`"seed":1.5`), "seed", "64-bit"},
		{"chat/completions", chat(`"logit_bias":{"x":1}`), "logit_bias.x", "token id"},
		{"chat/completions", chat(`"logit_bias":{"1":"a"}`), "logit_bias.1", "number"},
		{"chat/completions", chat(`"logit_bias":{"1":1,"1":2}`), "logit_bias.1", "twice"},
		{"chat/completions", chat(`"lora":"poet"`), "lora", "list, got a string"},
		{"chat/completions", chat(`"lora":["poet"]`), "lora[0]", "object, got a string"},
		{"chat/completions", chat(`"lora":[{"id":0,"scale":1}]`), "lora[0].name", "is missing"},
		{"chat/completions", chat(`"lora":[{"name":"a"},{"name":7}]`), "lora[1].name", "string, got a number"},
		{"chat/completions", chat(`"lora":[{"name":"a","scale":"much"}]`), "lora[0].scale", "number, got a string"},
		{"chat/completions", chat(`"lora":[{"name":"a","scale":1e40}]`), "lora[0].scale", "number"},
		{"chat/completions", chat(`"lora":[{"name":"a","weight":1}]`), "lora[0].weight", "not known"},
		{"chat/completions", chat(`"lora":[` + strings.Repeat(`{"name":"a"},`, 8) + `{"name":"a"}]`), "lora", "at most 8"},
		{"completions", `{"prompt":"x","lora":[{"Name":"a"}]}`, "lora[0].Name", `spelled "name"`},
		{"chat/completions", chat(`"top_logprobs":3`), "top_logprobs", "logprobs"},
		{"chat/completions", chat(`"response_format":{}`), "response_format.type", "missing"},
		{"chat/completions", chat(`"response_format":{"type":"xml"}`), "response_format.type", "xml"},
		{"chat/completions", chat(`"response_format":{"type":"json_schema"}`), "response_format.json_schema", "missing"},
		{"chat/completions", chat(`"response_format":{"type":"json_schema","json_schema":{}}`), "response_format.json_schema.schema", "missing"},
		{"chat/completions", chat(`"grammar":["root ::= x"]`), "grammar", "string"},
		{"chat/completions", chat(`"guided_grammar":"root ::= x"`), "guided_grammar", "GBNF"},
		{"chat/completions", chat(`"guided_regex":"a+"`), "guided_regex", "pattern"},
		{"chat/completions", chat(`"min_tokens":5`), "min_tokens", "not enforced"},
		{"chat/completions", chat(`"functions":[{}]`), "functions", "tools"},
		{"chat/completions", chat(`"modalities":["text","audio"]`), "modalities[1]", "text only"},
		{"chat/completions", chat(`"tool_choice":"maybe"`), "tool_choice", "maybe"},
		{"chat/completions", chat(`"tool_choice":{"type":"function"}`), "tool_choice.function.name", "missing"},
		{"chat/completions", chat(`"tools":[{"type":"web_search"}]`), "tools[0].type", "web_search"},
		{"chat/completions", chat(`"tools":[{"type":"function"}]`), "tools[0].function", "missing"},
		{"chat/completions", chat(`"tools":[{"function":{"name":"a","parameters":[]}}]`), "tools[0].function.parameters", "object"},
		{"chat/completions", message(`7`), "messages[1]", "object"},
		{"chat/completions", message(`{"role":"king","content":""}`), "messages[1].role", "king"},
		{"chat/completions", message(`{"role":"function","content":""}`), "messages[1].role", "tool"},
		{"chat/completions", message(`{"role":"user"}`), "messages[1].content", "missing"},
		{"chat/completions", message(`{"role":"user","content":7}`), "messages[1].content", "string or a list"},
		{"chat/completions", message(`{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}`), "messages[1].content[0]", "image"},
		{"chat/completions", message(`{"role":"user","content":[{"type":"text","text":"a"},{"type":"input_audio"}]}`), "messages[1].content[1]", "audio"},
		{"chat/completions", message(`{"role":"user","content":[{"type":"text"}]}`), "messages[1].content[0].text", "missing"},
		{"chat/completions", message(`{"role":"assistant","tool_calls":[{"id":"a"}]}`), "messages[1].tool_calls[0].function", "missing"},
		{"completions", `{}`, "prompt", "missing"},
		{"completions", `{"prompt":["a","b"]}`, "prompt", "one prompt, got a list of 2"},
		{"completions", `{"prompt":[]}`, "prompt", "one prompt"},
		{"completions", `{"prompt":[1,"a"]}`, "prompt[1]", "token"},
		{"completions", `{"prompt":[[1,2.5]]}`, "prompt[0][1]", "token, got 2.5"},
		{"completions", `{"prompt":{}}`, "prompt", "string"},
		{"completions", `{"prompt":"a","logprobs":true}`, "logprobs", "integer, got a boolean"},
		{"completions", `{"prompt":"a","logprobs":21}`, "logprobs", "20"},
		{"completions", `{"prompt":"a","best_of":3}`, "best_of", "equal to n"},
		{"completions", `{"prompt":"a","suffix":"b"}`, "suffix", "not supported"},
		{"completions", `{"prompt":"a",` + hi + `}`, "messages", "chat"},
		{"tokenize", `{}`, "text", "missing"},
		{"tokenize", `{"text":["a"]}`, "text", "string"},
		{"detokenize", `{"tokens":["a"]}`, "tokens[0]", "token"},
		{"detokenize", `{}`, "tokens", "missing"},
		{"count_tokens", `{"text":"a",` + hi + `}`, "text", "messages"},
	} {
		t.Run(c.path+" "+c.body, func(t *testing.T) {
			f := &fakeModels{refuse: errors.New("reached the model")}
			resp, body := post(t, newServer(t, f, nil), "/v1/"+c.path, c.body)
			e := errorOf(t, body)
			param := ""
			if e.Param != nil {
				param = *e.Param
			}
			if resp.StatusCode != 400 || param != c.param || !strings.Contains(e.Message, c.say) || e.Type != "invalid_request_error" {
				t.Errorf("%d %s, want 400 at %q about %q", resp.StatusCode, body, c.param, c.say)
			}
		})
	}
}

func TestErrorsOfTheModel(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
		retry  string
	}{
		{&inference.OverflowError{Prompt: 200, Context: 128}, 400, "context_length_exceeded", ""},
		{&inference.RetryError{Err: inference.ErrBusy, After: 1500 * time.Millisecond}, 429, "queue_full", "2"},
		{inference.ErrShutdown, 503, "shutting_down", "5"},
		{inference.ErrEngine, 500, "engine_error", ""},
		{errScript, 500, "internal_error", ""},
	} {
		f := &fakeModels{refuse: c.err}
		resp, body := post(t, newServer(t, f, nil), "/v1/chat/completions", `{"messages":[{"role":"user","content":"Hi"}],"stream":true}`)
		e := errorOf(t, body)
		if resp.StatusCode != c.status || e.Code != c.code || resp.Header.Get("Retry-After") != c.retry || strings.Contains(e.Message, "secret") {
			t.Errorf("%v: %d %s, Retry-After %q", c.err, resp.StatusCode, body, resp.Header.Get("Retry-After"))
		}
	}
	s := newServer(t, &fakeModels{}, nil)
	resp, body := post(t, s, "/v1/chat/completions", `{"model":"none"}`)
	if e := errorOf(t, body); resp.StatusCode != 404 || e.Code != "model_not_found" || !strings.Contains(e.Message, "small") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	resp, body = post(t, s, "/v1/completions", `{"model":"org/slow"}`)
	if e := errorOf(t, body); resp.StatusCode != 503 || e.Code != "model_loading" || resp.Header.Get("Retry-After") != "3" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	resp, body = post(t, s, "/v1/chat/completions", `{"a":"`+strings.Repeat("x", 70<<10)+`"}`)
	if e := errorOf(t, body); resp.StatusCode != 413 || e.Code != "body_too_large" || !strings.Contains(e.Message, "more than 65536 bytes, the most that is read here (server.max_body)") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	resp, body = post(t, s, "/v1/embed", `{}`)
	if e := errorOf(t, body); resp.StatusCode != 404 || e.Code != "unknown_url" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	resp, body = post(t, s, "/v1/models", `{}`)
	if e := errorOf(t, body); resp.StatusCode != 405 || e.Code != "method_not_allowed" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestCompletionPrompts(t *testing.T) {
	for body, want := range map[string]inference.CompletionRequest{
		`{"prompt":"a","echo":true}`: {Prompt: "a", Echo: true},
		`{"prompt":["a"]}`:           {Prompt: "a"},
		`{"prompt":[1,2]}`:           {Tokens: []int32{1, 2}},
		`{"prompt":[[1,2]]}`:         {Tokens: []int32{1, 2}},
	} {
		f := &fakeModels{refuse: inference.ErrBusy}
		if resp, answer := post(t, newServer(t, f, nil), "/v1/completions", body); resp.StatusCode != 429 {
			t.Errorf("%s: %d %s", body, resp.StatusCode, answer)
			continue
		}
		f.complete.Options = inference.Options{}
		if !reflect.DeepEqual(*f.complete, want) {
			t.Errorf("%s: got %+v", body, f.complete)
		}
	}
}

func TestModelsAndTokens(t *testing.T) {
	s := newServer(t, &fakeModels{}, nil)
	get := func(path string) (int, string) {
		resp, err := s.Client().Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b json.RawMessage
		if err := json.NewDecoder(resp.Body).Decode(&b); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	small := `{"id":"small","object":"model","created":1700000000,"owned_by":"hearth","state":"ready","details":{"context":128,"train_context":0,"sequences":3,"description":"","architecture":"","quantization":"","parameters":0,"file_bytes":0,"vocabulary":256,"chat":true,"native_tools":false,"prefix_sharing":false,"generates":true}}`
	slow := `{"id":"org/slow","object":"model","created":0,"owned_by":"hearth","state":"loading"}`
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/v1/models", 200, `{"object":"list","data":[` + small + `,` + slow + `]}`},
		{"/v1/models/small", 200, small},
		{"/v1/models/org/slow", 200, slow},
		{"/v1/models/org%2Fslow", 200, slow},
	} {
		if status, body := get(c.path); status != c.status || body != c.want {
			t.Errorf("%s: %d %s", c.path, status, body)
		}
	}
	if status, body := get("/v1/models/none"); status != 404 || errorOf(t, body).Code != "model_not_found" {
		t.Errorf("%d %s", status, body)
	}
	for _, c := range []struct{ path, body, want string }{
		{"tokenize", `{"text":"ab","add_special":true}`, `{"model":"small","count":3,"tokens":[1,97,98]}`},
		{"tokenize", `{"text":""}`, `{"model":"small","count":0,"tokens":[]}`},
		{"detokenize", `{"tokens":[97,98]}`, `{"model":"small","text":"ab"}`},
		{"count_tokens", `{"text":"abc"}`, `{"model":"small","count":3,"context":128}`},
		{"count_tokens", `{"model":"small","messages":[{"role":"user","content":"abcd"}]}`, `{"model":"small","count":4,"context":128}`},
	} {
		if resp, body := post(t, s, "/v1/"+c.path, c.body); resp.StatusCode != 200 || strings.TrimSpace(body) != c.want {
			t.Errorf("%s %s: %d %s", c.path, c.body, resp.StatusCode, body)
		}
	}
}

// FuzzBody: whatever is sent, the answer is the client's error or a request that
// reached the model.
func FuzzBody(f *testing.F) {
	for _, s := range []string{
		`{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"tools":[{"function":{"name":"a","parameters":{}}}]}`,
		`{"messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":{}}}]}],"stop":[""],"logit_bias":{"1":1}}`,
		`{"prompt":[[1]],"seed":-9223372036854775808,"n":16}`, `{"text":"a"}`, `{"tokens":[1]}`, `{"tool_choice":{},"response_format":{"type":"json_object","schema":{}}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		body, err := parseBody([]byte(data))
		if err != nil {
			if !errors.Is(err, inference.ErrInvalid) {
				t.Errorf("%q: %v is not the client's error", data, err)
			}
			return
		}
		a := &API{}
		r := &http.Request{Header: http.Header{}}
		chat := &inference.ChatRequest{Options: a.readOptions(r, body, inference.DefaultSampling())}
		readStreaming(body)
		readChat(body, chat)
		if err := body.err(); err != nil && !errors.Is(err, inference.ErrInvalid) {
			t.Errorf("%q: %v is not the client's error", data, err)
		}
		if body.err() == nil && len(chat.Messages) == 0 && string(body.value["messages"]) != "[]" {
			t.Errorf("%q: messages were lost", data)
		}
		body.first = nil
		readCompletion(body, &inference.CompletionRequest{Options: inference.Options{N: 1}})
		readText(body)
		if err := body.err(); err != nil && !errors.Is(err, inference.ErrInvalid) {
			t.Errorf("%q: %v is not the client's error", data, err)
		}
	})
}
