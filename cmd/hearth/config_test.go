package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hearth/inference/llama"
	"hearth/internal/config"
)

// writeConfig writes a configuration file into a folder of its own.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hearth.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDefaultFileIsTheDefaults reads the commented file back: it says exactly
// what holds without it.
func TestDefaultFileIsTheDefaults(t *testing.T) {
	var got Config // nothing filled in, so that a line that is missing is noticed
	if err := config.Decode("default", []byte(defaultConfigFile), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(defaultConfig(), got, cmpopts.EquateEmpty()); d != "" {
		t.Error("-code +file", d)
	}
	if err := got.check(); err != nil {
		t.Error(err)
	}
}

func TestLoadConfigErrors(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"unknown section", "modles: []\n", `:1:1: unknown field "modles"
>  1 | modles: []
       ^`},
		{"public address", "server:\n  listen:\n    - 0.0.0.0:8080\n", `:3:7: server.listen[0]: 0.0.0.0:8080 can be reached from other machines, and there is no authentication yet: listen on 127.0.0.1:8080, or keep that and put a reverse proxy that authenticates on the same host (its name then belongs into server.allowed_hosts)
   1 | server:
   2 |   listen:
>  3 |     - 0.0.0.0:8080
             ^`},
		{"engine", "engine:\n  sequences: 1000\n", `:2:14: engine.sequences: must be between 1 and 256 (0: the default), got 1000
   1 | engine:
>  2 |   sequences: 1000
                    ^`},
		{"prefix cache", "engine:\n  prefix_cache:\n    min_share: -1\n", `:3:16: engine.prefix_cache.min_share: must be between 1 and 65536 (0: the default), got -1
   1 | engine:
   2 |   prefix_cache:
>  3 |     min_share: -1
                      ^`},
		{"layers", "engine:\n  gpu_layers: some\n", `:2:15: "some" is no number of layers: use auto, all, or a number from 0
   1 | engine:
>  2 |   gpu_layers: some
                     ^`},
		{"cell type", "engine:\n  kv_type: q5\n", `:2:12: engine.kv_type: "q5" is unknown: use one of f16, q8_0, q4_0
   1 | engine:
>  2 |   kv_type: q5
                  ^`},
		{"weight", "engine:\n  weights: {ann: 2, bob: 0}\n", `:2:26: engine.weights.bob: must be between 0.01 and 100, got 0: a principal without an entry has 1
   1 | engine:
>  2 |   weights: {ann: 2, bob: 0}
                                ^`},
		{"RPC server", "engine:\n  rpc: [192.0.2.7]\n", `:2:9: engine.rpc[0]: "192.0.2.7" is no address: write host:port, such as 192.0.2.7:50052
   1 | engine:
>  2 |   rpc: [192.0.2.7]
               ^`},
		{"model without path", "models:\n  - id: a\n", `:2:7: models[0]: has no path: name its GGUF file
   1 | models:
>  2 |   - id: a
             ^`},
		{"equal ids", "models:\n  - path: x/a.Q4_0.gguf\n  - path: y/A.Q8_0.gguf\n", `:3:9: models[1]: has the same id "a" as models[0]: give one of them another id
   1 | models:
   2 |   - path: x/a.Q4_0.gguf
>  3 |   - path: y/A.Q8_0.gguf
               ^`},
		{"model's own context", "models:\n  - path: a.gguf\n    context: 5\n", `:3:14: models[0].context: must be between 256 and 16777216, got 5
   1 | models:
   2 |   - path: a.gguf
>  3 |     context: 5
                    ^`},
		{"log level", "telemetry: {log_level: loud}\n", `:1:24: telemetry.log_level: "loud" is no level: use debug, info, warn or error
>  1 | telemetry: {log_level: loud}
                              ^`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeConfig(t, c.yaml)
			_, _, err := loadConfig(path)
			var exit *exitError
			if !errors.As(err, &exit) || exit.code != exitConfig {
				t.Fatalf("got %v", err)
			}
			if d := cmp.Diff(c.want, strings.TrimPrefix(err.Error(), path)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestConfigLayers(t *testing.T) {
	path := writeConfig(t, `
engine: {gpu_layers: all, context: 4096, threads: 3}
models:
  - path: models/a.gguf
    chat_template: /etc/t.jinja
    gpu_layers: 7
    kv_type: q8_0
  - {id: second, path: /abs/b.gguf, context: 1024, device: [CUDA1], tensor_split: [1, 2]}
audit: {file: audit.log}
`)
	cfg, got, err := loadConfig(path)
	if err != nil || got != path {
		t.Fatal(got, err)
	}
	dir := filepath.Dir(path)
	if cfg.Models[0].Path != filepath.Join(dir, "models", "a.gguf") || cfg.Models[0].ChatTemplate != "/etc/t.jinja" || cfg.Audit.File != filepath.Join(dir, "audit.log") || cfg.Models[1].Path != "/abs/b.gguf" {
		t.Errorf("paths: %+v %+v", cfg.Models, cfg.Audit)
	}
	a, b := cfg.Models[0].placement(cfg.Engine.Placement), cfg.Models[1].placement(cfg.Engine.Placement)
	if a.GPULayers != 7 || a.Context != 4096 || a.KVType != "q8_0" || a.Threads != 3 {
		t.Errorf("a: %+v", a)
	}
	if b.GPULayers != llama.AllLayers || b.Context != 1024 || b.KVType != "f16" || b.Device[0] != "CUDA1" || b.TensorSplit[1] != 2 {
		t.Errorf("b: %+v", b)
	}
	options := a.context(4)
	if options.Cells != 4096 || options.Sequences != 4 || options.Threads != 3 || !options.Unified {
		t.Errorf("context: %+v", options)
	}
}

func TestNeedRestart(t *testing.T) {
	was := defaultConfig()
	next := defaultConfig()
	if got := needRestart(was, next); len(got) != 0 {
		t.Errorf("nothing changed, but %v", got)
	}
	next.Server.AllowedHosts = []string{"x"}
	next.Telemetry.LogLevel = "debug"
	next.Models = []ModelConfig{} // as empty as before
	if got := needRestart(was, next); len(got) != 0 {
		t.Errorf("only what is swapped changed, but %v", got)
	}
	next.Engine.Weights = map[string]float64{} // as empty as before
	if got := needRestart(was, next); len(got) != 0 {
		t.Errorf("only what is swapped changed, but %v", got)
	}
	next.Engine.Weights["ann"] = 2
	next.Engine.Threads = 9
	next.Engine.Prefix.Cells = 5
	next.Engine.Queue = 7
	next.Models = []ModelConfig{{Path: "x"}}
	want := []string{"models", "engine.threads", "engine.queue", "engine.prefix_cache.cells", "engine.weights"}
	if d := cmp.Diff(want, needRestart(was, next)); d != "" {
		t.Error(d)
	}
}

func TestPhysicalCores(t *testing.T) {
	dir := t.TempDir()
	for cpu, siblings := range map[string]string{"cpu0": "0,2\n", "cpu1": "1,3\n", "cpu2": "0,2\n", "cpu3": "1,3\n"} {
		d := filepath.Join(dir, cpu, "topology")
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "thread_siblings_list"), []byte(siblings), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := physicalCores(dir); n != 2 {
		t.Errorf("%d cores, want 2", n)
	}
	if n := physicalCores(t.TempDir()); n < 1 {
		t.Errorf("%d cores where nothing is listed", n)
	}
	if n := defaultThreads(); n < 1 {
		t.Errorf("%d threads", n)
	}
}

// TestPlacementForTheFence holds what an empty list means: any device, and no
// split. The default file writes both.
func TestPlacementForTheFence(t *testing.T) {
	for _, c := range []struct {
		name    string
		p       Placement
		layers  int
		devices []string
	}{
		{"nothing said", Placement{GPULayers: llama.AutoLayers}, llama.AutoLayers, nil},
		{"empty lists", Placement{GPULayers: llama.AutoLayers, Device: []string{}, TensorSplit: []float32{}}, llama.AutoLayers, nil},
		{"a split leaves nothing to fit", Placement{GPULayers: llama.AutoLayers, TensorSplit: []float32{3, 1}}, llama.AllLayers, nil},
		{"a number stays", Placement{GPULayers: 7, TensorSplit: []float32{3, 1}}, 7, nil},
		{"a device", Placement{GPULayers: 0, Device: []string{"CUDA1"}}, 0, []string{"CUDA1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.p.layers(); got != c.layers {
				t.Errorf("%d layers, want %d", got, c.layers)
			}
			if d := cmp.Diff(c.devices, c.p.devices()); d != "" {
				t.Error("devices -want +got", d)
			}
		})
	}
}
