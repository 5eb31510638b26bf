package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"
)

func TestHalfFloat(t *testing.T) {
	for _, c := range []struct {
		x    float32
		want uint16
	}{
		{0, 0},
		{float32(math.Copysign(0, -1)), 0x8000},
		{1, 0x3c00},
		{-2, 0xc000},
		{0.5, 0x3800},
		{65504, 0x7bff},
		{65519, 0x7bff},
		{65520, 0x7c00},
		{-1e9, 0xfc00},
		{0x1p-14, 0x0400},
		{0x1p-24, 0x0001},
		{0x1p-25, 0x0000},
		{0x1.8p-25, 0x0001},
		{0x1.ffcp-15, 0x0400},
		{1 + 0x1p-11, 0x3c00},
		{1 + 0x3p-11, 0x3c02},
		{0x1.fffp0, 0x4000}, // to the even one, and with a carry
		{float32(math.Inf(1)), 0x7c00},
		{float32(math.NaN()), 0x7e00},
	} {
		if got := halfFloat(c.x); got != c.want {
			t.Errorf("%g becomes %#04x, want %#04x", c.x, got, c.want)
		}
	}
}

// safetensors makes a file of a header and data.
func safetensors(header string, data []byte) *bytes.Reader {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return bytes.NewReader(append(append(b, header...), data...))
}

func TestWeights(t *testing.T) {
	data := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, math.Float32bits(1.5)), math.Float32bits(-2))
	w, err := readWeights(safetensors(`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},
		"half":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"outside":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},
		"short":{"dtype":"F32","shape":[2],"data_offsets":[0,4]},"negative":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]},
		"huge":{"dtype":"F32","shape":[2147483647,2147483647],"data_offsets":[0,8]}}`, data))
	must(t, err)
	v, shape, err := w.floats("a")
	must(t, err)
	if len(v) != 2 || v[0] != 1.5 || v[1] != -2 || len(shape) != 2 || shape[1] != 2 {
		t.Errorf("%v of shape %v", v, shape)
	}
	for _, name := range []string{"half", "outside", "short", "negative", "huge", "none"} {
		if _, _, err := w.floats(name); !errors.Is(err, errSafetensors) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, r := range map[string]*bytes.Reader{
		"empty": bytes.NewReader(nil), "cut off": bytes.NewReader([]byte{9, 0, 0, 0, 0, 0, 0, 0, '{'}),
		"too long": bytes.NewReader(bytes.Repeat([]byte{0xff}, 8)), "no JSON": safetensors("{", nil),
	} {
		if _, err := readWeights(r); !errors.Is(err, errSafetensors) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
