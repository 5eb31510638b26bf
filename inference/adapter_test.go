package inference

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestResolveAdapters(t *testing.T) {
	have := []AdapterInfo{{Name: "poet", Scale: 0.75}, {Name: "terse", Scale: 1}}
	scale := func(v float64) *float32 { f := float32(v); return &f }
	got, err := ResolveAdapters([]AdapterUse{{Name: "terse", Scale: scale(-0.5)}, {Name: "poet"}}, have)
	if want := []AdapterScale{{1, -0.5}, {0, 0.75}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := ResolveAdapters(nil, have); err != nil || len(got) != 0 {
		t.Errorf("none asked for: %v, %v", got, err)
	}
	for _, c := range []struct {
		uses        []AdapterUse
		have        []AdapterInfo
		field, want string
	}{
		{[]AdapterUse{{Name: "bard"}}, have, "lora[0].name", `no adapter "bard" for this model; there is: poet, terse`},
		{[]AdapterUse{{Name: "bard"}}, nil, "lora[0].name", "served without any"},
		{[]AdapterUse{{Name: "poet"}, {Name: "poet"}}, have, "lora[1].name", "named by lora[0] already"},
		{[]AdapterUse{{Name: "poet", Scale: scale(16.5)}}, have, "lora[0].scale", "between -16 and 16, got 16.5"},
		{[]AdapterUse{{Name: "poet", Scale: scale(math.NaN())}}, have, "lora[0].scale", "got NaN"},
		{make([]AdapterUse, MaxAdapters+1), have, "lora", "at most 8"},
	} {
		_, err := ResolveAdapters(c.uses, c.have)
		var inv *InvalidError
		if !errors.As(err, &inv) || inv.Field != c.field || !strings.Contains(inv.Reason, c.want) {
			t.Errorf("%v: %v, want %s: %s", c.uses, err, c.field, c.want)
		}
	}
}
