package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// callsName is what -only says to have calls of tools measured.
const callsName = "calls"

// The systems that answer calls of tools.
const (
	durable = "hearth, durable records"
	bare    = "mcp-go"
)

// calledTool is the tool that is called: what costs least of those that Hearth has
// itself, so that what is measured is the way to a tool and back.
const calledTool = "list_models"

// callClients are how many call at the same time.
var callClients = []int{1, 32, 256}

// Bounds of calls: of Hearth's latency to mcp-go's, and of the fdatasyncs that a call
// with durable records may take beyond that.
const (
	mostCallRatio = 1.3
	mostSyncs     = 2
)

// callRun is one system with so many clients in one round.
type callRun struct {
	System  string     `json:"system"`
	Clients int        `json:"clients"`
	Round   int        `json:"round"`
	Result  callResult `json:"result"`
	// Syncs is how often the server waited for the disk, where it says.
	Syncs float64 `json:"syncs"`
	Noise noise   `json:"noise"`
}

// callFigures are the calls of a tool, measured.
type callFigures struct {
	Tool     string              `json:"tool"`
	Answer   int                 `json:"answer_bytes"` // of the result
	Window   float64             `json:"window_seconds"`
	Commands map[string][]string `json:"commands"`
	Runs     []callRun           `json:"runs"`
	// Sync are medians, by round, of one fdatasync of a file in the audit file's
	// folder to which a record was appended, as timed before each run that waits for some.
	Sync []float64 `json:"fdatasync_us"`
}

// callServers are the running systems, in the order of the first round.
type callServers struct {
	names   []string
	servers map[string]*server
}

func (c *callServers) stop() error {
	var err error
	for _, s := range c.servers {
		err = errors.Join(err, s.stop())
	}
	return err
}

// measureCalls measures calls of a tool. All systems run all the time, and take
// turns in being called; the next round takes them in the opposite order.
func (s *suite) measureCalls(ctx context.Context) (_ *callFigures, err error) {
	window, warm := 2*time.Second, 500*time.Millisecond
	clients := callClients
	if s.settings.Quick {
		window, warm, clients = 50*time.Millisecond, 10*time.Millisecond, []int{1, 4}
	}
	at, remove, err := s.place(callsName)
	if err != nil {
		return nil, err
	}
	defer remove()
	f := &callFigures{Tool: calledTool, Window: window.Seconds(), Commands: map[string][]string{}}
	running, err := s.startCalled(ctx, f, at)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, running.stop()) }()
	steps := s.settings.Rounds * len(clients) * len(running.names)
	for round := range s.settings.Rounds {
		var syncs []float64
		order := slices.Clone(running.names)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, n := range clients {
			for _, system := range order {
				fmt.Fprintf(s.status, "[%d/%d] round %d/%d  %s of %s, %s\n", len(f.Runs)+1, steps, round+1, s.settings.Rounds, count(n, "client"), calledTool, system)
				if system == durable { // disks are not always as fast
					times, err := timeSyncs(filepath.Join(at.data, "probe"))
					if err != nil {
						return nil, err
					}
					syncs = append(syncs, times...)
				}
				job := callJob{URL: running.servers[system].url, Tool: calledTool, Clients: n, Warm: warm, For: window}
				r, err := s.callOne(ctx, running.servers[system], job)
				if err != nil {
					return nil, fmt.Errorf("calls of %s by %s: %w", system, count(n, "client"), err)
				}
				r.System, r.Round = system, round
				f.Runs = append(f.Runs, *r)
			}
		}
		f.Sync = append(f.Sync, spreadOf(syncs).Median)
	}
	return f, f.equal()
}

// callOne lets clients call one server.
func (s *suite) callOne(ctx context.Context, called *server, j callJob) (*callRun, error) {
	r := &callRun{Clients: j.Clients}
	listen, err := watchNoise(called)
	if err != nil {
		return nil, err
	}
	before, err := syncs(ctx, called.url)
	if err != nil {
		return nil, err
	}
	generator, err := generate(ctx, s.self, callCommand, j, &r.Result, io.Discard)
	if err != nil {
		return nil, errors.Join(err, called.dead())
	}
	if r.Noise, err = listen(generator); err != nil {
		return nil, err
	}
	after, err := syncs(ctx, called.url)
	// Warming up is in what was counted and not in the calls: those are as many a
	// second then as later.
	r.Syncs = (after - before) * float64(j.For) / float64(j.For+j.Warm)
	return r, err
}

// equal says whether all systems gave the very same result.
func (f *callFigures) equal() error {
	first := &f.Runs[0]
	f.Answer = len(first.Result.Answer)
	for i := range f.Runs {
		if r := &f.Runs[i]; !bytes.Equal(r.Result.Answer, first.Result.Answer) {
			return fmt.Errorf("%s answers %.300s, and %s %.300s: what is compared is not the same", first.System, first.Result.Answer, r.System, r.Result.Answer)
		}
	}
	return nil
}

// startCalled starts Hearth, Hearth with durable records, and the bare server,
// which learns from the first what to answer.
func (s *suite) startCalled(ctx context.Context, f *callFigures, at *place) (_ *callServers, err error) {
	all := &callServers{names: []string{hearth, durable, bare}, servers: map[string]*server{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, all.stop())
		}
	}()
	for i, name := range all.names {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		var argv []string
		switch name {
		case bare:
			file := filepath.Join(at.dir, "tool.json")
			if err := copyTool(all.servers[hearth].url, file); err != nil {
				return nil, err
			}
			argv = []string{s.self, peerCommand, file, "127.0.0.1:" + strconv.Itoa(port)}
		default:
			own := &place{dir: filepath.Join(at.dir, strconv.Itoa(i)), data: at.data}
			if err := os.MkdirAll(own.dir, 0o755); err != nil {
				return nil, fmt.Errorf("make the run's folder: %w", err)
			}
			config := map[string]string{durable: "audit: {file: DATA/audit.jsonl, durable: true}"}[name]
			if argv, _, err = s.settings.hearthCommand(s.settings.Model, config, s.settings.Context, s.settings.Sequences, port, own); err != nil {
				return nil, err
			}
		}
		f.Commands[name] = argv
		started, err := startServer(argv, port, filepath.Join(s.dir, "logs", "calls-"+fileName(name)+".log"))
		if err != nil {
			return nil, err
		}
		all.servers[name] = started
		if err := awaitReady(ctx, started, name != bare); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// awaitReady waits until the server answers, and, where models is set, has loaded
// its model: what it says of it must not change while it is compared.
func awaitReady(ctx context.Context, s *server, models bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			resp.Body.Close()
			if !models || resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if dead := s.dead(); dead != nil {
			return dead
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("wait for %s: %w", s.url, err)
		}
	}
}

// copyTool writes what the bare server is to be: the definition of the tool at url,
// and what a call gives.
func copyTool(url, file string) error {
	c, err := dialMCP(url)
	if err != nil {
		return err
	}
	defer c.close()
	var list struct {
		Tools []json.RawMessage `json:"tools"`
	}
	if err := c.ask("tools/list", "{}", &list); err != nil {
		return err
	}
	var tool struct {
		Definition json.RawMessage `json:"definition"`
		Result     json.RawMessage `json:"result"`
	}
	for _, t := range list.Tools {
		var d struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(t, &d) == nil && d.Name == calledTool {
			tool.Definition = t
		}
	}
	if tool.Definition == nil {
		return fmt.Errorf("%s has no tool %s", url, calledTool)
	}
	if err := c.ask("tools/call", `{"name":"`+calledTool+`","arguments":{}}`, &tool.Result); err != nil {
		return err
	}
	raw, err := json.Marshal(&tool)
	if err != nil {
		return fmt.Errorf("encode the tool: %w", err)
	}
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		return fmt.Errorf("write the tool: %w", err)
	}
	return nil
}

// syncMetric counts how often a Hearth made its audit file durable.
const syncMetric = "hearth_audit_syncs_total"

// syncs reads that from /metrics; of a server that has none it is 0.
func syncs(ctx context.Context, url string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, fmt.Errorf("read the metrics of %s: %w", url, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, fmt.Errorf("read the metrics of %s: %w", url, err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, syncMetric+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, nil
}

// timeSyncs times a hundred times one fdatasync, in microseconds: each after as much
// was appended as a record takes.
func timeSyncs(file string) ([]float64, error) {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("time an fdatasync: %w", err)
	}
	defer f.Close()
	record := bytes.Repeat([]byte("x"), 400)
	var times []float64
	for range 100 {
		if _, err := f.Write(record); err != nil {
			return nil, fmt.Errorf("time an fdatasync: %w", err)
		}
		began := time.Now()
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return nil, fmt.Errorf("time an fdatasync: %w", err)
		}
		times = append(times, float64(time.Since(began).Nanoseconds())/1000)
	}
	return times, nil
}
