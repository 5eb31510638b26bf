package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth/inference/llama"
)

func TestCheckRPC(t *testing.T) {
	var seventeen []string
	for i := range maxRPC + 1 {
		seventeen = append(seventeen, fmt.Sprintf("192.0.2.7:%d", 50000+i))
	}
	for _, c := range []struct {
		name      string
		addresses []string
		want      string // empty: accepted
	}{
		{"none", nil, ""},
		{"names and addresses", []string{"192.0.2.7:1", "gpu-box.example.org:65535", "192.0.2.7:2"}, ""},
		{"as many as possible", seventeen[1:], ""},
		{"too many", seventeen, "rpc: has 17 addresses, at most 16 are possible"},
		{"empty", []string{""}, `rpc[0]: "" is no address: write host:port`},
		{"no host", []string{"a:1", ":50052"}, `rpc[1]: ":50052" is no address: write host:port`},
		{"a space", []string{"a b:50052"}, `rpc[0]: "a b:50052" is no address`},
		{"a NUL", []string{"a\x00:50052"}, `rpc[0]: "a\x00:50052" is no address`},
		{"IPv6", []string{"[::1]:50052"}, "rpc[0]: [::1]:50052 is an IPv6 address, which the RPC backend cannot reach: write a name or an IPv4 address"},
		{"no port", []string{"a:"}, `rpc[0]: the port must be between 1 and 65535, got ""`},
		{"port 0", []string{"a:0"}, `rpc[0]: the port must be between 1 and 65535, got "0"`},
		{"port too large", []string{"a:65536"}, `rpc[0]: the port must be between 1 and 65535, got "65536"`},
		{"port by name", []string{"a:http"}, `rpc[0]: the port must be between 1 and 65535, got "http"`},
		{"twice", []string{"a:5", "b:5", "A:05"}, "rpc[2]: A:05 is rpc[0] already: name each server once"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := checkRPC(c.addresses)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestOffloadDevices(t *testing.T) {
	n, others := offloadDevices([]llama.Device{
		{Name: "CPU", Kind: "cpu"},
		{Name: "BLAS", Kind: "accel"},
		{Name: "CUDA0", Kind: "gpu", Description: "NVIDIA L4"},
		{Name: "CUDA1", Kind: "igpu"},
		{Name: "RPC0", Kind: "gpu", Description: "192.0.2.7:50052"},
	})
	if d := cmp.Diff([]string{"RPC0 (192.0.2.7:50052)"}, others); n != 2 || d != "" {
		t.Errorf("%d GPUs; others %s", n, d)
	}
}
