// Command assistant answers from three MCP servers of other projects at once: one reads
// a folder, one remembers facts, one knows the time zones. What stands there was made
// for this run.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"

	"hearth/internal/example"
)

// programs say where the servers are.
type programs struct{ node, modules, python string }

func (p *programs) flags(set *flag.FlagSet) {
	set.StringVar(&p.node, "node", "", "Node.js (required)")
	set.StringVar(&p.modules, "modules", "", "node_modules with the servers filesystem and memory (required)")
	set.StringVar(&p.python, "python", "", "Python with the module mcp_server_time (required)")
}

func main() {
	var p programs
	example.Main("assistant", p.setup, p.flags)
}

const configuration = `agent: {rounds: 2}         # a small model that is asked again calls again
connectors:
  - name: files            # the official server filesystem, from npm
    mcp:
      command: %[1]s
      args: [%[2]s, %[3]s]
      state: %[4]s/files
      read_only: [read_text_file]
  - name: memory           # the official server memory, from npm
    mcp:
      command: %[1]s
      args: [%[5]s]
      env: {MEMORY_FILE_PATH: %[6]s}
      state: %[4]s/memory
      read_only: [search_nodes]
  - name: time             # the official server time, from PyPI
    mcp:
      command: %[7]s
      args: [-m, mcp_server_time, --local-timezone, Europe/Zurich]
      state: %[4]s/time
      read_only: [convert_time]
`

// values are those of one run.
type values struct{ room, extension, hour, minute int }

func newValues(r *rand.Rand) values {
	return values{100 + r.IntN(900), 1000 + r.IntN(9000), 1 + r.IntN(9), 10 + r.IntN(50)}
}

func (p *programs) setup(_ context.Context, s *example.Stage, r *rand.Rand) (*example.Scene, error) {
	for name, value := range map[string]string{"node": p.node, "modules": p.modules, "python": p.python} {
		if value == "" {
			return nil, fmt.Errorf("-%s is missing: make example-assistant says it", name)
		}
	}
	v := newValues(r)
	note, err := s.Write("notes/meeting.txt", fmt.Sprintf("The meeting is in room %d.\nBring the plans.\n", v.room))
	if err != nil {
		return nil, err
	}
	facts, err := s.Write("memory.jsonl", entity("Ada", "person", fmt.Sprintf("Ada's phone extension is %d", v.extension))+entity("Ben", "person", "Ben is on holiday"))
	if err != nil {
		return nil, err
	}
	server := func(name string) string {
		return quoted(filepath.Join(p.modules, "@modelcontextprotocol", "server-"+name, "dist", "index.js"))
	}
	return &example.Scene{
		Configuration: fmt.Sprintf(configuration, quoted(p.node), server("filesystem"), quoted(filepath.Dir(note)), filepath.Join(s.Dir, "state"),
			server("memory"), quoted(facts), quoted(p.python)),
		Instructions: "You are an assistant with tools. Use the right tool to find out. Answer in one short sentence.",
		Servers:      []string{"files", "memory", "time"},
		Questions: []example.Question{
			{Text: fmt.Sprintf("Read the file %s: in which room is the meeting?", note), Tools: tools, Answer: fmt.Sprint(v.room)},
			{Text: "Search the memory for Ada: what is her phone extension?", Tools: tools, Answer: fmt.Sprint(v.extension)},
			{Text: fmt.Sprintf("Convert the time %02d:%02d from Asia/Tokyo to Asia/Kolkata.", 9+v.hour, v.minute), Tools: tools, Answer: kolkata(9+v.hour, v.minute)},
		},
	}, nil
}

// tools are one of each server.
var tools = []string{"files__read_text_file", "memory__search_nodes", "time__convert_time"}

// kolkata is the time in India when it is that time in Japan, three and a half hours
// later there, without summer time in either.
func kolkata(hour, minute int) string {
	all := hour*60 + minute - 210
	return fmt.Sprintf("%02d:%02d", all/60, all%60)
}

// entity is a line of the memory server's file.
func entity(name, kind string, observations ...string) string {
	line, _ := json.Marshal(map[string]any{"type": "entity", "name": name, "entityType": kind, "observations": observations})
	return string(line) + "\n"
}

// quoted writes a text so that YAML reads it as it is.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
