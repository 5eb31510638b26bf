package testkit

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// LoRA is an adapter to be made for a test. Its content is a function of Seed.
type LoRA struct {
	Architecture string
	Alpha        float32
	Rank         int
	Strength     float32 // the numbers of both halves lie between -Strength and Strength
	Seed         uint32
	Weights      []LoRAWeight
	// Pairs, if not nil, are string metadata besides, or instead of, the usual.
	Pairs map[string]string
}

// LoRAWeight is a weight that the adapter changes, with its shape as GGUF has it:
// a row for each output has In numbers. Experts is how many of them there are in
// one tensor; 0: it is a matrix.
type LoRAWeight struct {
	Name             string
	In, Out, Experts int
}

// Halves returns the matrices of weight i: a has Rank rows of In numbers, b has Out
// rows of Rank numbers, for each expert.
func (l *LoRA) Halves(i int) (a, b []float32) {
	w := &l.Weights[i]
	n := max(w.Experts, 1)
	x := (l.Seed+1)*2654435761 + uint32(i)*40503 + 1
	fill := func(v []float32) []float32 {
		for i := range v {
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
			v[i] = (float32(x>>8)/(1<<23) - 1) * l.Strength
		}
		return v
	}
	return fill(make([]float32, n*l.Rank*w.In)), fill(make([]float32, n*w.Out*l.Rank))
}

// GGUF returns the file.
func (l *LoRA) GGUF() []byte {
	le := binary.LittleEndian
	text := func(b []byte, s string) []byte { return append(le.AppendUint64(b, uint64(len(s))), s...) }
	pairs := map[string]string{"general.type": "adapter", "general.architecture": l.Architecture, "adapter.type": "lora"}
	for k, v := range l.Pairs {
		pairs[k] = v
	}
	order := []string{"general.type", "general.architecture", "adapter.type"}
	for k := range l.Pairs {
		if k != order[0] && k != order[1] && k != order[2] {
			order = append(order, k)
		}
	}
	head := []byte("GGUF")
	head = le.AppendUint32(head, 3)
	head = le.AppendUint64(head, uint64(2*len(l.Weights)))
	head = le.AppendUint64(head, uint64(len(order)+1))
	const kindFloat32, kindString = 6, 8
	for _, k := range order {
		head = text(le.AppendUint32(text(head, k), kindString), pairs[k])
	}
	head = le.AppendUint32(le.AppendUint32(text(head, "adapter.lora.alpha"), kindFloat32), math.Float32bits(l.Alpha))
	var data []byte
	add := func(name string, v []float32, dims ...int) {
		head = text(head, name)
		if dims[2] == 0 {
			dims = dims[:2]
		}
		head = le.AppendUint32(head, uint32(len(dims)))
		for _, d := range dims {
			head = le.AppendUint64(head, uint64(d))
		}
		head = le.AppendUint32(head, 0) // F32
		head = le.AppendUint64(head, uint64(len(data)))
		for _, x := range v {
			data = le.AppendUint32(data, math.Float32bits(x))
		}
		data = append(data, make([]byte, -len(data)&31)...)
	}
	for i, w := range l.Weights {
		a, b := l.Halves(i)
		add(w.Name+".lora_a", a, w.In, l.Rank, w.Experts)
		add(w.Name+".lora_b", b, l.Rank, w.Out, w.Experts)
	}
	return bytes.Join([][]byte{head, data}, make([]byte, -len(head)&31))
}

// Write puts the file into a folder of the test and returns its path.
func (l *LoRA) Write(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".gguf")
	if err := os.WriteFile(path, l.GGUF(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ModelLoRA is an adapter for the small default model that changes the attention
// of some of its layers enough for its greedy answers to be other ones.
func ModelLoRA(seed uint32) *LoRA {
	l := &LoRA{Architecture: "llama", Alpha: 16, Rank: 4, Strength: 0.15, Seed: seed}
	for _, layer := range []string{"blk.3.", "blk.11.", "blk.20.", "blk.27."} {
		l.Weights = append(l.Weights,
			LoRAWeight{Name: layer + "attn_q.weight", In: 576, Out: 576},
			LoRAWeight{Name: layer + "attn_v.weight", In: 576, Out: 192},
			LoRAWeight{Name: layer + "ffn_down.weight", In: 1536, Out: 576})
	}
	return l
}
