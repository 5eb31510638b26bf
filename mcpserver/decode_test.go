package mcpserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
)

func TestDecodeAccepts(t *testing.T) {
	nested := strings.Repeat("[", maxDepth-3) + strings.Repeat("]", maxDepth-3) // root, params and arguments come before
	for _, c := range []struct {
		name, in string
		want     message
	}{
		{"request", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, message{kind: kindRequest, id: "1", method: "ping"}},
		{"string id", `{"jsonrpc":"2.0","id":"\u0061","method":"ping"}`, message{kind: kindRequest, id: `"a"`, method: "ping"}},
		{"number and string ids differ", `{"jsonrpc":"2.0","id":"1","method":"ping"}`, message{kind: kindRequest, id: `"1"`, method: "ping"}},
		{"notification", ` {"jsonrpc":"2.0","method":"notifications/initialized","params":{}} ` + "\n", message{kind: kindNotification, method: "notifications/initialized"}},
		{"cancel", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"reason":"x"}}`, message{kind: kindNotification, method: "notifications/cancelled", cancels: "7"}},
		{"response", `{"jsonrpc":"2.0","id":1,"result":{}}`, message{kind: kindResponse, id: "1"}},
		{"token", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"t"}}}`, message{kind: kindRequest, id: "1", method: "tools/call", token: json.RawMessage(`"t"`)}},
		{"version", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`, message{kind: kindRequest, id: "1", method: "tools/call", version: "2026-07-28"}},
		{"tools name their own keys", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"Name":1,"name":2}}}`, message{kind: kindRequest, id: "1", method: "tools/call"}},
		{"extensions name their own keys", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{"experimental":{"Name":{}}}}}`, message{kind: kindRequest, id: "1", method: "initialize"}},
		{"surrogate pair", `{"jsonrpc":"2.0","id":"\ud83d\ude00","method":"ping"}`, message{kind: kindRequest, id: `"😀"`, method: "ping"}},
		{"escaped backslash before u", `{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}`, message{kind: kindRequest, id: `"\\ud800"`, method: "ping"}},
		{"deep", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"a":` + nested + `}}}`, message{kind: kindRequest, id: "1", method: "tools/call"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := decode([]byte(c.in))
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if string(m.raw) != c.in {
				t.Errorf("raw is %q: not what came in", m.raw)
			}
			if m.kind != c.want.kind || m.id != c.want.id || m.method != c.want.method || m.cancels != c.want.cancels || m.version != c.want.version || string(m.token) != string(c.want.token) {
				t.Errorf("got %+v, want %+v", m, c.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name, in string
		code     int
		says     string
	}{
		{"empty", "", mcp.PARSE_ERROR, "not valid JSON"},
		{"syntax", `{"jsonrpc":"2.0",`, mcp.PARSE_ERROR, "not valid JSON"},
		{"invalid UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}", mcp.PARSE_ERROR, "UTF-8"},
		{"half a surrogate pair", `{"jsonrpc":"2.0","id":"\ud800","method":"ping"}`, mcp.PARSE_ERROR, "surrogate"},
		{"the other half", `{"jsonrpc":"2.0","id":"\udc00\ud800","method":"ping"}`, mcp.PARSE_ERROR, "surrogate"},
		{"second document", `{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}`, mcp.PARSE_ERROR, "more after"},
		{"rubbish behind", `{"jsonrpc":"2.0","id":1,"method":"ping"}x`, mcp.PARSE_ERROR, "more after"},
		{"batch", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, mcp.INVALID_REQUEST, "batches"},
		{"not an object", `7`, mcp.INVALID_REQUEST, "object"},
		{"no version", `{"id":1,"method":"ping"}`, mcp.INVALID_REQUEST, "jsonrpc"},
		{"wrong version", `{"jsonrpc":"1.0","id":1,"method":"ping"}`, mcp.INVALID_REQUEST, "jsonrpc"},
		{"null id", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, mcp.INVALID_REQUEST, "id:"},
		{"object id", `{"jsonrpc":"2.0","id":{},"method":"ping"}`, mcp.INVALID_REQUEST, "id:"},
		{"fraction id", `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, mcp.INVALID_REQUEST, "id:"},
		{"id beyond 53 bits", `{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}`, mcp.INVALID_REQUEST, "id:"},
		{"long id", `{"jsonrpc":"2.0","id":"` + strings.Repeat("x", 300) + `","method":"ping"}`, mcp.INVALID_REQUEST, "id:"},
		{"no method", `{"jsonrpc":"2.0","id":1}`, mcp.INVALID_REQUEST, "method"},
		{"result and error", `{"jsonrpc":"2.0","id":1,"result":1,"error":{}}`, mcp.INVALID_REQUEST, "either"},
		{"method and result", `{"jsonrpc":"2.0","id":1,"method":"tools/call","result":{}}`, mcp.INVALID_REQUEST, "neither"},
		{"method is a number", `{"jsonrpc":"2.0","id":1,"method":1}`, mcp.INVALID_REQUEST, "method"},
		{"params is an array", `{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`, mcp.INVALID_REQUEST, "params"},
		{"params is null", `{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`, mcp.INVALID_REQUEST, "params"},
		{"meta is null", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":null}}`, mcp.INVALID_REQUEST, "_meta"},
		{"token is an object", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressToken":{}}}}`, mcp.INVALID_REQUEST, "progressToken"},
		{"cancel of nothing", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}`, mcp.INVALID_REQUEST, "requestId"},
		{"key twice", `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}`, mcp.INVALID_REQUEST, "twice"},
		{"key twice, one escaped", `{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}`, mcp.INVALID_REQUEST, "twice"},
		{"key twice in arguments", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"a":[{"b":1,"b":2}]}}}`, mcp.INVALID_REQUEST, "params.arguments.a"},
		{"case variant", `{"jsonrpc":"2.0","id":1,"Method":"ping"}`, mcp.INVALID_REQUEST, `"method"`},
		{"case variant in params", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"chat"}}`, mcp.INVALID_REQUEST, `"name"`},
		{"case variant by a Kelvin sign", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressTo\u212aen":1}}}`, mcp.INVALID_REQUEST, `"progressToken"`},
		{"two unknown keys that fold to one", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"foo":1,"FOO":2}}`, mcp.INVALID_REQUEST, "case"},
		{"deep", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}}`, mcp.INVALID_REQUEST, "deeper"},
		{"very deep", `{"jsonrpc":"2.0","id":1,"method":"x","params":` + strings.Repeat(`{"a":`, 100000) + `1` + strings.Repeat(`}`, 100000) + `}`, mcp.INVALID_REQUEST, "deeper"},
		{"huge exponent", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"arguments":{"a":1e-999999999}}}`, mcp.INVALID_REQUEST, "exponent"},
		{"long number", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"arguments":{"a":` + strings.Repeat("9", 65) + `}}}`, mcp.INVALID_REQUEST, "number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := decode([]byte(c.in))
			var pe *protocolError
			if !errors.As(err, &pe) {
				t.Fatalf("got %+v, %v; want a protocol error", m, err)
			}
			if pe.code != c.code || !strings.Contains(pe.message, c.says) {
				t.Errorf("got %d %q, want %d with %q", pe.code, pe.message, c.code, c.says)
			}
			if len(pe.message) > 1000 {
				t.Errorf("the message has %d bytes: it grows with the input", len(pe.message))
			}
		})
	}
}

// judged holds the quick way through a message against the slow one: what scan takes
// the walker takes, and encoding/json finds the same members in it.
func judged(t *testing.T, data []byte) {
	t.Helper()
	f, ok := scan(data)
	if !ok {
		return
	}
	w := walker{dec: json.NewDecoder(bytes.NewReader(data))}
	w.dec.UseNumber()
	if err := w.value(1, placeRoot); err != nil {
		t.Fatalf("scan takes what the walker refuses: %v", err)
	}
	var want fields
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatalf("scan takes what encoding/json refuses: %v", err)
	}
	if len(want.Params) > 0 && want.Params[0] == '{' {
		if err := json.Unmarshal(want.Params, &want.params); err != nil {
			t.Fatal(err)
		}
		var all map[string]json.RawMessage
		_ = json.Unmarshal(want.Params, &all) // it is an object
		for _, known := range []string{"requestId", "_meta", "name", "arguments"} {
			delete(all, known)
		}
		want.params.more = len(all) > 0
	}
	if !reflect.DeepEqual(f, want) {
		t.Fatalf("scan reads %+v, encoding/json %+v", f, want)
	}
}

func TestScanTakesPlainMessages(t *testing.T) {
	for in, plain := range map[string]bool{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":[1,-2.5,true,null,{"b":"\u0061é"}]},"_meta":{"progressToken":1}}}`: true,
		` { "id" : "a" , "jsonrpc" : "2.0" , "method" : "ping" } `:                                                                     true,
		`{"jsonrpc":"2.0","id":1,"method":"x","params":{"more":1}}`:                                                                    false,
		`{"jsonrpc":"2.0","id":1,"method":"x","params":{"n\u0061me":1}}`:                                                               false,
		`{"jsonrpc":"2.0","id":1,"method":"x","params":{"arguments":{"a":1,"a":2}}}`:                                                   false,
		`{"jsonrpc":"2.0","id":1,"method":"x","params":{"arguments":{"a":1e9}}}`:                                                       false,
		`{"jsonrpc":"2.0","id":1,"method":"x","params":{"arguments":{"a":` + strings.Repeat("[", 62) + strings.Repeat("]", 62) + `}}}`: false,
		`{"jsonrpc":"2.0"}{}`: false,
		`[1]`:                 false,
	} {
		if _, ok := scan([]byte(in)); ok != plain {
			t.Errorf("%s: taken %v", in, ok)
		}
		judged(t, []byte(in))
	}
}

// FuzzDecode holds the decoder to its promise: what it accepts, encoding/json
// (which ignores the case of keys and takes the last of two) reads the same way.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"chat","arguments":{"prompt":"x"},"_meta":{"progressToken":1}}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}`,
		`{"jsonrpc":"2.0","id":"\ud83d\ude00","result":[1,2,{"a":null}]}`,
		`{"jsonrpc":"2.0","id":1,"Method":"x"}`, `[]`, `{"a":1}{}`, "\"\xff\"", `{"id":1e400}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		judged(t, data)
		m, err := decode(data)
		if err != nil {
			var pe *protocolError
			if !errors.As(err, &pe) || pe.message == "" {
				t.Fatalf("refused without a protocol error: %v", err)
			}
			return
		}
		var loose struct {
			JSONRPC string
			Method  string
			ID      any
			Params  struct {
				Meta struct {
					ProgressToken any
				} `json:"_meta"`
			}
		}
		if err := json.Unmarshal(data, &loose); err != nil {
			t.Fatalf("accepted, but encoding/json says %v", err)
		}
		if loose.Method != m.method || loose.JSONRPC != "2.0" {
			t.Fatalf("method %q, encoding/json read %q", m.method, loose.Method)
		}
		if (loose.ID != nil) != (m.id != "") || (loose.Params.Meta.ProgressToken != nil) != (m.token != nil) {
			t.Fatalf("id %q token %q, encoding/json read %v and %v", m.id, m.token, loose.ID, loose.Params.Meta.ProgressToken)
		}
		if loose.ID != nil {
			again, _ := json.Marshal(loose.ID)
			if canonical, ok := canonicalID(again); !ok || canonical != m.id {
				t.Fatalf("id %q, encoding/json writes it as %s", m.id, again)
			}
		}
	})
}
