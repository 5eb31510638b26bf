package llama

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/internal/testkit"
)

// Two ggml-rpc-server processes on this machine's CPU stand in for GPUs: the
// devices that they add are of the kind "gpu". Devices stay for the life of a
// process, and a server that dies takes its client along, so the client is a
// child of the test too.

// rpcEnv tells a child its endpoints, separated by commas.
const rpcEnv = "HEARTH_TEST_RPC"

// rpcResult is what the child writes to its standard output.
type rpcResult struct {
	Devices []Device
	Runs    []rpcRun
}

type rpcRun struct {
	Name   string
	Info   inference.ModelInfo
	Traits inference.Traits
	Tokens []int32
	Err    string
}

func TestOffloadToRPCDevices(t *testing.T) {
	endpoints := []string{startRPCServer(t), startRPCServer(t)}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), rpcEnv+"="+strings.Join(endpoints, ","))
	var out, log bytes.Buffer
	child.Stdout, child.Stderr = &out, &log
	if err := child.Run(); err != nil {
		t.Fatalf("the child failed: %v\n%s", err, log.String())
	}
	var got rpcResult
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	gpus := 0
	for _, d := range got.Devices {
		if d.Kind == "gpu" && d.TotalBytes > 0 && d.FreeBytes > 0 {
			gpus++
		}
	}
	if gpus != 2 {
		t.Fatalf("the devices are %+v, want 2 of the kind gpu", got.Devices)
	}
	layers := map[string]int{"cpu": 0, "none": 0, "some": 10, "all": 31, "split": 31, "one device": 31, "cells on the host": 31, "auto": 31, "too many": 31}
	devices := map[string]int{"cpu": 1, "none": 1, "some": 3, "all": 2, "split": 2, "one device": 1, "cells on the host": 2, "auto": 2, "too many": 2}
	if len(got.Runs) != len(layers) {
		t.Errorf("%d runs, want %d", len(got.Runs), len(layers))
	}
	for _, run := range got.Runs {
		if run.Err != "" {
			t.Errorf("%s: %s", run.Name, run.Err)
			continue
		}
		if run.Info.GPULayers != layers[run.Name] || len(run.Info.Devices) != devices[run.Name] {
			t.Errorf("%s: %d layers on %v", run.Name, run.Info.GPULayers, run.Info.Devices)
		}
		if !run.Traits.Share || !run.Traits.TrimTail || run.Traits.Holders == 0 {
			t.Errorf("%s: the traits are %+v", run.Name, run.Traits)
		}
		if len(run.Tokens) < 8 || !slices.Equal(run.Tokens, got.Runs[0].Tokens) {
			t.Errorf("%s: the tokens are %v, on the CPU %v", run.Name, run.Tokens, got.Runs[0].Tokens)
		}
	}
}

// startRPCServer starts a server on a free port, ended with the test.
func startRPCServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := l.Addr().String()
	must(t, l.Close())
	_, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testkit.Yardstick(t, "ggml-rpc-server"), "-H", "127.0.0.1", "-p", port, "-t", "1")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		must(t, cmd.Process.Kill())
		<-ended
	})
	for {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("ggml-rpc-server ended: %v\n%s", err, log.String())
		default:
		}
		if conn, err := net.Dial("tcp", endpoint); err == nil {
			must(t, conn.Close())
			return endpoint
		}
	}
}

// rpcChild is the child's main function.
func rpcChild(endpoints string) int {
	result, err := rpcRuns(strings.Split(endpoints, ","))
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if live := LiveHandles(); err == nil && len(live) > 0 {
		err = fmt.Errorf("handles that were not closed: %v", live)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func rpcRuns(endpoints []string) (rpcResult, error) {
	var r rpcResult
	t := &testing.T{} // for testkit, which only looks at files
	if err := Init(testkit.LibDir(t), nil); err != nil {
		return r, err
	}
	for _, e := range endpoints {
		if err := errors.Join(AddRPC(e), AddRPC(e)); err != nil { // twice does no harm
			return r, err
		}
	}
	r.Devices = Devices()
	var gpu []string
	for _, d := range r.Devices {
		if d.Kind == "gpu" && !slices.Contains(gpu, d.Name) {
			gpu = append(gpu, d.Name)
		}
	}
	if len(gpu) != 2 {
		return r, fmt.Errorf("the devices are %+v", r.Devices)
	}
	small := ContextOptions{Cells: 256, Sequences: 2, Unified: true, Threads: 1, OffloadKQV: true}
	onHost := small
	onHost.OffloadKQV = false
	for _, run := range []struct {
		name string
		o    ModelOptions
		c    ContextOptions
	}{
		{"cpu", ModelOptions{Devices: []string{}}, small},
		{"none", ModelOptions{GPULayers: 0}, small},
		{"some", ModelOptions{GPULayers: 10}, small},
		{"all", ModelOptions{GPULayers: AllLayers}, small},
		{"too many", ModelOptions{GPULayers: 1000}, small},
		{"split", ModelOptions{GPULayers: AllLayers, TensorSplit: []float32{1, 3}}, small},
		{"one device", ModelOptions{GPULayers: AllLayers, Devices: gpu[1:]}, small},
		{"cells on the host", ModelOptions{GPULayers: AllLayers}, onHost},
		{"auto", ModelOptions{GPULayers: AutoLayers, Fit: &small}, small},
	} {
		one := rpcRun{Name: run.name}
		if err := one.run(testkit.Model(t), run.o, run.c); err != nil {
			one.Err = err.Error()
		}
		r.Runs = append(r.Runs, one)
	}
	return r, nil
}

func (r *rpcRun) run(path string, o ModelOptions, co ContextOptions) (err error) {
	o.Mmap = true
	m, err := Load(path, o, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	r.Info = m.Info()
	c, err := m.NewContext(co)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	r.Traits = c.Traits()
	spec := greedySpec()
	s, err := c.NewSampler(&spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	tokens, err := m.Tokenize("<|im_start|>user\nName three fruits.<|im_end|>\n<|im_start|>assistant\n", inference.TokenizeOptions{ParseSpecial: true})
	if err != nil {
		return err
	}
	var b inference.Batch
	for i, tok := range tokens {
		b.Add(tok, int32(i), 0, i == len(tokens)-1)
	}
	out := make([]inference.Sampled, 1)
	for pos := int32(len(tokens)); len(r.Tokens) < 24; pos++ {
		if err := c.Decode(&b); err != nil {
			return err
		}
		if err := c.Sample([]inference.SampleRow{{Index: b.Len() - 1, Sampler: s}}, out); err != nil {
			return err
		}
		if out[0].Err != nil {
			return out[0].Err
		}
		r.Tokens = append(r.Tokens, out[0].Token)
		if c.EndOfGeneration(out[0].Token) {
			break
		}
		b.Reset()
		b.Add(out[0].Token, pos, 0, true)
	}
	return nil
}

func TestAddRPCRefuses(t *testing.T) {
	initBackends(t)
	// servers of something else, and of another version of the protocol
	answer := func(bytes string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { must(t, l.Close()) })
		go func() {
			if conn, err := l.Accept(); err == nil {
				// what is left unread when a connection closes resets it
				_, readErr := io.ReadFull(conn, make([]byte, 33))
				_, err = conn.Write([]byte(bytes))
				must(t, errors.Join(readErr, err, conn.Close()))
			}
		}()
		return l.Addr().String()
	}
	for want, endpoint := range map[string]string{
		"does not answer as an RPC server": answer("SSH-2.0"),
		"RPC server of this version":       answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
		"version 1.0 of the protocol":      answer("\x1c\x00\x00\x00\x00\x00\x00\x00\x01" + strings.Repeat("\x00", 27)),
	} {
		if err := AddRPC(endpoint); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	must(t, l.Close())
	for _, endpoint := range []string{"", "nowhere", "127.0.0.1", "127.0.0.1:50052\x00", gone} {
		if err := AddRPC(endpoint); err == nil {
			t.Errorf("%q was added", endpoint)
		}
	}
}
