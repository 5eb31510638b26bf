package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/internal/audit"
)

func TestEveryEndIsRecordedOnce(t *testing.T) {
	record := audit.Record{RequestID: "r1", Principal: "p", Tenant: "t", Via: "POST /x", Action: "chat", Model: "fake"}
	with := func(change func(*audit.Record)) audit.Record {
		r := record
		change(&r)
		return r
	}
	for _, c := range []struct {
		name  string
		model *fakeModel
		read  int // events to read; -1: to the end
		want  audit.Record
	}{
		{"to the end", &fakeModel{events: says("a", "b")}, -1, with(func(r *audit.Record) {
			r.Outcome, r.PromptTokens, r.CachedTokens, r.CompletionTokens = "ok", 11, 4, 2
		})},
		{"all but the end", &fakeModel{events: says("a")}, 3, with(func(r *audit.Record) {
			r.Outcome, r.PromptTokens, r.CachedTokens, r.CompletionTokens = "ok", 11, 4, 1
		})},
		{"left early", &fakeModel{events: says("a", "b")}, 1, with(func(r *audit.Record) { r.Outcome = "cancelled" })},
		{"failed", &fakeModel{end: inference.ErrDeadline}, -1, with(func(r *audit.Record) { r.Outcome = "deadline_exceeded" })},
		{"refused", &fakeModel{err: &inference.OverflowError{Prompt: 5, Context: 4}}, 0, with(func(r *audit.Record) { r.Outcome = "context_length_exceeded" })},
	} {
		t.Run(c.name, func(t *testing.T) {
			kept := &sink{}
			models := &audited{Models: fakeModels{c.model}, sink: kept}
			m, err := models.Acquire(t.Context(), "fake")
			if err != nil {
				t.Fatal(err)
			}
			ctx := audit.WithVia(t.Context(), "POST /x")
			s, err := m.Chat(ctx, &inference.ChatRequest{Options: inference.Options{RequestID: "r1", Caller: inference.Caller{Principal: "p", Tenant: "t"}}})
			if err == nil {
				for i := 0; i != c.read; i++ {
					if _, err := s.Next(t.Context()); err != nil {
						break
					}
				}
				_ = s.Close()
				_ = s.Close()
			}
			if d := cmp.Diff([]audit.Record{c.want}, kept.all); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestRecordsNameAdapters: with the scale that is applied, whoever gave it, and also
// where the model refuses them.
func TestRecordsNameAdapters(t *testing.T) {
	scale := func(v float32) *float32 { return &v }
	long := strings.Repeat("n", 127) + "ü…" // cut in the middle of a character
	asked := []inference.AdapterUse{{Name: "poet"}, {Name: "terse", Scale: scale(-2)}, {Name: long}}
	want := []audit.Adapter{{Name: "poet", Scale: scale(0.25)}, {Name: "terse", Scale: scale(-2)}, {Name: long[:127]}}
	for _, c := range []struct {
		name    string
		err     error
		outcome string
	}{
		{"answered", nil, "ok"},
		{"refused", inference.Invalid("lora[2].name", "there is none"), "invalid_value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kept := &sink{}
			model := &fakeModel{err: c.err, adapters: []inference.AdapterInfo{{Name: "terse", Scale: 1}, {Name: "poet", Scale: 0.25}}}
			m := &auditedLease{Lease: model, by: &audited{sink: kept}}
			s, err := m.Complete(t.Context(), &inference.CompletionRequest{Options: inference.Options{Adapters: asked}})
			if err == nil {
				if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
					t.Error(err)
				}
			}
			if len(kept.all) != 1 || kept.all[0].Outcome != c.outcome {
				t.Fatalf("recorded %+v", kept.all)
			}
			if d := cmp.Diff(want, kept.all[0].Adapters); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestPollingIsNoEnd: a caller whose own context ends may come back.
func TestPollingIsNoEnd(t *testing.T) {
	kept := &sink{}
	m := &auditedLease{Lease: &fakeModel{hold: true}, by: &audited{sink: kept}}
	s, err := m.Complete(t.Context(), &inference.CompletionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	past, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(past); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(kept.all) != 0 {
		t.Errorf("recorded %+v while the stream goes on", kept.all)
	}
	_ = s.Close()
	if len(kept.all) != 1 || kept.all[0].Outcome != "cancelled" || kept.all[0].Action != "complete" {
		t.Errorf("recorded %+v", kept.all)
	}
}

func TestPromptsAreLoggedOnlyWhenAsked(t *testing.T) {
	for _, asked := range []bool{false, true} {
		var out bytes.Buffer
		log := zerolog.New(&out).Level(zerolog.DebugLevel)
		zerolog.SetGlobalLevel(zerolog.TraceLevel)
		by := &audited{sink: &sink{}}
		if asked {
			by.prompts = &log
		}
		m := &auditedLease{Lease: &fakeModel{}, by: by}
		s, err := m.Chat(t.Context(), &inference.ChatRequest{Messages: []inference.Message{{Role: inference.RoleUser, Content: "my secret"}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if strings.Contains(out.String(), "my secret") != asked {
			t.Errorf("asked %v, log %q", asked, &out)
		}
	}
}
