package models_test

import (
	"testing"

	parser "github.com/gpustack/gguf-parser-go"

	"hearth/internal/testkit"
	"hearth/models"
)

// TestAgreesWithGGUFParser compares our reader with an independent one on a
// real model: every metadata key, every tensor, where the data begins.
func TestAgreesWithGGUFParser(t *testing.T) {
	path := testkit.Model(t)
	want, err := parser.ParseGGUFFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := models.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Metadata) != len(want.Header.MetadataKV) || len(got.Tensors) != len(want.TensorInfos) {
		t.Fatalf("%d pairs and %d tensors, want %d and %d", len(got.Metadata), len(got.Tensors), len(want.Header.MetadataKV), len(want.TensorInfos))
	}
	for i, kv := range want.Header.MetadataKV {
		p := got.Metadata[i]
		if p.Key != kv.Key || uint32(p.Value.Kind) != uint32(kv.ValueType) {
			t.Errorf("pair %d: %s (%v), want %s (%v)", i, p.Key, p.Value.Kind, kv.Key, kv.ValueType)
		}
		switch kv.ValueType {
		case parser.GGUFMetadataValueTypeString:
			if p.Value.Scalar != kv.ValueString() {
				t.Errorf("%s = %q, want %q", p.Key, p.Value.Scalar, kv.ValueString())
			}
		case parser.GGUFMetadataValueTypeUint32:
			if p.Value.Scalar != uint64(kv.ValueUint32()) {
				t.Errorf("%s = %v, want %v", p.Key, p.Value.Scalar, kv.ValueUint32())
			}
		case parser.GGUFMetadataValueTypeFloat32:
			if p.Value.Scalar != float64(kv.ValueFloat32()) {
				t.Errorf("%s = %v, want %v", p.Key, p.Value.Scalar, kv.ValueFloat32())
			}
		case parser.GGUFMetadataValueTypeArray:
			if a := kv.ValueArray(); uint64(p.Value.Len) != a.Len || uint32(p.Value.Element) != uint32(a.Type) {
				t.Errorf("%s has %d of %v, want %d of %v", p.Key, p.Value.Len, p.Value.Element, a.Len, a.Type)
			}
		}
	}
	for i, w := range want.TensorInfos {
		g := got.Tensors[i]
		if g.Name != w.Name || uint64(g.Offset) != w.Offset || uint64(g.Bytes) != w.Bytes() || uint64(g.Elements()) != w.Elements() || uint32(g.Type) != uint32(w.Type) {
			t.Errorf("tensor %d: %+v, want %+v", i, g, w)
		}
	}
	if got.DataOffset != want.TensorDataStartOffset {
		t.Errorf("data begins at %d, want %d", got.DataOffset, want.TensorDataStartOffset)
	}
	if s := got.Summary(); s.Architecture != "llama" || s.Quantization != "Q4_1" || !s.ChatTemplate || s.Vocabulary != 49152 || s.Params != int64(want.ModelParameters) {
		t.Errorf("summary %+v", s)
	}
}
