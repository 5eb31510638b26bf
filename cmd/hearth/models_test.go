package main

import (
	"strings"
	"testing"
)

func TestListSaysWhyPrefixesAreNotShared(t *testing.T) {
	var out strings.Builder
	rows := []modelRow{
		{ID: "tiny", State: "ready", WhyNotShared: "the model has a recurrent state", WhyNotStored: "the model has a recurrent state"},
		{ID: "small", State: "ready", WhyNotStored: "there is no memory for it"},
		{ID: "plain", State: "ready"},
	}
	if err := printModels(&out, rows); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasSuffix(got, "recurrent state\nsmall: prefixes that leave the cache are not stored: there is no memory for it\n") {
		t.Error(got)
	}
	if got := out.String(); !strings.Contains(got, "tiny: prefixes are not shared: the model has a recurrent state\n") || strings.Contains(got, "plain: prefixes") {
		t.Error(got)
	}
}
