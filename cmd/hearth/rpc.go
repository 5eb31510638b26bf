package main

import (
	"fmt"
	"net"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"hearth/inference/llama"
	"hearth/internal/config"
)

// maxRPC bounds the ggml RPC servers of a process.
const maxRPC = 16

// checkRPC reports the first address of a ggml RPC server that cannot be used.
func checkRPC(addresses []string) error {
	if len(addresses) > maxRPC {
		return config.Invalid("rpc", "has %d addresses, at most %d are possible", len(addresses), maxRPC)
	}
	seen := map[string]int{}
	for i, address := range addresses {
		field := fmt.Sprintf("rpc[%d]", i)
		host, text, err := net.SplitHostPort(address)
		if err != nil || host == "" || strings.ContainsFunc(host, notInHost) {
			return config.Invalid(field, "%q is no address: write host:port, such as 192.0.2.7:50052", address)
		}
		if strings.Contains(host, ":") {
			return config.Invalid(field, "%s is an IPv6 address, which the RPC backend cannot reach: write a name or an IPv4 address", address)
		}
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return config.Invalid(field, "the port must be between 1 and 65535, got %q", text)
		}
		key := fmt.Sprintf("%s:%d", strings.ToLower(host), port)
		if first, twice := seen[key]; twice {
			return config.Invalid(field, "%s is rpc[%d] already: name each server once", address, first)
		}
		seen[key] = i
	}
	return nil
}

// notInHost reports what is in no host name and no address.
func notInHost(r rune) bool { return r <= ' ' || r == 0x7f }

// addRPC adds the devices of the servers, in their order: the devices are
// numbered in it.
func addRPC(addresses []string) error {
	if len(addresses) > 0 {
		// A server that goes away ends the process, but not without llama.cpp's
		// message: SIGPIPE would.
		signal.Ignore(syscall.SIGPIPE)
	}
	for _, address := range addresses {
		if err := llama.AddRPC(address); err != nil {
			return modelError(fmt.Errorf("%w (start ggml-rpc-server of the same llama.cpp there, or take the address out of engine.rpc or --rpc)", err))
		}
	}
	return nil
}
