package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"hearth/inference/llama"
	"hearth/internal/config"
)

// Placement is where and with what memory a model is computed.
type Placement struct {
	// Context is the cells of the KV cache: tokens of all requests together.
	Context int `yaml:"context"`
	// Batch and MicroBatch are the most tokens of one decode call and of one
	// computation in it.
	Batch      int `yaml:"batch"`
	MicroBatch int `yaml:"micro_batch"`
	// Threads compute on the CPU; 0: one for each core that this process may use.
	Threads     int       `yaml:"threads"`
	GPULayers   Layers    `yaml:"gpu_layers"`
	Device      []string  `yaml:"device"`
	TensorSplit []float32 `yaml:"tensor_split"`
	SplitMode   string    `yaml:"split_mode"`
	KVType      string    `yaml:"kv_type"`
	// KVLayout is "unified" (all sequences share the cells, prefixes are shared
	// at no cost), "split" (each sequence has its part) or "auto" (unified, and a
	// stream for each sequence while that is quicker for those who are served).
	KVLayout       string `yaml:"kv_layout"`
	FlashAttention string `yaml:"flash_attention"`
	// SWAFull keeps all cells also for layers that see a sliding window, which
	// sharing prefixes needs.
	SWAFull bool `yaml:"swa_full"`
	Mmap    bool `yaml:"mmap"`
	Mlock   bool `yaml:"mlock"`
}

func defaultPlacement() Placement {
	return Placement{
		Context: 8192, Batch: 2048, MicroBatch: 512,
		GPULayers: llama.AutoLayers, SplitMode: "layer",
		KVType: "f16", KVLayout: "auto", FlashAttention: "auto", SWAFull: true, Mmap: true,
	}
}

// layers is GPULayers for the fence: where the shares of the devices are given
// there is nothing left to fit, so auto means all.
func (p *Placement) layers() int {
	if p.GPULayers == llama.AutoLayers && len(p.TensorSplit) > 0 {
		return llama.AllLayers
	}
	return int(p.GPULayers)
}

// devices are those that may be used; nil, also for an empty list: any.
func (p *Placement) devices() []string {
	if len(p.Device) == 0 {
		return nil
	}
	return p.Device
}

var splitModes = map[string]llama.SplitMode{"layer": llama.SplitLayer, "none": llama.SplitNone, "row": llama.SplitRow}

func (p *Placement) check() error {
	for _, f := range []struct {
		field     string
		v, lo, hi int
	}{
		{"context", p.Context, 256, 1 << 24},
		{"batch", p.Batch, 32, 1 << 16},
		{"micro_batch", p.MicroBatch, 32, p.Batch},
		{"threads", p.Threads, 0, 512},
	} {
		if f.v < f.lo || f.v > f.hi {
			return config.Invalid(f.field, "must be between %d and %d, got %d", f.lo, f.hi, f.v)
		}
	}
	if p.GPULayers < llama.AutoLayers {
		return config.Invalid("gpu_layers", "must be auto, all, or a number from 0, got %d", p.GPULayers)
	}
	for _, f := range []struct {
		field, v string
		options  []string
	}{
		{"split_mode", p.SplitMode, []string{"layer", "row", "none"}},
		{"kv_type", p.KVType, []string{"f16", "q8_0", "q4_0"}},
		{"kv_layout", p.KVLayout, []string{"auto", "unified", "split"}},
		{"flash_attention", p.FlashAttention, []string{"auto", "on", "off"}},
	} {
		if !slices.Contains(f.options, f.v) {
			return config.Invalid(f.field, "%q is unknown: use one of %s", f.v, strings.Join(f.options, ", "))
		}
	}
	if p.KVType != "f16" && p.FlashAttention == "off" {
		return config.Invalid("kv_type", "%s needs flash attention, which flash_attention: off forbids", p.KVType)
	}
	for i, share := range p.TensorSplit {
		if share < 0 || math.IsNaN(float64(share)) || math.IsInf(float64(share), 0) {
			return config.Invalid(fmt.Sprintf("tensor_split[%d]", i), "must be a share of 0 or more, got %v", share)
		}
	}
	return nil
}

// Layers is how many layers lie on GPUs: a number, "all", or "auto" for as many
// as fit. It is a value of the configuration and of a flag.
type Layers int

// String writes it as it is read.
func (l Layers) String() string {
	switch l {
	case llama.AutoLayers:
		return "auto"
	case llama.AllLayers:
		return "all"
	}
	return strconv.Itoa(int(l))
}

// Set reads it from a flag.
func (l *Layers) Set(s string) error {
	switch s {
	case "auto":
		*l = llama.AutoLayers
		return nil
	case "all":
		*l = llama.AllLayers
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 1<<16 {
		return fmt.Errorf("%q is no number of layers: use auto, all, or a number from 0", s)
	}
	*l = Layers(n)
	return nil
}

// Type names the kind of value in help.
func (l *Layers) Type() string { return "N|auto|all" }

// UnmarshalYAML reads it from the configuration. The error knows its place.
func (l *Layers) UnmarshalYAML(n ast.Node) error {
	tok := n.GetToken()
	if err := l.Set(tok.Value); err != nil {
		return &yaml.SyntaxError{Message: err.Error(), Token: tok}
	}
	return nil
}

// MarshalYAML writes it as it is read.
func (l Layers) MarshalYAML() ([]byte, error) { return []byte(l.String()), nil }
