package main

import (
	"fmt"
	"io"
	"net"
	"strings"
)

// printHints says in a few lines what can be tried now. Every line works as it
// stands: a test runs them.
func printHints(w io.Writer, cfg *Config, listeners []net.Listener) {
	curl, base := curlBase(listeners)
	if base == "" {
		return
	}
	id := cfg.Models[0].id()
	fmt.Fprintf(w, "Hearth %s serves %s on %s\n\n", version, strings.Join(modelIDs(cfg), ", "), strings.Join(addresses(listeners), ", "))
	fmt.Fprintf(w, "Chat:     %s %s/v1/chat/completions -H 'Content-Type: application/json' -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Name three rivers.\"}]}'\n", curl, base)
	if cfg.MCP.Enabled {
		fmt.Fprintf(w, "MCP call: %s\n", mcpCurl(curl, base))
		fmt.Fprintf(w, "MCP URL:  %s/mcp, for a client's configuration: {\"mcpServers\":{\"hearth\":{\"type\":\"http\",\"url\":\"%s/mcp\"}}}\n", base, base)
	}
	fmt.Fprintf(w, "Metrics:  %s/metrics\n", base)
	fmt.Fprintf(w, "Python:   OpenAI(base_url=\"%s/v1\", api_key=\"none\"), model \"%s\"\n\n", base, id)
}

// mcpCurl is a command line that calls the tool chat of the MCP server. Without
// a protocol version a call needs no session and no headers of its own.
func mcpCurl(curl, base string) string {
	return curl + " " + base + "/mcp -H 'Content-Type: application/json'" +
		" -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"chat\",\"arguments\":{\"prompt\":\"Name three rivers.\"}}}'"
}

func modelIDs(cfg *Config) []string {
	var ids []string
	for i := range cfg.Models {
		ids = append(ids, cfg.Models[i].id())
	}
	return ids
}

func addresses(listeners []net.Listener) []string {
	var all []string
	for _, l := range listeners {
		if l.Addr().Network() == "unix" {
			all = append(all, "unix:"+l.Addr().String())
			continue
		}
		all = append(all, "http://"+l.Addr().String())
	}
	return all
}

// curlBase returns the curl command and the base URL for the first address, a
// TCP one if there is any.
func curlBase(listeners []net.Listener) (curl, base string) {
	for _, l := range listeners {
		if l.Addr().Network() == "tcp" {
			return "curl -s", "http://" + l.Addr().String()
		}
	}
	if len(listeners) > 0 {
		return "curl -s --unix-socket " + listeners[0].Addr().String(), "http://localhost"
	}
	return "", ""
}
