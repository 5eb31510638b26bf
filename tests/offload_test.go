package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hearth/internal/testkit"
)

// Two ggml-rpc-server processes on this machine's CPU stand in for GPUs: the
// built program offloads layers to them as its flags and its configuration say,
// and the text stays that of the CPU.

const (
	allLayers     = 31 // of the test model, the output among them
	exitModelCode = 4
)

func TestOffloadedTextIsTheCPUs(t *testing.T) {
	hideGPUs(t)
	cpu := startHearth(t, "--context", "256", "--sequences", "1")
	want := cpu.capital()
	cpu.stop()
	if len(want) < 10 {
		t.Fatalf("the CPU says %q only", want)
	}
	both := []string{"RPC0", "RPC1"}
	for _, c := range []struct {
		name   string
		flags  []string
		config string // ONE, TWO and MODEL stand for the addresses and the file
		// what the log has to say
		layers  int
		devices []string
		share   float64 // of the first server's cells in those of both; below 0: not looked at
	}{
		{"no layers", []string{"--gpu-layers", "0"}, "", 0, []string{"CPU"}, -1},
		{"some layers", []string{"--gpu-layers", "10"}, "", 10, []string{"RPC0", "RPC1", "CPU"}, -1},
		{"all layers", []string{"--gpu-layers", "all"}, "", allLayers, both, 0.5},
		{"as many as fit", []string{"--gpu-layers", "auto"}, "", allLayers, both, -1},
		{"nothing said", nil, "", allLayers, both, -1},
		{"first device", []string{"--gpu-layers", "all", "--device", "RPC0"}, "", allLayers, both[:1], 1},
		{"second device", []string{"--gpu-layers", "all", "--device", "RPC1"}, "", allLayers, both[1:], 0},
		{"shares", []string{"--tensor-split", "3,1"}, "", allLayers, both, 0.75},
		{"other shares", []string{"--gpu-layers", "all", "--tensor-split", "1,3"}, "", allLayers, both, 0.25},
		{"configured", nil, "engine: {gpu_layers: auto, rpc: ['ONE', 'TWO']}\n", allLayers, both, -1},
		{
			"configured for the model",
			[]string{"--model", "mine"},
			"engine: {rpc: ['ONE', 'TWO']}\nmodels: [{id: mine, path: 'MODEL', gpu_layers: 10, device: [RPC1]}]\n", 10,
			[]string{"RPC1", "CPU"},
			0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			one, _ := startRPCServer(t)
			two, _ := startRPCServer(t)
			// at the level debug llama.cpp's lines tell where the cells are
			args := []string{"--context", "256", "--sequences", "1", "--log-level", "debug"}
			if c.config == "" {
				args = append(args, "--rpc", one+","+two)
			} else {
				args = append(args, "--config", writeConfig(t, strings.NewReplacer("ONE", one, "TWO", two, "MODEL", testkit.Model(t)).Replace(c.config)))
			}
			hearth := startHearth(t, append(args, c.flags...)...)
			if devices := "serving on RPC0 (" + one + "), RPC1 (" + two + ") and the CPU (1 thread"; !strings.Contains(hearth.output.String(), devices) {
				t.Errorf("the log lacks %q\n%s", devices, hearth.output.tail())
			}
			if layers, devices := hearth.offloaded(); layers != c.layers || !slices.Equal(devices, c.devices) {
				t.Errorf("%d layers on %v, want %d on %v", layers, devices, c.layers, c.devices)
			}
			if c.share >= 0 {
				first, second := hearth.cells(one), hearth.cells(two)
				if share := first / (first + second); !(share > c.share-0.1 && share < c.share+0.1) {
					t.Errorf("the cells take %.2f and %.2f MiB there, want about %.2f of them on the first", first, second, c.share)
				}
			}
			if got := hearth.capital(); got != want {
				t.Errorf("the text is %q, that of the CPU %q", got, want)
			}
		})
	}
}

// TestOffloadThatCannotBe holds what a person sees who names a device or a
// server that there is not.
func TestOffloadThatCannotBe(t *testing.T) {
	hideGPUs(t)
	there, _ := startRPCServer(t)
	gone := freeAddress(t)
	for _, c := range []struct {
		name  string
		flags []string
		want  []string
	}{
		{"device", []string{"--rpc", there, "--device", "RPC7"}, []string{`no device "RPC7" here; there is: CPU, RPC0`}},
		{"nobody listens", []string{"--rpc", there + "," + gone}, []string{"add RPC server " + gone, "start ggml-rpc-server", "engine.rpc"}},
	} {
		for _, command := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"generate", "--max-tokens", "1", "x"}} {
			t.Run(c.name+"/"+command[0], func(t *testing.T) {
				args := append(slices.Clone(command), "--model", testkit.Model(t), "--threads", oneThread, "--context", "256")
				p := start(t, hearthBinary(t), append(args, c.flags...)...)
				var exit *exec.ExitError
				if err := p.end(); !errors.As(err, &exit) || exit.ExitCode() != exitModelCode {
					t.Errorf("it ended with %v, want the code %d\n%s", err, exitModelCode, p.output.tail())
				}
				for _, want := range c.want {
					if !strings.Contains(p.output.String(), want) {
						t.Errorf("it does not say %q\n%s", want, p.output.tail())
					}
				}
			})
		}
	}
}

// TestServerThatGoesAway holds that the end of an RPC server, which llama.cpp
// cannot survive, leaves a reason in the log.
func TestServerThatGoesAway(t *testing.T) {
	hideGPUs(t)
	address, server := startRPCServer(t)
	hearth := startHearth(t, "--context", "256", "--sequences", "1", "--rpc", address)
	if err := server.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = server.end() // killed
	res, err := client.Post(hearth.url+"/v1/completions", "application/json", strings.NewReader(`{"prompt":"a","max_tokens":3}`))
	if err == nil {
		res.Body.Close()
		t.Errorf("a request was answered with %s", res.Status)
	}
	if err := hearth.end(); err == nil || !strings.Contains(hearth.output.String(), "RPC server crashed") {
		t.Errorf("it ended with %v, want a failure that the log explains\n%s", err, hearth.output.tail())
	}
}

// hideGPUs keeps the CUDA backend of the servers from seeing any: they would
// take a part of the layers.
func hideGPUs(t *testing.T) { t.Setenv("CUDA_VISIBLE_DEVICES", "-1") }

// startRPCServer starts a server on a free port, ended with the test.
func startRPCServer(t *testing.T) (address string, p *process) {
	t.Helper()
	address = freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p = start(t, testkit.Yardstick(t, "ggml-rpc-server"), "-H", "127.0.0.1", "-p", port, "-t", oneThread)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it knows no other end
		_ = p.end()
	})
	p.eventually("it listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	return address, p
}

// freeAddress returns an address of the loopback on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// capital returns a greedy completion of a few tokens.
func (p *process) capital() string {
	p.t.Helper()
	var answer struct {
		Choices []struct {
			Text string `json:"text"`
		} `json:"choices"`
	}
	p.post("/v1/completions", map[string]any{"prompt": "The capital of France is", "max_tokens": 16, "temperature": 0}, &answer)
	if len(answer.Choices) != 1 {
		p.t.Fatalf("the answer is %+v", answer)
	}
	return answer.Choices[0].Text
}

// offloaded returns what the log says of the model that is ready.
func (p *process) offloaded() (layers int, devices []string) {
	p.t.Helper()
	for line := range bytes.Lines([]byte(p.output.String())) {
		var l struct {
			Message   string   `json:"message"`
			GPULayers int      `json:"gpu_layers"`
			Devices   []string `json:"devices"`
		}
		if json.Unmarshal(line, &l) == nil && l.Message == "the model is ready" {
			return l.GPULayers, l.Devices
		}
	}
	p.t.Fatalf("no model is ready\n%s", p.output.tail())
	return 0, nil
}

// cells returns the MiB of the KV cache on a server, as llama.cpp logs them. Each
// layer has as many.
func (p *process) cells(address string) float64 {
	p.t.Helper()
	lines := regexp.MustCompile(regexp.QuoteMeta("["+address+"] KV buffer size =")+` *([0-9.]+) MiB`).FindAllStringSubmatch(p.output.String(), -1)
	if len(lines) == 0 {
		return 0
	}
	mib, err := strconv.ParseFloat(lines[len(lines)-1][1], 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return mib
}
