package models

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// file builds a GGUF file byte by byte, so that tests can break any of them.
type file struct{ bytes.Buffer }

func (f *file) put(vs ...any) *file {
	for _, v := range vs {
		switch v := v.(type) {
		case string:
			f.put(uint64(len(v)))
			f.WriteString(v)
		case []byte:
			f.Write(v)
		default:
			if err := binary.Write(f, binary.LittleEndian, v); err != nil {
				panic(err)
			}
		}
	}
	return f
}

func head(tensors, pairs uint64) *file {
	return new(file).put([]byte("GGUF"), uint32(3), tensors, pairs)
}

// small is a well-formed file: every kind of value, two tensors, their data.
func small() []byte {
	f := head(2, 18)
	f.put("general.architecture", KindString, "llama")
	f.put("general.name", KindString, "tiny")
	f.put("general.license", KindString, "apache-2.0")
	f.put("general.alignment", KindUint32, uint32(32))
	f.put("general.file_type", KindUint32, uint32(3))
	f.put("llama.context_length", KindUint32, uint32(2048))
	f.put("llama.block_count", KindUint16, uint16(2))
	f.put("a.u8", KindUint8, uint8(200))
	f.put("a.i8", KindInt8, int8(-3))
	f.put("a.i16", KindInt16, int16(-300))
	f.put("a.i32", KindInt32, int32(-70000))
	f.put("a.u64", KindUint64, uint64(math.MaxUint64))
	f.put("a.i64", KindInt64, int64(math.MinInt64))
	f.put("a.f32", KindFloat32, float32(0.5))
	f.put("a.f64", KindFloat64, 0.25)
	f.put("a.bool", KindBool, uint8(1))
	f.put("a.floats", KindArray, KindFloat32, uint64(3), float32(1), float32(2), float32(3))
	f.put(vocabularyKey, KindArray, KindString, uint64(3), "a", "b", "c")
	f.put("token_embd.weight", uint32(2), uint64(32), uint64(3), uint32(3), uint64(0))
	f.put("output_norm.weight", uint32(1), uint64(5), uint32(0), uint64(64))
	for f.Len()%32 != 0 {
		f.WriteByte(0)
	}
	f.put(make([]byte, 64+20))
	return f.Bytes()
}

func TestReadSmall(t *testing.T) {
	h, err := Read(bytes.NewReader(small()), int64(len(small())))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"a.u8": uint64(200), "a.i8": int64(-3), "a.i16": int64(-300), "a.i32": int64(-70000),
		"a.u64": uint64(math.MaxUint64), "a.i64": int64(math.MinInt64), "a.f32": 0.5, "a.f64": 0.25,
		"a.bool": true, "general.name": "tiny",
	} {
		if v, ok := h.Lookup(key); !ok || v.Scalar != want {
			t.Errorf("%s = %v (%v), want %v", key, v.Scalar, ok, want)
		}
	}
	if v, _ := h.Lookup("a.floats"); v.Element != KindFloat32 || v.Len != 3 {
		t.Errorf("a.floats = %+v", v)
	}
	if n := len(h.Tensors); n != 2 || h.Tensors[0].Bytes != 60 || h.Tensors[1].Offset != 64 {
		t.Errorf("tensors = %+v", h.Tensors)
	}
	want := Summary{
		Architecture: "llama", Name: "tiny", Quantization: "Q4_1", License: "apache-2.0", Params: 101,
		Context: 2048, Layers: 2, Vocabulary: 3, Memory: "attention to all tokens: prefixes are shared",
	}
	if got := h.Summary(); got != want {
		t.Errorf("summary = %+v, want %+v", got, want)
	}
}

// TestReadCut takes every proper beginning of a well-formed file: each is cut
// off, and each is said to be.
func TestReadCut(t *testing.T) {
	whole := small()
	for n := range whole {
		_, err := Read(bytes.NewReader(whole[:n]), int64(n))
		if !errors.Is(err, ErrTruncated) {
			t.Fatalf("first %d bytes of %d: %v, want %v", n, len(whole), err, ErrTruncated)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	tensor := func(name string, dims []uint64, kind uint32, offset uint64) []byte {
		f := new(file).put(name, uint32(len(dims)))
		for _, d := range dims {
			f.put(d)
		}
		return f.put(kind, offset, make([]byte, 4096)).Bytes()
	}
	for _, c := range []struct {
		name string
		data []byte
		want error
		say  string
	}{
		{"a zip file", []byte("PK\x03\x04 and more than enough bytes"), ErrFormat, `begins with "PK\x03\x04"`},
		{"version 1", new(file).put([]byte("GGUF"), uint32(1), uint64(0), uint64(0)).Bytes(), ErrFormat, "version is 1"},
		{"big-endian", new(file).put([]byte("GGUF"), []byte{0, 0, 0, 3}, uint64(0), uint64(0)).Bytes(), ErrFormat, "big-endian"},
		{"too many tensors", head(math.MaxUint64, 0).Bytes(), ErrFormat, "tensors, at most 262144"},
		{"too many pairs", head(0, 1<<40).Bytes(), ErrFormat, "metadata pairs, at most 65536"},
		{"more pairs than bytes", head(0, 1000).put(make([]byte, 100)).Bytes(), ErrTruncated, "only 100 bytes left"},
		{"huge key", head(0, 1).put(uint64(1<<30), make([]byte, 64)).Bytes(), ErrFormat, "at most 4096"},
		{"huge string", head(0, 1).put("k", KindString, uint64(1<<62), make([]byte, 64)).Bytes(), ErrFormat, "bytes of the value of k"},
		{"unknown kind", head(0, 1).put("k", uint32(99), make([]byte, 64)).Bytes(), ErrFormat, "unknown kind 99"},
		{"array of unknown kind", head(0, 1).put("k", KindArray, uint32(77), uint64(1), uint64(1)).Bytes(), ErrFormat, "unknown kind 77"},
		{"array of arrays", head(0, 1).put("k", KindArray, KindArray, uint64(1), make([]byte, 64)).Bytes(), ErrFormat, "arrays of arrays"},
		{"huge array", head(0, 1).put("k", KindArray, KindUint8, uint64(1<<60), make([]byte, 64)).Bytes(), ErrFormat, "elements of k"},
		{"array longer than the file", head(0, 1).put("k", KindArray, KindUint64, uint64(1000), make([]byte, 64)).Bytes(), ErrTruncated, "elements of k"},
		{"bool of 7", head(0, 1).put("k", KindBool, uint8(7), make([]byte, 64)).Bytes(), ErrFormat, "bool of 7"},
		{"key twice", head(0, 2).put("k", KindUint8, uint8(7), "k", KindUint8, uint8(7), make([]byte, 64)).Bytes(), ErrFormat, `"k" appears twice`},
		{"token twice", head(0, 1).put(vocabularyKey, KindArray, KindString, uint64(3), "x", "y", "x", make([]byte, 64)).Bytes(), ErrFormat, "tokens 0 and 2"},
		{"alignment 0", head(0, 1).put("general.alignment", KindUint32, uint32(0), make([]byte, 64)).Bytes(), ErrFormat, "power of two"},
		{"alignment 48", head(0, 1).put("general.alignment", KindUint32, uint32(48), make([]byte, 64)).Bytes(), ErrFormat, "power of two"},
		{"alignment as text", head(0, 1).put("general.alignment", KindString, "32", make([]byte, 64)).Bytes(), ErrFormat, "power of two"},
		{"five dimensions", head(1, 0).put(tensor("t", []uint64{1, 1, 1, 1, 1}, 0, 0)).Bytes(), ErrFormat, "5 dimensions"},
		{"dimension 0", head(1, 0).put(tensor("t", []uint64{4, 0}, 0, 0)).Bytes(), ErrFormat, "impossible dimension 0"},
		{"elements overflow", head(1, 0).put(tensor("t", []uint64{1 << 32, 1 << 32}, 0, 0)).Bytes(), ErrFormat, "impossible dimension"},
		{"bytes overflow", head(1, 0).put(tensor("t", []uint64{1 << 62}, 0, 0)).Bytes(), ErrFormat, "larger than any file"},
		{"unknown type", head(1, 0).put(tensor("t", []uint64{4}, 4, 0)).Bytes(), ErrFormat, "type 4 is not known"},
		{"broken block", head(1, 0).put(tensor("t", []uint64{33}, 2, 0)).Bytes(), ErrFormat, "multiple of 32"},
		{"offset beyond int64", head(1, 0).put(tensor("t", []uint64{4}, 0, math.MaxUint64)).Bytes(), ErrFormat, "impossible offset"},
		{"hole in the data", head(1, 0).put(tensor("t", []uint64{4}, 0, 32)).Bytes(), ErrFormat, "starts at byte 32"},
		{"data outside the file", head(1, 0).put(tensor("t", []uint64{1 << 20}, 0, 0)).Bytes(), ErrTruncated, "ends at byte"},
		{"tensor twice", head(2, 0).put("t", uint32(1), uint64(8), uint32(0), uint64(0)).put(tensor("t", []uint64{8}, 0, 32)).Bytes(), ErrFormat, "listed twice"},
		{"name too long", head(1, 0).put(tensor(strings.Repeat("n", 64), []uint64{4}, 0, 0)).Bytes(), ErrFormat, "at most 63"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(c.data), int64(len(c.data)))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.say) {
				t.Fatalf("got %v, want %v saying %q", err, c.want, c.say)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none.gguf")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrFormat) {
		t.Errorf("a folder: %v", err)
	}
	path := filepath.Join(dir, "cut.gguf")
	if err := os.WriteFile(path, small()[:200], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), path) {
		t.Errorf("a cut file: %v", err)
	}
}

func TestDefaultID(t *testing.T) {
	for path, want := range map[string]string{
		"/m/SmolLM2-135M-Instruct.Q4_1.gguf":      "smollm2-135m-instruct",
		"Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.GGUF": "qwen2.5-coder-0.5b-instruct",
		"gemma-3-270m-f16.gguf":                   "gemma-3-270m",
		"big-UD-Q4_K_XL-00001-of-00003.gguf":      "big",
		"gpt-oss-20b-MXFP4.gguf":                  "gpt-oss-20b",
		"Q4_0.gguf":                               "q4_0",
		"my model (new).gguf":                     "my-model-new",
		"...gguf":                                 "model",
		"llama-3.gguf":                            "llama-3",
		filepath.Join("a", "Mistral-7B-Instruct-v0.3.bf16.gguf"): "mistral-7b-instruct-v0.3",
	} {
		if got := DefaultID(path); got != want {
			t.Errorf("DefaultID(%q) = %q, want %q", path, got, want)
		}
	}
}

// FuzzRead: whatever the bytes, Read returns and never takes more memory than
// the file has bytes; what it accepts is inside the file.
func FuzzRead(f *testing.F) {
	f.Add(small())
	f.Add(small()[:300])
	f.Add(head(1, 1).Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrTruncated) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		for i := range h.Tensors {
			tensor := &h.Tensors[i]
			if end := h.DataOffset + tensor.Offset + tensor.Bytes; tensor.Bytes < 0 || end > int64(len(data)) {
				t.Fatalf("tensor %q ends at %d of %d", tensor.Name, end, len(data))
			}
		}
		h.Summary()
	})
}
