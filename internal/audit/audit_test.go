package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestFileSink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for range 2 { // a second run appends
		s, err := Open(Config{File: path}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				s.Write(Record{RequestID: "r", Principal: "local", Via: "POST /x", Action: "chat", Model: "m", PromptTokens: 3, Outcome: "ok", Duration: time.Second})
			})
		}
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) != 20 {
		t.Fatalf("%d lines, want 20", len(lines))
	}
	for _, line := range lines {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil || r["principal"] != "local" || r["prompt_tokens"] != 3.0 || r["duration_ms"] != 1000.0 || r["time"] == nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: others could read it", st.Mode(), err)
	}
}

func TestRecordsWriteAdapters(t *testing.T) {
	scale := float32(0.1)
	for _, c := range []struct {
		adapters []Adapter
		want     string // of the line; empty: nothing of the kind
	}{
		{nil, ""},
		{[]Adapter{{Name: "poet", Scale: &scale}}, `"lora":[{"name":"poet","scale":0.1}]`},
		{[]Adapter{{Name: "a\"b"}, {Name: "terse", Scale: &scale}}, `"lora":[{"name":"a\"b"},{"name":"terse","scale":0.1}]`},
	} {
		var out bytes.Buffer
		s, err := Open(Config{}, zerolog.New(&out))
		if err != nil {
			t.Fatal(err)
		}
		s.Write(Record{RequestID: "r1", Adapters: c.adapters, Outcome: "ok"})
		if line := out.String(); !strings.Contains(line, c.want) || strings.Contains(line, "lora") != (c.want != "") || !json.Valid(out.Bytes()) {
			t.Errorf("%+v: wrote %s, want %s", c.adapters, line, c.want)
		}
	}
}

func TestLogSinkIgnoresTheLevel(t *testing.T) {
	var out bytes.Buffer
	s, err := Open(Config{}, zerolog.New(&out).Level(zerolog.ErrorLevel))
	if err != nil {
		t.Fatal(err)
	}
	s.Write(Record{RequestID: "r1", Outcome: "ok"})
	if !strings.Contains(out.String(), `"audit":true`) || !strings.Contains(out.String(), "r1") {
		t.Errorf("wrote %q", &out)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(Config{File: filepath.Join(t.TempDir(), "no", "such", "folder")}, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "audit file") {
		t.Errorf("got %v", err)
	}
}

func TestVia(t *testing.T) {
	if got := ViaFrom(context.Background()); got != "internal" {
		t.Errorf("ViaFrom = %q", got)
	}
	if got := ViaFrom(WithVia(context.Background(), "mcp stdio")); got != "mcp stdio" {
		t.Errorf("ViaFrom = %q", got)
	}
}
