package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// maxSafetensorsHeader is what the format itself allows, in bytes.
const maxSafetensorsHeader = 100 << 20

// errSafetensors marks a file that breaks the rules of the format.
var errSafetensors = errors.New("not a usable safetensors file")

// weights is a safetensors file in memory: a header in JSON that names type,
// shape and place of each tensor, and then the tensors.
type weights struct {
	entries map[string]struct {
		Type  string   `json:"dtype"`
		Shape []int    `json:"shape"`
		Place [2]int64 `json:"data_offsets"`
	}
	data []byte
}

// readWeights reads a whole file.
func readWeights(r io.Reader) (*weights, error) {
	var length uint64
	if err := binary.Read(r, binary.LittleEndian, &length); err != nil {
		return nil, fmt.Errorf("%w: %w", errSafetensors, err)
	}
	if length > maxSafetensorsHeader {
		return nil, fmt.Errorf("%w: its header has %d bytes", errSafetensors, length)
	}
	header := make([]byte, length)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, fmt.Errorf("%w: %w", errSafetensors, err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(header, &all); err != nil {
		return nil, fmt.Errorf("%w: %w", errSafetensors, err)
	}
	delete(all, "__metadata__") // of another form
	rest, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	w := &weights{}
	if err := json.Unmarshal(rest, &w.entries); err != nil {
		return nil, fmt.Errorf("%w: %w", errSafetensors, err)
	}
	if w.data, err = io.ReadAll(r); err != nil {
		return nil, fmt.Errorf("%w: %w", errSafetensors, err)
	}
	return w, nil
}

// floats returns a tensor of 32-bit floats and its shape.
func (w *weights) floats(name string) ([]float32, []int, error) {
	e, ok := w.entries[name]
	if !ok {
		return nil, nil, fmt.Errorf("%w: it has no tensor %s", errSafetensors, name)
	}
	if e.Type != "F32" {
		return nil, nil, fmt.Errorf("%w: tensor %s is of type %s, F32 was expected", errSafetensors, name, e.Type)
	}
	n := int64(1)
	for _, d := range e.Shape {
		if d <= 0 || n > math.MaxInt32/int64(d) {
			return nil, nil, fmt.Errorf("%w: tensor %s has the shape %v", errSafetensors, name, e.Shape)
		}
		n *= int64(d)
	}
	if e.Place[0] < 0 || e.Place[1]-e.Place[0] != 4*n || e.Place[1] > int64(len(w.data)) {
		return nil, nil, fmt.Errorf("%w: tensor %s does not lie where its shape %v says", errSafetensors, name, e.Shape)
	}
	out := make([]float32, n)
	raw := w.data[e.Place[0]:e.Place[1]]
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out, e.Shape, nil
}
