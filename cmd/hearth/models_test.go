package main

import (
	"strings"
	"testing"
)

func TestListSaysWhyPrefixesAreNotShared(t *testing.T) {
	var out strings.Builder
	rows := []modelRow{{ID: "tiny", State: "ready", WhyNotShared: "the model has a recurrent state"}, {ID: "plain", State: "ready"}}
	if err := printModels(&out, rows); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "tiny: prefixes are not shared: the model has a recurrent state\n") || strings.Contains(got, "plain: prefixes") {
		t.Error(got)
	}
}
