package inference

import (
	"fmt"
	"math"
	"strings"
)

// Bounds of what a request may ask of LoRA adapters.
const (
	MaxAdapters     = 8  // adapters of one request
	MaxAdapterScale = 16 // greatest amount of a scale
)

// AdapterInfo is a LoRA adapter that is loaded beside a model.
type AdapterInfo struct {
	Name  string  // the name that requests use
	Path  string  // the GGUF file
	Scale float32 // where a request gives none
	Bytes int64   // of its weights in memory
}

// AdapterUse asks for an adapter by its name. The adapter's change of the weights
// is multiplied by Scale: 1 as it was trained, 0 not at all; nil: as configured.
type AdapterUse struct {
	Name  string
	Scale *float32 // -MaxAdapterScale..MaxAdapterScale
}

// AdapterScale is a resolved AdapterUse: the adapter's place in
// ModelInfo.Adapters, and its scale.
type AdapterScale struct {
	Adapter int
	Scale   float32
}

// CheckAdapterScale refuses a scale that is not a number of the range, as an
// *InvalidError of that field.
func CheckAdapterScale(field string, scale float32) error {
	if s := math.Abs(float64(scale)); math.IsNaN(s) || s > MaxAdapterScale {
		return Invalid(field, "must be between %d and %d, got %g", -MaxAdapterScale, MaxAdapterScale, scale)
	}
	return nil
}

// ResolveAdapters finds the adapters that uses names among those that there are.
// An adapter that is unknown or named twice, and a scale out of its range, is an
// *InvalidError of the field lora.
func ResolveAdapters(uses []AdapterUse, have []AdapterInfo) ([]AdapterScale, error) {
	if len(uses) > MaxAdapters {
		return nil, Invalid("lora", "may name at most %d adapters, got %d", MaxAdapters, len(uses))
	}
	var found []AdapterScale
	taken := make(map[int]int, len(uses))
	for i, u := range uses {
		at := fmt.Sprintf("lora[%d]", i)
		place := -1
		names := make([]string, len(have))
		for k := range have {
			names[k] = have[k].Name
			if have[k].Name == u.Name {
				place = k
			}
		}
		switch first, twice := taken[place]; {
		case len(have) == 0:
			return nil, Invalid(at+".name", "there is no adapter %q: this model is served without any; list them in its configuration, under lora", u.Name)
		case place < 0:
			return nil, Invalid(at+".name", "there is no adapter %q for this model; there is: %s", u.Name, strings.Join(names, ", "))
		case twice:
			return nil, Invalid(at+".name", "%q is named by lora[%d] already: name an adapter once", u.Name, first)
		}
		taken[place] = i
		s := AdapterScale{Adapter: place, Scale: have[place].Scale}
		if u.Scale != nil {
			s.Scale = *u.Scale
		}
		if err := CheckAdapterScale(at+".scale", s.Scale); err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	return found, nil
}
