package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"hearth/inference"
	"hearth/inference/llama"
	"hearth/internal/testkit"
	"hearth/models"
)

func TestAdapterFlags(t *testing.T) {
	for _, c := range []struct {
		text, name, path string
		scale            float32 // 0: none
		want             string  // in the error; empty: none
	}{
		{text: "poet=a/b.gguf", name: "poet", path: "a/b.gguf"},
		{text: "poet=a/b.gguf:0.5", name: "poet", path: "a/b.gguf", scale: 0.5},
		{text: "poet=c:/b.gguf", name: "poet", path: "c:/b.gguf"},
		{text: "poet", name: "poet"},
		{text: "poet:-2", name: "poet", scale: -2},
		{text: "poet=", want: "no file"},
		{text: "poet=:1", want: "no file"},
		{text: "=x", want: "no name"},
		{text: "a b=x", want: "no name"},
		{text: "poet:much", want: "no name"},
		{text: "poet:17", want: "between -16 and 16"},
		{text: "poet=x:NaN", want: "between -16 and 16"},
	} {
		f, err := parseAdapterFlag(c.text)
		switch {
		case c.want != "":
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", c.text, err)
			}
		case err != nil || f.name != c.name || f.path != c.path || (f.scale == nil) != (c.scale == 0) || f.scale != nil && *f.scale != c.scale:
			t.Errorf("%s: %+v, %v", c.text, f, err)
		}
	}
}

func TestAdapterFlagsOfCommands(t *testing.T) {
	file := testkit.ModelLoRA(1).Write(t, "poet")
	parse := func(asks bool, args ...string) *sourceFlags {
		cmd := &cobra.Command{}
		f := addSourceFlags(cmd)
		if asks {
			askWithLora(cmd, f)
		}
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		return f
	}
	one := func() *Config { return &Config{Models: []ModelConfig{{Path: "m.gguf"}}} }
	cfg := one()
	f := parse(true, "--lora", "poet="+file+":0.5", "--lora", "other:2")
	if err := f.applyLora(cfg); err != nil || len(cfg.Models[0].Lora) != 1 || cfg.Models[0].Lora[0].Path != file || cfg.Models[0].Lora[0].scale() != 0.5 {
		t.Errorf("%+v, %v", cfg.Models[0], err)
	}
	uses, err := f.uses()
	if err != nil || len(uses) != 2 || uses[0].Name != "poet" || uses[0].Scale != nil || uses[1].Name != "other" || *uses[1].Scale != 2 {
		t.Errorf("%+v, %v", uses, err)
	}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a server that loads it", f.leaveToServer(), "use one of them by --lora poet"},
		{"a name where nothing is asked", parse(false, "--lora", "poet").applyLora(one()), "--lora poet=FILE"},
		{"two models", f.applyLora(&Config{Models: make([]ModelConfig, 2)}), "--model"},
		{"no file", parse(true, "--lora", "poet=none.gguf").applyLora(one()), "none.gguf"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
}

func TestLoraConfig(t *testing.T) {
	for yaml, want := range map[string]string{
		"- name: a":                       "models[0].lora[0]: has no path",
		"- {name: a b, path: x}":          "models[0].lora[0].name: must have 1 to 64 letters",
		"- path: x":                       `models[0].lora[0].name: must have 1 to 64 letters, digits, dots, dashes or underscores and begin with a letter or digit, got ""`,
		"- {name: a, path: x, scale: 99}": "models[0].lora[0].scale: must be between -16 and 16, got 99",
		"- {name: a, path: x}\n      - {name: a, path: y}": `models[0].lora[1].name: is "a" like that of lora[0]`,
		"- {name: a, file: x}":                             `unknown field "file"`,
	} {
		_, _, err := loadConfig(writeConfig(t, "models:\n  - path: m.gguf\n    lora:\n      "+yaml+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", yaml, err, want)
		}
	}
	path := writeConfig(t, "models:\n  - path: m.gguf\n    lora: [{name: a, path: x.gguf}, {name: b, path: /y.gguf, scale: 0}]\n")
	cfg, _, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if l := cfg.Models[0].Lora; l[0].Path != filepath.Join(filepath.Dir(path), "x.gguf") || l[0].scale() != 1 || l[1].Path != "/y.gguf" || l[1].scale() != 0 {
		t.Errorf("%+v", l)
	}
}

// tryAdapter is the trial of one adapter of the small model.
func tryAdapter(t *testing.T, model, adapter string) error {
	t.Helper()
	req := &trialRequest{Path: model, Adapter: adapter, Placement: defaultPlacement(), Memory: trialMemory}
	return runTrial(t.Context(), "/proc/self/exe", req, time.Minute, func(float32) {})
}

func TestTrialOfAdapters(t *testing.T) {
	t.Setenv("HEARTH_LIB_DIR", nativeLibraries(t))
	model, small := ownModel(t), testkit.Model(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if err := initNative(zerolog.Nop(), nil); err != nil {
		t.Fatal(err)
	}
	good := testkit.ModelLoRA(1).Write(t, "good")
	if err := tryAdapter(t, model, good); err != nil {
		t.Fatal(err)
	}
	other := testkit.ModelLoRA(1)
	other.Weights[0].In = 512
	if err := tryAdapter(t, model, other.Write(t, "wide")); err == nil || !strings.Contains(err.Error(), "do not fit") || !strings.Contains(err.Error(), "wide.gguf") {
		t.Errorf("an adapter of another shape: %v", err)
	}

	// A server remembers what passed: the model, and each adapter with it.
	cfg := defaultConfig()
	cfg.Engine.Threads, cfg.Engine.Context, cfg.Engine.Sequences = 1, 512, 2
	var log strings.Builder
	l := &loader{cfg: &cfg, log: zerolog.New(&log)}
	m := &ModelConfig{Path: model, Lora: []AdapterConfig{{Name: "good", Path: good}}}
	for _, trials := range []int{2, 0} {
		log.Reset()
		loaded, err := l.load(t.Context(), m, func(float32) {})
		if err != nil {
			t.Fatal(err)
		}
		if a := loaded.Info().Adapters; len(a) != 1 || a[0].Name != "good" || a[0].Scale != 1 || a[0].Bytes == 0 {
			t.Errorf("the model's adapters are %+v", a)
		}
		if n := strings.Count(log.String(), "tried in a process of its own"); n != trials {
			t.Errorf("%d trials, want %d: %s", n, trials, log.String())
		}
		if err := loaded.Close(); err != nil {
			t.Error(err)
		}
		if live := llama.LiveHandles(); len(live) != 0 {
			t.Errorf("left open: %v", live)
		}
	}

	m.Lora[0].Path = small
	if _, err := l.load(t.Context(), m, func(float32) {}); !errors.Is(err, models.ErrAdapter) {
		t.Errorf("a model as an adapter: %v", err)
	}
}

// ownModel is the small model under a name of its own.
func ownModel(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.gguf")
	if err := os.Symlink(testkit.Model(t), path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAdaptersTravelToAServer(t *testing.T) {
	m := &remoteModel{}
	half := float32(0.5)
	b := m.options(&inference.Options{Adapters: []inference.AdapterUse{{Name: "poet", Scale: &half}, {Name: "terse"}}})
	lora, _ := b["lora"].([]map[string]any)
	if len(lora) != 2 || lora[0]["name"] != "poet" || lora[0]["scale"] != half || lora[1]["name"] != "terse" || len(lora[1]) != 1 {
		t.Errorf("%v", b["lora"])
	}
	if _, has := m.options(&inference.Options{})["lora"]; has {
		t.Error("an empty list is sent")
	}
}
