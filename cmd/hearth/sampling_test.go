package main

import (
	"reflect"
	"testing"

	"github.com/spf13/cobra"

	"hearth/inference"
)

// described is a model of which only the description is asked for.
type described struct {
	inference.Generator
	defaults inference.Sampling
}

func (d described) Info() inference.ModelInfo { return inference.ModelInfo{Defaults: d.defaults} }

func TestSamplingFlags(t *testing.T) {
	defaults := inference.DefaultSampling()
	defaults.TopK, defaults.DryMultiplier = 7, 0.5
	sampled := func(args ...string) inference.Sampling {
		t.Helper()
		cmd := &cobra.Command{}
		f := addSamplingFlags(cmd)
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		return f.options(cmd, described{defaults: defaults}).Sampling
	}
	if got := sampled(); !reflect.DeepEqual(got, defaults) {
		t.Errorf("nothing given: %+v", got)
	}
	seed := uint32(3)
	want := defaults
	want.Temperature, want.TopP, want.MinP, want.TopK, want.RepeatPenalty, want.Seed = 0.5, 0.25, 0.125, 9, 1.5, &seed
	want.TypicalP, want.TopNSigma, want.DryMultiplier, want.XTCProbability, want.Mirostat, want.DynatempRange = 0.75, 2, 0, 0.25, 2, 0.5
	want.Banned = []string{"a,b", "c"}
	got := sampled("--temperature=0.5", "--top-p=0.25", "--min-p=0.125", "--top-k=9", "--repeat-penalty=1.5", "--seed=3", "--typical-p=0.75",
		"--top-n-sigma=2", "--dry-multiplier=0", "--xtc-probability=0.25", "--mirostat=2", "--dynatemp-range=0.5", "--ban=a,b", "--ban=c")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("all given: %+v\nwant %+v", got, want)
	}
}
