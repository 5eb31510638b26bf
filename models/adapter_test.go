package models

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"hearth/internal/testkit"
)

// readBytes reads a header from memory.
func readBytes(t testing.TB, b []byte) *Header {
	t.Helper()
	h, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// adapted is a model with the weights that tests adapt.
func adapted(output bool) *Header {
	h := &Header{index: map[string]int{"general.architecture": 0}, Metadata: []Pair{{"general.architecture", Value{Kind: KindString, Scalar: "llama"}}}}
	h.Tensors = []Tensor{
		{Name: "token_embd.weight", Dims: []int64{64, 100}},
		{Name: "per_layer_token_embd.weight", Dims: []int64{64, 100}},
		{Name: "blk.0.attn_q.weight", Dims: []int64{64, 32}},
		{Name: "blk.0.attn_norm.weight", Dims: []int64{64}},
		{Name: "blk.0.ffn_up_exps.weight", Dims: []int64{64, 96, 3}},
		{Name: "blk.0.ffn_up.weight", Dims: []int64{64, 96}, Type: 40},
	}
	if output {
		h.Tensors = append(h.Tensors, Tensor{Name: "output.weight", Dims: []int64{64, 100}})
	}
	return h
}

func TestCheckAdapter(t *testing.T) {
	query := testkit.LoRAWeight{Name: "blk.0.attn_q.weight", In: 64, Out: 32}
	lora := func(change func(*testkit.LoRA)) []byte {
		l := &testkit.LoRA{Architecture: "llama", Alpha: 8, Rank: 4, Strength: 1, Weights: []testkit.LoRAWeight{query}}
		change(l)
		return l.GGUF()
	}
	weights := func(w ...testkit.LoRAWeight) []byte {
		return lora(func(l *testkit.LoRA) { l.Weights = w })
	}
	replace := func(old, with string) []byte {
		b := lora(func(*testkit.LoRA) {})
		if !bytes.Contains(b, []byte(old)) || len(old) != len(with) {
			t.Fatalf("%q cannot become %q", old, with)
		}
		return bytes.ReplaceAll(b, []byte(old), []byte(with))
	}
	// The halves of embeddings lie the other way round: a has a row of each token.
	embedding := weights(testkit.LoRAWeight{Name: "token_embd.weight", In: 4, Out: 64})
	for _, c := range []struct {
		name   string
		file   []byte
		output bool
		want   string // empty: it passes
	}{
		{"a matrix", lora(func(*testkit.LoRA) {}), false, ""},
		{"experts", weights(testkit.LoRAWeight{Name: "blk.0.ffn_up_exps.weight", In: 64, Out: 96, Experts: 3}), false, ""},
		{"too few experts", weights(testkit.LoRAWeight{Name: "blk.0.ffn_up_exps.weight", In: 64, Out: 96, Experts: 2}), false, "do not fit the weight's [64 96 3]"},
		{"experts of a matrix", weights(testkit.LoRAWeight{Name: query.Name, In: 64, Out: 32, Experts: 2}), false, "do not fit"},
		{"a model", lora(func(l *testkit.LoRA) { l.Pairs = map[string]string{"general.type": "model"} }), false, `general.type is "model"`},
		{"a control vector", lora(func(l *testkit.LoRA) { l.Pairs = map[string]string{"adapter.type": "cvec"} }), false, `adapter.type is "cvec"`},
		{"another architecture", lora(func(l *testkit.LoRA) { l.Architecture = "qwen2" }), false, `of the architecture "qwen2", and this one is "llama"`},
		{"activated", lora(func(l *testkit.LoRA) { l.Pairs = map[string]string{"adapter.alora.invocation_tokens": "x"} }), false, "activated LoRA"},
		{"alpha of another kind", lora(func(l *testkit.LoRA) { l.Pairs = map[string]string{"adapter.lora.alphq": "x"} }), false, ""},
		{"alpha that is no number", replace("\x00\x00\x00\x41", "\x00\x00\xc0\x7f"), false, "adapter.lora.alpha"},
		{"wide", weights(testkit.LoRAWeight{Name: query.Name, In: 65, Out: 32}), false, "do not fit the weight's [64 32]"},
		{"long", weights(testkit.LoRAWeight{Name: query.Name, In: 64, Out: 31}), false, "do not fit"},
		{"no such weight", weights(testkit.LoRAWeight{Name: "blk.9.attn_q.weight", In: 64, Out: 32}), false, "the model has no such weight"},
		{"a vector", weights(testkit.LoRAWeight{Name: "blk.0.attn_norm.weight", In: 64, Out: 1}), false, "no matrix"},
		{"NVFP4", weights(testkit.LoRAWeight{Name: "blk.0.ffn_up.weight", In: 64, Out: 96}), false, "NVFP4"},
		{"one half", replace(".lora_b", ".lora_c"), false, "one half is missing"},
		{"no halves", bytes.ReplaceAll(replace(".lora_b", ".lora_c"), []byte(".lora_a"), []byte(".lora_d")), false, "tensor \"blk.0.attn_q.weight.lora_d\""},
		{"nothing", weights(), false, "changes no weight"},
		{"halves of halves", weights(testkit.LoRAWeight{Name: "blk.0.lora_a.weight", In: 64, Out: 32}), false, "are called WEIGHT.lora_a"},
		{"embeddings that are the output, too", embedding, false, "uses its embeddings for the output"},
		{"embeddings that lie wrong", weights(testkit.LoRAWeight{Name: "token_embd.weight", In: 64, Out: 100}), true, "do not fit"},
		{"embeddings of layers", weights(testkit.LoRAWeight{Name: "per_layer_token_embd.weight", In: 64, Out: 100}), true, "no adapter to these embeddings"},
	} {
		f, err := CheckAdapter([]*Header{adapted(c.output)}, readBytes(t, c.file))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want == "" && (f.Rank != 4 || f.Pairs != 1 || f.Alpha != 8):
			t.Errorf("%s: %+v", c.name, f)
		case c.want != "" && (!errors.Is(err, ErrAdapter) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestCheckAdapterOfEmbeddings: the halves of a lookup are [rank tokens] and
// [rank width].
func TestCheckAdapterOfEmbeddings(t *testing.T) {
	a := readBytes(t, (&testkit.LoRA{Architecture: "llama", Rank: 100, Weights: []testkit.LoRAWeight{{Name: "token_embd.weight", In: 4, Out: 64}}}).GGUF())
	a.Tensors[1].Dims = []int64{4, 64}
	if f, err := CheckAdapter([]*Header{adapted(true)}, a); err != nil || f.Rank != 4 {
		t.Errorf("%+v, %v", f, err)
	}
	a.Tensors[0].Dims = []int64{5, 100}
	if _, err := CheckAdapter([]*Header{adapted(true)}, a); !errors.Is(err, ErrAdapter) {
		t.Errorf("halves of different ranks: %v", err)
	}
}

func TestCheckAdapterTypesAndNorms(t *testing.T) {
	file := testkit.LoRA{Architecture: "llama", Rank: 4, Weights: []testkit.LoRAWeight{{Name: "blk.0.attn_q.weight", In: 64, Out: 32}}}
	a := readBytes(t, file.GGUF())
	a.Tensors = append(a.Tensors, Tensor{Name: "blk.0.attn_norm.weight", Dims: []int64{64}})
	f, err := CheckAdapter([]*Header{adapted(false)}, a)
	if err != nil || len(f.Unused) != 1 {
		t.Fatalf("%+v, %v", f, err)
	}
	a.Tensors[1].Type = 26 // I32
	if _, err := CheckAdapter([]*Header{adapted(false)}, a); err == nil || !strings.Contains(err.Error(), "of the type I32") {
		t.Error(err)
	}
	a.Tensors[1].Type = 0
	a.Metadata[0].Value = Value{Kind: KindUint32, Scalar: uint64(7)}
	if _, err := CheckAdapter([]*Header{adapted(false)}, a); err == nil || !strings.Contains(err.Error(), "must be a string") {
		t.Error(err)
	}
	if _, err := CheckAdapter(nil, a); !errors.Is(err, ErrAdapter) {
		t.Error(err)
	}
}

// FuzzAdapter reads any bytes as an adapter.
func FuzzAdapter(f *testing.F) {
	file := testkit.LoRA{Architecture: "llama", Alpha: 8, Rank: 2, Strength: 1, Weights: []testkit.LoRAWeight{{Name: "blk.0.attn_q.weight", In: 64, Out: 32}}}
	whole := file.GGUF()
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(binary.LittleEndian.AppendUint64([]byte("GGUF\x03\x00\x00\x00"), 1<<40))
	base := []*Header{adapted(true)}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if a, err := CheckAdapter(base, h); err == nil && (a.Pairs < 1 || a.Rank < 1) {
			t.Errorf("passed with %+v", a)
		}
	})
}
