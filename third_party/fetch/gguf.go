package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
)

// Numbers of the GGUF format, version 3.
const (
	ggufVersion   = 3
	ggufAlignment = 32

	ggufUint32  = 4
	ggufInt32   = 5
	ggufFloat32 = 6
	ggufBool    = 7
	ggufString  = 8
	ggufArray   = 9

	ggmlF32 = 0
	ggmlF16 = 1
)

// ggufFile is a GGUF file that is being put together. What goes in first comes
// out first, so that the same input gives the same bytes.
type ggufFile struct {
	pairs   []byte
	n       uint64
	tensors []ggufTensor
}

type ggufTensor struct {
	name  string
	shape []int // outermost first; the file has them in the other order
	kind  uint32
	data  []byte
}

var le = binary.LittleEndian

func appendText(b []byte, s string) []byte {
	return append(le.AppendUint64(b, uint64(len(s))), s...)
}

// set adds a metadata value: a string, bool, uint32, float32, []string or []int32.
func (f *ggufFile) set(key string, value any) {
	b := appendText(f.pairs, key)
	kind := func(k uint32) { b = le.AppendUint32(b, k) }
	array := func(k uint32, n int) {
		kind(ggufArray)
		kind(k)
		b = le.AppendUint64(b, uint64(n))
	}
	switch v := value.(type) {
	case string:
		kind(ggufString)
		b = appendText(b, v)
	case bool:
		kind(ggufBool)
		b = append(b, map[bool]byte{true: 1}[v])
	case uint32:
		kind(ggufUint32)
		b = le.AppendUint32(b, v)
	case float32:
		kind(ggufFloat32)
		b = le.AppendUint32(b, math.Float32bits(v))
	case []string:
		array(ggufString, len(v))
		for _, s := range v {
			b = appendText(b, s)
		}
	case []int32:
		array(ggufInt32, len(v))
		for _, x := range v {
			b = le.AppendUint32(b, uint32(x))
		}
	default:
		panic(fmt.Sprintf("GGUF value of type %T", value))
	}
	f.pairs = b
	f.n++
}

// add adds a tensor, in 16-bit floats if half is set.
func (f *ggufFile) add(name string, shape []int, v []float32, half bool) {
	t := ggufTensor{name: name, shape: shape, kind: ggmlF32}
	if half {
		t.kind = ggmlF16
		t.data = make([]byte, 0, 2*len(v))
		for _, x := range v {
			t.data = le.AppendUint16(t.data, halfFloat(x))
		}
	} else {
		t.data = make([]byte, 0, 4*len(v))
		for _, x := range v {
			t.data = le.AppendUint32(t.data, math.Float32bits(x))
		}
	}
	f.tensors = append(f.tensors, t)
}

func aligned(n int) int { return (n + ggufAlignment - 1) / ggufAlignment * ggufAlignment }

// write writes the file.
func (f *ggufFile) write(w io.Writer) error {
	b := append([]byte("GGUF"), 0, 0, 0, 0)
	le.PutUint32(b[4:], ggufVersion)
	b = le.AppendUint64(b, uint64(len(f.tensors)))
	b = le.AppendUint64(b, f.n)
	b = append(b, f.pairs...)
	offset := 0
	for _, t := range f.tensors {
		b = appendText(b, t.name)
		b = le.AppendUint32(b, uint32(len(t.shape)))
		for _, d := range slices.Backward(t.shape) {
			b = le.AppendUint64(b, uint64(d))
		}
		b = le.AppendUint32(b, t.kind)
		b = le.AppendUint64(b, uint64(offset))
		offset += aligned(len(t.data))
	}
	b = append(b, make([]byte, aligned(len(b))-len(b))...)
	if _, err := w.Write(b); err != nil {
		return err
	}
	for _, t := range f.tensors {
		if _, err := w.Write(t.data); err != nil {
			return err
		}
		if _, err := w.Write(make([]byte, aligned(len(t.data))-len(t.data))); err != nil {
			return err
		}
	}
	return nil
}

// halfFloat is the IEEE 754 binary16 that is nearest to x, the even one of two.
func halfFloat(x float32) uint16 {
	bits := math.Float32bits(x)
	sign := uint16(bits >> 16 & 0x8000)
	magnitude := math.Abs(float64(x))
	switch {
	case magnitude != magnitude:
		return sign | 0x7e00
	case magnitude >= 65520: // halfway between the greatest and the next
		return sign | 0x7c00
	case magnitude < 0x1p-14:
		return sign | uint16(math.RoundToEven(magnitude*0x1p24)) // no leading 1; may round up to one
	}
	_, exponent := math.Frexp(magnitude) // magnitude = fraction * 2^exponent, fraction in [0.5, 1)
	fraction := uint32(math.RoundToEven(math.Ldexp(magnitude, 11-exponent)))
	// fraction is in [1024, 2048]; a carry goes into the exponent by itself
	return sign | uint16(uint32(exponent+13)<<10+fraction)
}
