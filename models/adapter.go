package models

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// ErrAdapter: a GGUF file that is no LoRA adapter, or not one for this model.
var ErrAdapter = errors.New("not a usable LoRA adapter")

// The names that GGUF gives to what an adapter holds.
const (
	adapterTypeKey = "adapter.type"
	alphaKey       = "adapter.lora.alpha"
	invocationKey  = "adapter.alora.invocation_tokens"
	suffixA        = ".lora_a"
	suffixB        = ".lora_b"
	embeddings     = "token_embd.weight"
)

// adapterTypes are the tensor types that adapters are converted to.
var adapterTypes = []string{"F32", "F16", "BF16", "Q8_0"}

// Adapter is what a file with a LoRA adapter says of itself.
type Adapter struct {
	Alpha float32 // the change is multiplied by Alpha/rank; 0: by 1
	Rank  int64   // the greatest of its matrices
	Pairs int     // weights that it changes
	// Unused are tensors that llama.cpp reads over: vectors of norms.
	Unused []string
}

// CheckAdapter reads the adapter with the header a, and checks that it was made
// for the model whose files have the headers base: that each of its matrices
// changes one of the model's and has its shape. Most of what is refused here
// would end the process in llama.cpp. Errors wrap ErrAdapter.
func CheckAdapter(base []*Header, a *Header) (*Adapter, error) {
	f, err := checkAdapter(base, a)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAdapter, err)
	}
	return f, nil
}

func checkAdapter(base []*Header, a *Header) (*Adapter, error) {
	if len(base) == 0 {
		return nil, errors.New("there is no model to hold it against")
	}
	if err := a.checkAdapterKind(base[0]); err != nil {
		return nil, err
	}
	f := &Adapter{}
	if v, ok := a.Lookup(alphaKey); ok {
		alpha, number := v.Scalar.(float64)
		if v.Kind != KindFloat32 || !number || math.IsNaN(alpha) || math.IsInf(alpha, 0) {
			return nil, fmt.Errorf("%s is %v of the kind %v, it must be a finite float32", alphaKey, v.Scalar, v.Kind)
		}
		f.Alpha = float32(alpha)
	}
	weights := map[string]*Tensor{}
	for _, h := range base {
		for i := range h.Tensors {
			weights[h.Tensors[i].Name] = &h.Tensors[i]
		}
	}
	tensors := map[string]*Tensor{}
	for i := range a.Tensors {
		tensors[a.Tensors[i].Name] = &a.Tensors[i]
	}
	for i := range a.Tensors {
		t := &a.Tensors[i]
		name, isB := strings.CutSuffix(t.Name, suffixB)
		name, isA := strings.CutSuffix(name, suffixA)
		switch {
		case strings.HasSuffix(t.Name, "_norm.weight"):
			f.Unused = append(f.Unused, t.Name)
			continue
		case isA == isB || strings.Contains(name, suffixA) || strings.Contains(name, suffixB):
			return nil, fmt.Errorf("it holds a tensor %q, and those of an adapter are called WEIGHT%s and WEIGHT%s", t.Name, suffixA, suffixB)
		case tensors[name+suffixA] == nil || tensors[name+suffixB] == nil:
			return nil, fmt.Errorf("of the pair for %q one half is missing", name)
		case isB:
			continue // seen with the other half
		}
		rank, err := checkPair(weights, name, t, tensors[name+suffixB])
		if err != nil {
			return nil, fmt.Errorf("the pair for %q: %w", name, err)
		}
		f.Rank = max(f.Rank, rank)
		f.Pairs++
	}
	if f.Pairs == 0 {
		return nil, errors.New("it changes no weight: there is no pair of matrices in it")
	}
	return f, nil
}

// checkAdapterKind checks what the file says that it is.
func (h *Header) checkAdapterKind(base *Header) error {
	text := func(key string) (string, error) {
		v, ok := h.Lookup(key)
		if s, is := v.Scalar.(string); ok && is {
			return s, nil
		}
		if ok {
			return "", fmt.Errorf("%s is of the kind %v, it must be a string", key, v.Kind)
		}
		return "", nil
	}
	kind, err := text("general.type")
	if err != nil {
		return err
	}
	if kind != "adapter" {
		return fmt.Errorf("general.type is %q, that of an adapter is \"adapter\": convert it with convert_lora_to_gguf.py of llama.cpp", kind)
	}
	if kind, err = text(adapterTypeKey); err != nil {
		return err
	}
	if kind != "lora" {
		return fmt.Errorf("%s is %q, and only \"lora\" is served", adapterTypeKey, kind)
	}
	if _, ok := h.Lookup(invocationKey); ok {
		return errors.New("it is an activated LoRA (aLoRA), which changes the weights only behind its invocation tokens; that is not supported: train or convert it as a plain LoRA")
	}
	architecture, err := text("general.architecture")
	if err != nil {
		return err
	}
	if want := base.Text("general.architecture"); architecture != want {
		return fmt.Errorf("it was made for a model of the architecture %q, and this one is %q", architecture, want)
	}
	return nil
}

// checkPair checks the two matrices for the weight of that name, and returns
// their rank. A weight of several experts has a matrix of each for each.
func checkPair(weights map[string]*Tensor, name string, a, b *Tensor) (rank int64, err error) {
	w := weights[name]
	if w == nil {
		return 0, errors.New("the model has no such weight; the adapter was made for another one")
	}
	for _, t := range []*Tensor{a, b} {
		if !slices.Contains(adapterTypes, t.Type.String()) {
			return 0, fmt.Errorf("%s is of the type %v, adapters are of %s", t.Name, t.Type, strings.Join(adapterTypes, ", "))
		}
	}
	if w.Type.String() == "NVFP4" {
		return 0, errors.New("the weight is of the type NVFP4, which llama.cpp applies no adapter to")
	}
	dw, da, db := extent(w), extent(a), extent(b)
	if len(w.Dims) < 2 || dw[3] != 1 {
		return 0, fmt.Errorf("the weight is no matrix: it has the shape %v", w.Dims)
	}
	wrong := func() error {
		return fmt.Errorf("their shapes %v and %v do not fit the weight's %v; the adapter was made for another model", a.Dims, b.Dims, w.Dims)
	}
	if strings.HasSuffix(name, embeddings) {
		switch {
		case name != embeddings:
			return 0, errors.New("llama.cpp applies no adapter to these embeddings")
		case weights["output.weight"] == nil:
			return 0, errors.New("the model uses its embeddings for the output, too, which llama.cpp cannot adapt: leave them out of the adapter")
		case dw[2] != 1 || da != [4]int64{db[0], dw[1], 1, 1} || db != [4]int64{da[0], dw[0], 1, 1}:
			return 0, wrong() // here the halves lie the other way round
		}
		return db[0], nil
	}
	rank = da[1]
	if da != [4]int64{dw[0], rank, dw[2], 1} || db != [4]int64{rank, dw[1], dw[2], 1} {
		return 0, wrong()
	}
	return rank, nil
}

// extent is a tensor's shape with all four dimensions.
func extent(t *Tensor) [4]int64 {
	d := [4]int64{1, 1, 1, 1}
	copy(d[:], t.Dims)
	return d
}
