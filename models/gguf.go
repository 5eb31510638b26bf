package models

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// What can be wrong with a model file.
var (
	// ErrFormat: not a GGUF file, or one that breaks the format's rules.
	ErrFormat = errors.New("not a usable GGUF file")
	// ErrTruncated: the file ends before what its header promises.
	ErrTruncated = errors.New("GGUF file is cut off")
)

// Bounds of what is read. The largest public models stay well below them.
const (
	maxMetadata    = 1 << 16  // metadata pairs
	maxTensors     = 1 << 18  // tensors in one file
	maxDims        = 4        // dimensions of a tensor, as in ggml
	maxKeyBytes    = 1 << 12  // bytes of a metadata key
	maxNameBytes   = 63       // bytes of a tensor's name, as in ggml
	maxStringBytes = 16 << 20 // bytes of one metadata string
	maxElements    = 64 << 20 // elements of a metadata array
	maxAlignment   = 1 << 20  // bytes
	maxParts       = 1 << 12  // files of one model
)

// Kind is the type of a metadata value.
type Kind uint32

// The kinds, by GGUF's numbers.
const (
	KindUint8 Kind = iota
	KindInt8
	KindUint16
	KindInt16
	KindUint32
	KindInt32
	KindFloat32
	KindBool
	KindString
	KindArray
	KindUint64
	KindInt64
	KindFloat64
)

var (
	kindNames = [...]string{"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "bool", "string", "array", "uint64", "int64", "float64"}
	kindSizes = [...]int64{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}
)

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// Value is one metadata value. Arrays are counted, not kept.
type Value struct {
	Kind Kind
	// Scalar is a uint64, int64, float64, bool or string, widened; nil for arrays.
	Scalar any
	// Element and Len describe an array.
	Element Kind
	Len     int
}

// Pair is a metadata key with its value.
type Pair struct {
	Key   string
	Value Value
}

// Tensor is one entry of the tensor list.
type Tensor struct {
	Name   string
	Dims   []int64
	Type   TensorType
	Offset int64 // bytes from the start of the data section
	Bytes  int64 // size of its data
}

// Elements returns the number of weights in the tensor.
func (t *Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Dims {
		n *= d
	}
	return n
}

// Header is everything a GGUF file says before its data.
type Header struct {
	Version    uint32
	Metadata   []Pair // in the file's order
	Tensors    []Tensor
	Alignment  int64
	DataOffset int64 // where tensor data begins
	FileBytes  int64

	index map[string]int
}

// Lookup returns the value of a metadata key.
func (h *Header) Lookup(key string) (Value, bool) {
	i, ok := h.index[key]
	if !ok {
		return Value{}, false
	}
	return h.Metadata[i].Value, true
}

// Text returns a string value, or "".
func (h *Header) Text(key string) string {
	v, _ := h.Lookup(key)
	s, _ := v.Scalar.(string)
	return s
}

// Uint returns a value that is a non-negative whole number of any width.
func (h *Header) Uint(key string) (uint64, bool) {
	v, _ := h.Lookup(key)
	switch n := v.Scalar.(type) {
	case uint64:
		return n, true
	case int64:
		return uint64(max(n, 0)), n >= 0
	}
	return 0, false
}

// Open reads and checks the header of the file at path.
func Open(path string) (*Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("open model: %s is not a regular file: %w", path, ErrFormat)
	}
	h, err := Read(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", path, err)
	}
	return h, nil
}

// Read reads a header from r, the beginning of a file of size bytes, and checks
// it: keys and tensor names are unique, all tensor data lies within the file.
func Read(r io.Reader, size int64) (*Header, error) {
	d := newDecoder(r, size)
	h, err := d.header()
	if err != nil {
		return nil, err
	}
	return h, h.checkData()
}

// checkData makes sure that the data of every tensor is inside the file, and
// that no two tensors overlap in a way that ggml refuses: its offsets must
// follow each other in the order of the list.
func (h *Header) checkData() error {
	var end int64
	for i := range h.Tensors {
		t := &h.Tensors[i]
		if t.Offset != end {
			return fmt.Errorf("%w: tensor %q starts at byte %d of the data, and %d was expected", ErrFormat, t.Name, t.Offset, end)
		}
		if t.Bytes > math.MaxInt64-h.Alignment-end {
			return fmt.Errorf("%w: tensor %q makes the data larger than any file", ErrFormat, t.Name)
		}
		if h.DataOffset > h.FileBytes-t.Bytes || t.Offset > h.FileBytes-t.Bytes-h.DataOffset {
			return fmt.Errorf("%w: tensor %q ends at byte %d and the file has %d; download or copy it again", ErrTruncated, t.Name, h.DataOffset+t.Offset+t.Bytes, h.FileBytes)
		}
		end = alignUp(end+t.Bytes, h.Alignment)
	}
	return nil
}

func alignUp(n, to int64) int64 { return (n + to - 1) / to * to }
