package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets this test binary stand for the programs that a run starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == peerCommand {
		if err := choose(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestPeerOnStandardInput: each kind does what it is for.
func TestPeerOnStandardInput(t *testing.T) {
	const call = `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{"n":42},"_meta":{"progressToken":"t"}}}`
	for kind, want := range map[string]int{kindGood: 1, kindHang: 0, kindFlood: floodLines + 1, kindLie: 1} {
		t.Run(kind, func(t *testing.T) {
			in, say := io.Pipe()
			out, answers := io.Pipe()
			done := make(chan error, 1)
			go func() { done <- servePeer(t.Context(), kind, in, answers) }()
			lines := json.NewDecoder(out)
			ask := func(line string, n int) (last map[string]any) {
				fmt.Fprintln(say, line)
				for range n {
					last = nil
					if err := lines.Decode(&last); err != nil {
						t.Fatal(err)
					}
				}
				return last
			}
			if got := ask(`{"jsonrpc":"2.0","id":1,"method":"initialize"}`, 1); got["id"] != 1.0 || got["result"] == nil {
				t.Errorf("initialize: %v", got)
			}
			ask(`{"jsonrpc":"2.0","method":"notifications/initialized"}`, 0)
			if got := ask(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`, 1); !strings.Contains(fmt.Sprint(got), "name:echo") {
				t.Errorf("tools/list: %v", got)
			}
			got := ask(call, want)
			if right := strings.Contains(fmt.Sprint(got), "text:42"); right != (kind == kindGood || kind == kindFlood) {
				t.Errorf("the answer is %v", got)
			}
			say.Close()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPeersOverHTTP: the same over HTTP, where a crash cuts the connection.
func TestPeersOverHTTP(t *testing.T) {
	s := &upstreamSettings{}
	var err error
	if s.self, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	url, stop, err := s.startPeers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for kind, want := range map[string]string{kindGood: `"text":"42"`, kindCrash: "EOF", kindFlood: "\n\ndata: ", kindLie: `"id":`} {
		session := ""
		ask := func(body string) string {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/"+kind+"/1", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Mcp-Session-Id", session)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				return err.Error()
			}
			defer resp.Body.Close()
			if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
				session = id
			}
			text, err := io.ReadAll(resp.Body)
			return fmt.Sprint(string(text), err)
		}
		if got := ask(`{"jsonrpc":"2.0","id":1,"method":"tools/call"}`); !strings.Contains(got, "no such session") {
			t.Errorf("%s without a session: %s", kind, got)
		}
		ask(`{"jsonrpc":"2.0","id":1,"method":"initialize"}`)
		if got := ask(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"arguments":{"n":42},"_meta":{"progressToken":1}}}`); !strings.Contains(got, want) {
			t.Errorf("%s: %.200s", kind, got)
		}
	}
}

// TestConfigOfUpstreams: each bad kind is a program, and an address.
func TestConfigOfUpstreams(t *testing.T) {
	s := &upstreamSettings{self: "/soak", each: 25, timeout: 5 * time.Second}
	text := s.config("/state", "http://peers", "http://others")
	for _, kind := range append([]string{kindGood}, badKinds...) {
		at := map[bool]string{true: "http://peers", false: "http://others"}[kind == kindGood]
		if !strings.Contains(text, "args: [peer, "+kind+"]") || !strings.Contains(text, "url: "+at+"/"+kind+"/") {
			t.Errorf("%s is not both a program and an address:\n%s", kind, text)
		}
	}
	if n := strings.Count(text, "- name:"); n != 50 {
		t.Errorf("%d connectors, want 50", n)
	}
}

func TestPhases(t *testing.T) {
	p := &phases{begun: time.Unix(0, 0), warm: 60 * time.Second, window: 30 * time.Second, settle: 6 * time.Second}
	for second, want := range map[int64][2]bool{0: {true, false}, 59: {true, false}, 60: {false, false}, 66: {false, true}, 89: {false, true}, 90: {true, false}, 96: {true, true}, 120: {false, false}} {
		if bad, counts := p.at(time.Unix(second, 0)); bad != want[0] || counts != want[1] {
			t.Errorf("second %d: bad %v, counts %v", second, bad, counts)
		}
	}
}

// upstreamsOf is a record of two calm windows and two with bad ones.
func upstreamsOf(change func(i int, x *state)) *upstreamRecord {
	r := &upstreamRecord{Upstreams: 50, Window: 30, Bad: map[string]int{kindHang: 3}}
	for i := range 120 {
		x := state{Seconds: float64(i), Bad: i/30%2 == 1, Counts: i%30 >= 6, Memory: 200 << 20, CPU: float64(i) / 10, Goroutines: 400, Files: 200, Children: 25}
		change(i, &x)
		r.read(x)
		r.took(x.Bad, time.Millisecond)
	}
	return r
}

func TestReportOfUpstreams(t *testing.T) {
	bounds := upstreamBounds{Slower: 0.1, Growth: 0.05, More: 0.1}
	last := func(i int) bool { return i >= 60 && i < 90 }
	for name, c := range map[string]struct {
		change func(int, *state)
		also   func(*upstreamRecord)
		says   string
	}{
		"held":   {says: ""},
		"slower": {also: func(r *upstreamRecord) { r.Harmed = append(r.Harmed, 2000, 2000, 2000) }, says: "p99 of calls"},
		"wrong":  {also: func(r *upstreamRecord) { r.wronged("good01: no") }, says: "calls of good ones without"},
		"memory": {change: func(i int, x *state) {
			if last(i) {
				x.Memory = 220 << 20
			}
		}, says: "resident memory"},
		"goroutines": {change: func(i int, x *state) {
			if last(i) {
				x.Goroutines = 450
			}
		}, says: "goroutines"},
		"files": {change: func(i int, x *state) {
			if last(i) {
				x.Files = 300
			}
		}, says: "open files"},
		"children": {change: func(i int, x *state) {
			if last(i) {
				x.Children = 30
			}
		}, says: "child processes, last"},
		"left": {also: func(r *upstreamRecord) { r.Left = 1 }, says: "child processes left"},
		"while bad ones are called there may be more": {change: func(_ int, x *state) {
			if x.Bad {
				x.Goroutines, x.Memory = 4000, 400<<20
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.change == nil {
				c.change = func(int, *state) {}
			}
			r := upstreamsOf(c.change)
			if c.also != nil {
				c.also(r)
			}
			text, over := r.report(bounds)
			if (over == nil) != (c.says == "") || over != nil && !strings.HasPrefix(over.Error(), c.says) {
				t.Errorf("%v, want %q", over, c.says)
			}
			if strings.Contains(text, "exceeded") != (over != nil) || !strings.Contains(text, "0.10 CPUs while bad") {
				t.Errorf("report:\n%s", text)
			}
		})
	}
	if _, over := (&upstreamRecord{}).report(bounds); over == nil {
		t.Error("a run without calls was taken")
	}
}

func TestReadsAProcess(t *testing.T) {
	s := &upstreamSettings{}
	s.self, _ = os.Executable()
	_, stop, err := s.startPeers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	children := childrenOf(os.Getpid())
	if len(children) != 1 || alive(children) != 1 {
		t.Errorf("children %v, of which %d are alive", children, alive(children))
	}
	stop()
	if n := alive(children); n != 0 {
		t.Errorf("%d are alive when they have ended", n)
	}
	if _, err := readState(t.Context(), filepath.Join("/proc", "none"), ""); err == nil {
		t.Error("no error for no process")
	}
}

func TestFlagsOfUpstreams(t *testing.T) {
	for _, args := range [][]string{{}, {"-upstreams", "1", "model"}, {"-for", "1s", "model"}, {"-window", "1s", "model"}, {"-every", "0s", "model"}} {
		if err := runUpstreams(t.Context(), args, io.Discard, &bytes.Buffer{}); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
