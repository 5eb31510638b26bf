package inference

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestSamplingBounds(t *testing.T) {
	const vocabulary = 100
	for _, good := range []Sampling{DefaultSampling(), {TopP: 1, RepeatPenalty: 1}} {
		if err := good.Validate(vocabulary); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	// by the Go field: what the API calls it, the bounds, and what lies just outside
	type bounds struct {
		field  string
		lo, hi float32
	}
	const step = 0.001
	numbers := map[string]bounds{
		"Temperature": {"temperature", 0, 2}, "TopP": {"top_p", 0.0001, 1}, "MinP": {"min_p", 0, 1},
		"RepeatPenalty": {"repeat_penalty", 0.01, 10}, "PresencePenalty": {"presence_penalty", -2, 2}, "FrequencyPenalty": {"frequency_penalty", -2, 2},
		"TypicalP": {"typical_p", 0, 1}, "TopNSigma": {"top_n_sigma", 0, 100},
		"DryMultiplier": {"dry_multiplier", 0, 100}, "DryBase": {"dry_base", 1, 10},
		"XTCProbability": {"xtc_probability", 0, 1}, "XTCThreshold": {"xtc_threshold", 0, 1},
		"MirostatTau": {"mirostat_tau", 0, 100}, "MirostatEta": {"mirostat_eta", 0, 1},
		"DynatempRange": {"dynatemp_range", 0, 2}, "DynatempExponent": {"dynatemp_exponent", 0, 10},
	}
	integers := map[string]bounds{
		"TopK": {"top_k", 0, MaxTopK}, "RepeatLastN": {"repeat_last_n", 0, MaxRepeatLastN}, "Mirostat": {"mirostat", 0, 2},
		"DryAllowedLength": {"dry_allowed_length", 0, MaxRepeatLastN}, "DryLastN": {"dry_penalty_last_n", 0, MaxRepeatLastN},
	}
	try := func(name, field string, value any, ok bool) {
		t.Helper()
		s := DefaultSampling()
		v := reflect.ValueOf(&s).Elem().FieldByName(name)
		v.Set(reflect.ValueOf(value).Convert(v.Type()))
		err := s.Validate(vocabulary)
		var invalid *InvalidError
		switch {
		case ok && err != nil:
			t.Errorf("%s = %v: %v", field, value, err)
		case !ok && (!errors.As(err, &invalid) || invalid.Field != field):
			t.Errorf("%s = %v: %v", field, value, err)
		}
	}
	all := reflect.TypeFor[Sampling]()
	for i := range all.NumField() {
		name := all.Field(i).Name
		switch all.Field(i).Type.Kind() {
		case reflect.Float32:
			b, known := numbers[name]
			if !known {
				t.Errorf("%s has no bounds here", name)
				continue
			}
			try(name, b.field, b.lo, true)
			try(name, b.field, b.hi, true)
			for _, bad := range []float64{float64(b.lo) - step, float64(b.hi) + step, math.NaN(), math.Inf(1), math.Inf(-1)} {
				try(name, b.field, bad, false)
			}
		case reflect.Int:
			b, known := integers[name]
			if !known {
				t.Errorf("%s has no bounds here", name)
				continue
			}
			try(name, b.field, int(b.lo), true)
			try(name, b.field, int(b.hi), true)
			try(name, b.field, int(b.lo)-1, false)
			try(name, b.field, int(b.hi)+1, false)
		}
	}
	lists := map[string]struct {
		field       string
		most, bytes int
	}{
		"DryBreakers": {"dry_sequence_breakers", MaxDryBreakers, MaxBreakerBytes},
		"Banned":      {"banned_strings", MaxBanned, MaxBannedBytes},
	}
	for name, b := range lists {
		many := make([]string, b.most)
		for i := range many {
			many[i] = fmt.Sprint(i)
		}
		many[0] = strings.Repeat("x", b.bytes)
		try(name, b.field, many, true)
		try(name, b.field, append(many, "y"), false)
		try(name, b.field+"[1]", []string{"a", ""}, false)
		try(name, b.field+"[0]", []string{strings.Repeat("x", b.bytes+1)}, false)
	}
}

func TestLookBack(t *testing.T) {
	s := DefaultSampling()
	if n := s.LookBack(); n != 0 {
		t.Errorf("with nothing on: %d", n)
	}
	s.PresencePenalty, s.RepeatLastN, s.DryLastN = 1, 30, 90
	if n := s.LookBack(); n != 30 {
		t.Errorf("penalties: %d", n)
	}
	if s.DryMultiplier = 1; s.LookBack() != 90 {
		t.Errorf("penalties and DRY: %d", s.LookBack())
	}
}
