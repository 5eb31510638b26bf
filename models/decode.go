package models

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// decoder reads a header and counts the bytes, so that a length can be compared
// with what is left of the file before memory is taken for it.
type decoder struct {
	r    *bufio.Reader
	size int64
	pos  int64
	buf  [8]byte
}

func newDecoder(r io.Reader, size int64) *decoder {
	return &decoder{r: bufio.NewReaderSize(r, 1<<16), size: size}
}

func (d *decoder) left() int64 { return d.size - d.pos }

func (d *decoder) cut(what string) error {
	return fmt.Errorf("%w: it ends at byte %d inside %s; download or copy it again", ErrTruncated, d.size, what)
}

func (d *decoder) bytes(n int, what string) ([]byte, error) {
	b := d.buf[:n]
	if _, err := io.ReadFull(d.r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, d.cut(what)
		}
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	d.pos += int64(n)
	return b, nil
}

func (d *decoder) u32(what string) (uint32, error) {
	b, err := d.bytes(4, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (d *decoder) u64(what string) (uint64, error) {
	b, err := d.bytes(8, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// count reads a number of things of which each takes at least unit bytes.
func (d *decoder) count(what string, bound, unit int64) (int, error) {
	n, err := d.u64("the number of " + what)
	if err != nil {
		return 0, err
	}
	if n > uint64(bound) {
		return 0, fmt.Errorf("%w: it claims %d %s, at most %d are accepted", ErrFormat, n, what, bound)
	}
	if int64(n)*unit > d.left() {
		return 0, fmt.Errorf("%w: it claims %d %s and has only %d bytes left for them; download or copy it again", ErrTruncated, n, what, d.left())
	}
	return int(n), nil
}

func (d *decoder) text(what string, bound int64) (string, error) {
	n, err := d.count("bytes of "+what, bound, 1)
	if err != nil {
		return "", err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(d.r, b); err != nil {
		return "", d.cut(what)
	}
	d.pos += int64(n)
	return string(b), nil
}

func (d *decoder) skip(n int64, what string) error {
	if n > d.left() {
		return d.cut(what)
	}
	for n > 0 {
		k, err := d.r.Discard(int(min(n, 1<<20)))
		d.pos += int64(k)
		n -= int64(k)
		if err != nil {
			return d.cut(what)
		}
	}
	return nil
}

func (d *decoder) header() (*Header, error) {
	magic, err := d.bytes(4, "the first four bytes")
	if err != nil {
		return nil, err
	}
	if string(magic) != "GGUF" {
		return nil, fmt.Errorf("%w: it begins with %q instead of \"GGUF\"", ErrFormat, magic)
	}
	h := &Header{FileBytes: d.size, Alignment: 32, index: map[string]int{}}
	if h.Version, err = d.u32("the version"); err != nil {
		return nil, err
	}
	switch {
	case h.Version == 2 || h.Version == 3:
	case h.Version&0xffff == 0 && h.Version != 0:
		return nil, fmt.Errorf("%w: it was written for big-endian machines; convert it again for this one", ErrFormat)
	default:
		return nil, fmt.Errorf("%w: its version is %d, versions 2 and 3 are read", ErrFormat, h.Version)
	}
	// A tensor takes at least a name's length, dimensions, type and offset; a
	// pair at least a key's length, a kind and one byte.
	nt, err := d.count("tensors", maxTensors, 24)
	if err != nil {
		return nil, err
	}
	nm, err := d.count("metadata pairs", maxMetadata, 13)
	if err != nil {
		return nil, err
	}
	for range nm {
		if err := d.pair(h); err != nil {
			return nil, err
		}
	}
	if v, ok := h.Lookup("general.alignment"); ok {
		a, whole := h.Uint("general.alignment")
		if v.Kind != KindUint32 || !whole || a == 0 || a > maxAlignment || a&(a-1) != 0 {
			return nil, fmt.Errorf("%w: general.alignment is %v, it must be a power of two up to %d", ErrFormat, v.Scalar, maxAlignment)
		}
		h.Alignment = int64(a)
	}
	names := make(map[string]bool, nt)
	for range nt {
		t, err := d.tensor()
		if err != nil {
			return nil, err
		}
		if names[t.Name] {
			return nil, fmt.Errorf("%w: tensor %q is listed twice", ErrFormat, t.Name)
		}
		names[t.Name] = true
		h.Tensors = append(h.Tensors, t)
	}
	h.DataOffset = alignUp(d.pos, h.Alignment)
	return h, nil
}

func (d *decoder) pair(h *Header) error {
	key, err := d.text("a metadata key", maxKeyBytes)
	if err != nil {
		return err
	}
	if _, twice := h.index[key]; twice {
		return fmt.Errorf("%w: metadata key %q appears twice", ErrFormat, key)
	}
	kind, err := d.u32("the kind of " + key)
	if err != nil {
		return err
	}
	v, err := d.value(key, Kind(kind))
	if err != nil {
		return err
	}
	h.index[key] = len(h.Metadata)
	h.Metadata = append(h.Metadata, Pair{Key: key, Value: v})
	return nil
}

func (d *decoder) value(key string, k Kind) (Value, error) {
	v := Value{Kind: k}
	switch {
	case k == KindString:
		s, err := d.text("the value of "+key, maxStringBytes)
		v.Scalar = s
		return v, err
	case k == KindArray:
		return d.array(key)
	case int(k) >= len(kindSizes):
		return v, fmt.Errorf("%w: metadata key %q has the unknown kind %d", ErrFormat, key, uint32(k))
	}
	b, err := d.bytes(int(kindSizes[k]), "the value of "+key)
	if err != nil {
		return v, err
	}
	le := binary.LittleEndian
	switch k {
	case KindUint8:
		v.Scalar = uint64(b[0])
	case KindInt8:
		v.Scalar = int64(int8(b[0]))
	case KindUint16:
		v.Scalar = uint64(le.Uint16(b))
	case KindInt16:
		v.Scalar = int64(int16(le.Uint16(b)))
	case KindUint32:
		v.Scalar = uint64(le.Uint32(b))
	case KindInt32:
		v.Scalar = int64(int32(le.Uint32(b)))
	case KindUint64:
		v.Scalar = le.Uint64(b)
	case KindInt64:
		v.Scalar = int64(le.Uint64(b))
	case KindFloat32:
		v.Scalar = float64(math.Float32frombits(le.Uint32(b)))
	case KindFloat64:
		v.Scalar = math.Float64frombits(le.Uint64(b))
	case KindBool:
		if b[0] > 1 {
			return v, fmt.Errorf("%w: metadata key %q is a bool of %d, it must be 0 or 1", ErrFormat, key, b[0])
		}
		v.Scalar = b[0] == 1
	}
	return v, nil
}

// vocabularyKey lists the texts of all tokens. llama.cpp asserts that they
// differ, so a file in which two are equal would end the process.
const vocabularyKey = "tokenizer.ggml.tokens"

func (d *decoder) array(key string) (Value, error) {
	v := Value{Kind: KindArray}
	k, err := d.u32("the kind of " + key)
	if err != nil {
		return v, err
	}
	v.Element = Kind(k)
	unit := int64(8) // a string takes at least its length
	switch {
	case v.Element == KindString:
	case v.Element == KindArray:
		return v, fmt.Errorf("%w: metadata key %q holds arrays of arrays, which no model uses", ErrFormat, key)
	case int(v.Element) >= len(kindSizes):
		return v, fmt.Errorf("%w: metadata key %q is an array of the unknown kind %d", ErrFormat, key, k)
	default:
		unit = kindSizes[v.Element]
	}
	if v.Len, err = d.count("elements of "+key, maxElements, unit); err != nil {
		return v, err
	}
	if v.Element != KindString {
		return v, d.skip(int64(v.Len)*unit, "the value of "+key)
	}
	return v, d.strings(key, v.Len)
}

func (d *decoder) strings(key string, n int) error {
	var seen map[string]int
	if key == vocabularyKey {
		seen = make(map[string]int, n)
	}
	for i := range n {
		if seen == nil {
			length, err := d.count("bytes of "+key, maxStringBytes, 1)
			if err != nil {
				return err
			}
			if err := d.skip(int64(length), "the value of "+key); err != nil {
				return err
			}
			continue
		}
		s, err := d.text("a token of the vocabulary", maxKeyBytes)
		if err != nil {
			return err
		}
		if first, twice := seen[s]; twice {
			return fmt.Errorf("%w: tokens %d and %d of the vocabulary are both %q", ErrFormat, first, i, s)
		}
		seen[s] = i
	}
	return nil
}

func (d *decoder) tensor() (Tensor, error) {
	var t Tensor
	var err error
	if t.Name, err = d.text("a tensor's name", maxNameBytes); err != nil {
		return t, err
	}
	dims, err := d.u32("tensor " + t.Name)
	if err != nil {
		return t, err
	}
	if dims > maxDims {
		return t, fmt.Errorf("%w: tensor %q has %d dimensions, at most %d are possible", ErrFormat, t.Name, dims, maxDims)
	}
	elements := int64(1)
	for range dims {
		n, err := d.u64("tensor " + t.Name)
		if err != nil {
			return t, err
		}
		if n == 0 || n > math.MaxInt64 || int64(n) > math.MaxInt64/elements {
			return t, fmt.Errorf("%w: tensor %q has an impossible dimension %d", ErrFormat, t.Name, n)
		}
		elements *= int64(n)
		t.Dims = append(t.Dims, int64(n))
	}
	kind, err := d.u32("tensor " + t.Name)
	if err != nil {
		return t, err
	}
	offset, err := d.u64("tensor " + t.Name)
	if err != nil {
		return t, err
	}
	if offset > math.MaxInt64 {
		return t, fmt.Errorf("%w: tensor %q has an impossible offset", ErrFormat, t.Name)
	}
	t.Type, t.Offset = TensorType(kind), int64(offset)
	t.Bytes, err = t.Type.bytes(t.Dims, elements)
	if err != nil {
		return t, fmt.Errorf("%w: tensor %q: %w", ErrFormat, t.Name, err)
	}
	return t, nil
}
