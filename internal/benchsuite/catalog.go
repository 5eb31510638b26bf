package main

import "hearth/internal/loadgen"

// Names of variants and phases.
const (
	lookupOff      = "hearth, prompt lookup off"
	forcedOff      = "hearth, forced text off"
	forcedAppended = "hearth, forced text appended"
	onDisk         = "hearth, prefixes on disk"
	alone          = "alone"
	again          = "again"
)

// guessNothing is a Hearth that computes each token by itself.
var guessNothing = variant{lookupOff, "engine: {prompt_lookup: {off: true}}"}

// Hearths that draw each token of what a grammar leaves no choice about, and that
// draw none of it.
var (
	drawForced   = variant{forcedOff, `engine: {forced_text: {mode: "off"}}`}
	appendForced = variant{forcedAppended, "engine: {forced_text: {mode: append}}"}
	keepOnDisk   = variant{onDisk, "engine: {prefix_cache: {disk: 1GiB, dir: DATA/prefixes}}"}
)

// noRAMCache keeps llama-server from copying what its slots held into RAM.
var noRAMCache = []string{"--cache-ram", "0"}

// hearthsRAM bounds what llama-server keeps of prefixes in RAM as Hearth does
// by default (engine.prefix_cache.ram), in MiB.
var hearthsRAM = []string{"--cache-ram", "512"}

// catalog lists what is compared. The bounds of goals against llama-batched-bench
// and against variants are on the same round's figures, as all others are.
func catalog() []entry {
	only := func(name string) loadgen.Scenario { return loadgen.Scenario{Name: name} }
	return []entry{
		{
			Scenario: only("single"), Tuned: noRAMCache, Variants: []variant{guessNothing}, Ceiling: true, Seconds: 10,
			Shown: []metric{throughput, ttft50, itl50, itl99},
			Goals: []goal{
				{Metric: throughput.name, Against: plain, Bound: 1, More: true},
				{Metric: throughput.name, Against: tuned, Bound: 1, More: true},
				{Metric: throughput.name, Against: lookupOff, Bound: 0.98, More: true},
				{Metric: itl50.name, Against: batchedBench, Bound: 1.03},
			},
		},
		{
			Scenario: only("parallel"), Tuned: noRAMCache, Variants: []variant{guessNothing}, Ceiling: true, Seconds: 12,
			Shown: []metric{throughput, ttft50, ttft99, itl50, itl99},
			Goals: []goal{
				{Metric: throughput.name, Against: plain, Bound: 1, More: true},
				{Metric: throughput.name, Against: tuned, Bound: 1, More: true},
				{Metric: throughput.name, Against: lookupOff, Bound: 0.98, More: true},
				{Metric: throughput.name, Against: batchedBench, Bound: 0.95, More: true},
			},
		},
		{
			Scenario: only("parallel-32"), Sequences: 32, Tuned: noRAMCache, Ceiling: true, Seconds: 20,
			Shown: []metric{throughput, ttft50, ttft99, itl50, itl99},
			Goals: []goal{{Metric: throughput.name, Against: plain, Bound: 1.1, More: true}},
		},
		{
			Scenario: only("shared-prefix"), Tuned: noRAMCache, Ceiling: true, Seconds: 30,
			Shown: []metric{throughput, ttft50, ttft99, itl50, itl99, computed},
			Goals: sharing,
		},
		{
			Scenario: only("shared-prefix-32"), Sequences: 32, Context: 40960, Tuned: noRAMCache, Ceiling: true, Seconds: 90,
			Shown: []metric{throughput, ttft50, ttft99, itl50, itl99, computed},
			Goals: sharing,
		},
		{
			Scenario: only("mixed"), Tuned: []string{"--cache-ram", "0", "-b", "128", "-ub", "128"}, Seconds: 50,
			Phases: []phase{{Name: alone, Scenario: loadgen.Scenario{Name: "mixed-alone", Groups: []loadgen.Group{
				{Name: "prompts", Clients: 1, Requests: 4, Instruction: "Write a long story in which these appear:", PromptWords: 1200, MaxTokens: 1},
			}}}},
			Shown: []metric{itl99, itlMax, itl50, throughput, totalTime, ttft50, ttft99, turnWait},
			Goals: []goal{
				{Metric: itl99.name, Against: plain, Bound: 1.0 / 30},
				{Metric: itl99.name, Against: tuned, Bound: 0.5},
				{Metric: totalTime.name, Against: plain, Bound: 1.1},
				{Metric: turnWait.name, Bound: 2},
			},
		},
		{
			Scenario: only("json-keys"), Tuned: noRAMCache, Seconds: 35,
			Variants: []variant{drawForced, appendForced}, SameText: forcedOff,
			Shown: []metric{throughput, documents, totalTime, ttft50, itl50, itl99},
			Goals: []goal{
				{Metric: throughput.name, Against: plain, Bound: 1.3, More: true},
				{Metric: documents.name, Of: forcedAppended, Against: plain, Bound: 2, More: true},
			},
		},
		{
			Scenario: only("json-text"), Tuned: noRAMCache, Seconds: 14,
			Shown: []metric{throughput, ttft50, ttft99, itl50, itl99},
			Goals: []goal{{Metric: throughput.name, Against: plain, Bound: 1, More: true}},
		},
		{
			Scenario: only("tools"), ToolTemplate: true, Tuned: noRAMCache, Seconds: 55,
			Shown: []metric{throughput, documents, totalTime, ttft50, ttft99, itl50, itl99, computed},
			Goals: []goal{{Metric: throughput.name, Against: plain, Bound: 1.3, More: true}},
		},
		{
			Scenario: only("agents"), ToolTemplate: true, Context: 32768, Tuned: noRAMCache, Seconds: 75,
			Shown: []metric{throughput, totalTime, ttft50, ttft99, itl50, itl99, computed, recomputed},
			Goals: []goal{
				{Metric: throughput.name, Against: plain, Bound: 1.2, More: true},
				{Metric: throughput.name, Against: tuned, Bound: 1, More: true},
				{Metric: recomputed.name, Bound: 0},
			},
		},
		{
			Scenario: only("conversations"), Tuned: []string{"--slot-prompt-similarity", "0.5"}, Seconds: 55,
			Shown: []metric{throughput, totalTime, ttft50, ttft99, itl50, itl99, computed, recomputed},
			Goals: []goal{
				{Metric: throughput.name, Against: plain, Bound: 1, More: true},
				{Metric: throughput.name, Against: tuned, Bound: 1, More: true},
			},
		},
		{
			Scenario: only("conversations-shared"), Tuned: []string{"--slot-prompt-similarity", "0.9"}, Seconds: 90,
			Shown: []metric{throughput, totalTime, ttft50, ttft99, itl50, itl99, computed, recomputed},
			Goals: []goal{
				{Metric: throughput.name, Against: plain, Bound: 1.5, More: true},
				{Metric: throughput.name, Against: tuned, Bound: 1.5, More: true},
			},
		},
		{
			Name: "restart", Title: "a system prompt of 900 words again, after a restart", Scenario: only("long-prompt"), Untuned: true, Variants: []variant{keepOnDisk}, Seconds: 15,
			Phases: []phase{{Name: again, Restart: true, Scenario: loadgen.Scenario{Name: "long-prompt", Groups: []loadgen.Group{
				// The group's name makes the system prompt the same; the question is another.
				{Name: "clients", Clients: 1, Requests: 1, Instruction: "Answer in one sentence what these have in common:", PromptWords: 20, SharedSystemWords: 900, MaxTokens: 16},
			}}}},
			Shown: []metric{warmTTFT, coldTTFT, warmOfCold},
			Goals: []goal{{Metric: warmOfCold.name, Of: onDisk, Bound: 0.1}},
		},
		{
			Name: "memory", Title: "memory with 16 conversations, prefixes in RAM bounded alike", Scenario: only("conversations"), Equal: hearthsRAM, Seconds: 55,
			Shown: []metric{peakMemory},
			Goals: []goal{
				{Metric: peakMemory.name, Against: plain, Bound: 0.5},
				{Metric: peakMemory.name, Against: tuned, Bound: 1.1},
			},
		},
		{
			Scenario: only("embed"), Tuned: smallBatch, Seconds: 8,
			Shown: []metric{embedded, answer50, answer99},
			Goals: []goal{{Metric: embedded.name, Against: plain, Bound: 1, More: true}},
		},
		{
			Scenario: only("embed-lists"), Tuned: smallBatch, Seconds: 8,
			Shown: []metric{embedded, answer50, answer99},
			Goals: []goal{{Metric: embedded.name, Against: plain, Bound: 1, More: true}},
		},
	}
}

// sharing is what one system prompt that nobody has seen must bring.
var sharing = []goal{
	{Metric: throughput.name, Against: plain, Bound: 3, More: true},
	{Metric: ttft99.name, Against: plain, Bound: 0.2},
}

// smallBatch is llama-server's own batch size of embeddings.
var smallBatch = []string{"-b", "512", "-ub", "512"}

// startGoal is on the start of the process, over all entries.
var startGoal = goal{Metric: coldStart.name, Against: plain, Bound: 1}
