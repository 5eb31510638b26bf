package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// writeMarkdown writes report.md.
func writeMarkdown(w io.Writer, r *report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Hearth and llama-server, compared\n\n")
	if r.Settings.Quick {
		b.WriteString("**A quick run, which shows only that the comparison works: its figures mean nothing.**\n\n")
	}
	if len(r.Plan) == 0 { // calls of tools alone
		writeCalls(&b, r.Calls)
		b.WriteString("\n## How it was measured\n\n")
		writeMachine(&b, r)
		_, err := io.WriteString(w, b.String())
		return err
	}
	b.WriteString("![Hearth against llama-server, by round](report.svg)\n\n")
	writeTable(&b, r)
	b.WriteString("\nFigures are medians over the rounds with least–most in brackets. A ratio is Hearth over llama-server in the\n" +
		"same round; ↑ marks figures where more is better, ↓ where less is. Ratios count: absolute figures differ from\n" +
		"machine to machine. llama-batched-bench is of the same build, at the same lengths, with nothing shared but what the\n" +
		"scenario shares and no server around it: its ITL is the mean step over the depths that the answers pass.\n")
	writeTalks(&b, r)
	writeCalls(&b, r.Calls)
	b.WriteString("\n## How it was measured\n\n")
	writeFacts(&b, r)
	b.WriteString("\n## The commands\n\n")
	writeCommands(&b, r)
	if len(r.Notes) > 0 {
		b.WriteString("\n## Was it a fair comparison?\n\n")
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeTable(b *strings.Builder, r *report) {
	b.WriteString("| scenario | figure | Hearth | llama-server | ratio | tuned | ratio to tuned | others (ratio) | goals |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	last := ""
	for i := range r.Rows {
		row := &r.Rows[i]
		title := row.Title
		if title == last {
			title = ""
		}
		last = row.Title
		var others, goals []string
		for _, system := range row.Others {
			others = append(others, fmt.Sprintf("%s: %s (%s)", system, figures(row.Figures[system]), times(row.Ratios[system])))
		}
		for k := range row.Goals {
			goals = append(goals, row.Goals[k].text())
		}
		fmt.Fprintf(b, "| %s | %s, %s %s | %s | %s | %s | %s | %s | %s | %s |\n", title, row.Metric, row.Unit, arrow(row.More),
			figures(row.Figures[hearth]), figures(row.Figures[plain]), bold(times(row.Ratios[plain]), len(row.Goals) > 0),
			figures(row.Figures[tuned]), times(row.Ratios[tuned]), strings.Join(others, "<br>"), strings.Join(goals, "<br>"))
	}
}

// writeTalks shows, turn by turn, what was computed of the prompts.
func writeTalks(b *strings.Builder, r *report) {
	if len(r.Talks) == 0 {
		return
	}
	b.WriteString("\n## Conversations, turn by turn\n\n" +
		"Prompt tokens of all requests of a turn: those that are new since the turn before (its answer and what was said\n" +
		"then), those that the server took from a cache, and those that it computed although the turn before had them.\n\n" +
		"| scenario | system | turn | prompt tokens | new | cached | old, computed again |\n|---|---|---|---|---|---|---|\n")
	for _, t := range r.Talks {
		for n, turn := range t.Turns {
			fmt.Fprintf(b, "| %s | %s | %d | %d | %d | %d | %d |\n", t.Entry, t.System, n+1, turn.PromptTokens, turn.NewTokens, turn.CachedTokens, turn.Recomputed)
		}
	}
}

func arrow(more bool) string {
	if more {
		return "↑"
	}
	return "↓"
}

func bold(s string, yes bool) string {
	if yes {
		return "**" + s + "**"
	}
	return s
}

// text says whether the goal was reached, and in how many rounds.
func (v *verdict) text() string {
	sign := "≤"
	if v.More {
		sign = "≥"
	}
	word := "✗ FALLS SHORT of"
	if v.Reached {
		word = "✓ reached"
	}
	what := ""
	if v.Of != "" {
		what = " by " + v.Of
	}
	if v.Against != "" {
		what += " of " + v.Against
	}
	if len(v.Value.Values) == 0 {
		return fmt.Sprintf("%s %s %.3g%s (nothing measured)", word, sign, v.Bound, what)
	}
	return fmt.Sprintf("%s %s %.3g%s: %s (%d of %s)", word, sign, v.Bound, what, ratio(v.Value.Median), v.Rounds, count(len(v.Value.Values), "round"))
}

// figures prints a spread with as many digits as it carries.
func figures(s spread) string {
	if len(s.Values) == 0 {
		return "–"
	}
	return fmt.Sprintf("%s [%s–%s]", number(s.Median), number(s.Min), number(s.Max))
}

// count names a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func times(s spread) string {
	if len(s.Values) == 0 {
		return "–"
	}
	return fmt.Sprintf("%s× [%s–%s]", ratio(s.Median), ratio(s.Min), ratio(s.Max))
}

func ratio(v float64) string {
	if v < 0.1 {
		return fmt.Sprintf("%.3f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// writeMachine says where, and what, was measured.
func writeMachine(b *strings.Builder, r *report) {
	m := r.Machine
	kind := ""
	if m.Virtual {
		kind = ", virtual machine"
	}
	governor := ""
	if m.Governor != "" {
		governor = ", governor " + m.Governor
	}
	fmt.Fprintf(b, "- Machine: %s, %d CPUs%s%s, %.1f GB memory, %s, Linux %s; load averages %s at the start.\n",
		m.CPU, m.CPUs, kind, governor, float64(m.MemoryKB)/1e6, m.System, m.Kernel, m.Load)
	fmt.Fprintf(b, "- Hearth: %s, commit %s, %s. llama.cpp: %s.\n", m.HearthText, m.Commit, m.Go, m.LlamaCPP)
}

func writeFacts(b *strings.Builder, r *report) {
	writeMachine(b, r)
	fmt.Fprintf(b, "- Model %s; %d threads, %d cells of context in all, %d sequences, for every system.\n",
		filepath.Base(r.Settings.Model), r.Settings.Threads, r.Settings.Context, r.Settings.Sequences)
	fmt.Fprintf(b, "- %s from seed %d, %s to %s (%s). Every run on a freshly started process, after its first token and a warm-up\n"+
		"  of %d short requests; the systems in turn, the next round in the opposite order; greedy sampling; the load\n"+
		"  generator one thread, pinned to the last CPU.\n",
		count(r.Settings.Rounds, "round"), r.Settings.Seed, r.Begin.Format(time.DateTime), r.End.Format(time.DateTime), r.End.Sub(r.Begin).Round(time.Second), r.Settings.Sequences)
	for i := range r.Plan {
		writeEntry(b, &r.Plan[i], r.Settings)
	}
	b.WriteString("- Cold start is the median over the scenarios of a round; peak memory (VmHWM) has a scenario of its own.\n")
	b.WriteString("- Every sample is in `raw.jsonl`, one run a line.\n")
}

func writeEntry(b *strings.Builder, e *entry, set settings) {
	var groups []string
	for _, g := range e.Scenario.Groups {
		requests := count(g.Requests, "request") + " each"
		if g.Requests == 0 {
			requests = "one request after another until the others are done"
		}
		text := fmt.Sprintf("%s, %s, prompts of %d words, %d tokens out", count(g.Clients, "client"), requests, g.PromptWords, g.MaxTokens)
		if e.Scenario.Embeds() {
			text = fmt.Sprintf("%s, %s, %s of %d words, a half and a quarter of that in turn, on %s", count(g.Clients, "client"), requests,
				count(g.Texts, "text"), g.PromptWords, filepath.Base(set.Embedder))
		}
		if g.SharedSystemWords > 0 {
			text += fmt.Sprintf(", one system prompt of %d words", g.SharedSystemWords)
		}
		if g.Conversations > 0 {
			text += fmt.Sprintf(", the turns of %s each, %d new words a turn", count(g.Conversations, "conversation"), g.TurnWords)
		}
		if g.Tools > 0 {
			text += fmt.Sprintf(", %s offered", count(g.Tools, "tool"))
		}
		groups = append(groups, text)
	}
	more := ""
	if e.Sequences > set.Sequences || e.Context > set.Context {
		more = fmt.Sprintf("; %d sequences in %d cells", max(e.Sequences, set.Sequences), max(e.Context, set.Context))
	}
	fmt.Fprintf(b, "- `%s` (%s): %s%s.\n", e.Name, e.Title, strings.Join(groups, "; "), more)
}

func writeCommands(b *strings.Builder, r *report) {
	seen := map[string]bool{}
	for _, run := range r.Runs {
		if len(run.Command) == 0 {
			continue // it did not get that far
		}
		line := fmt.Sprintf("`%s`", shorten(run.Command))
		if run.Config != "" {
			line += fmt.Sprintf(" with `%s`", strings.TrimSpace(run.Config))
		}
		if run.System != hearth && run.System != plain {
			line = run.Entry + ": " + line
		}
		if !seen[run.System+line] {
			seen[run.System+line] = true
			fmt.Fprintf(b, "- %s: %s\n", run.System, line)
		}
	}
	for _, c := range r.Ceilings {
		line := shorten(c.Command)
		if !seen[c.Entry+line] {
			seen[c.Entry+line] = true
			fmt.Fprintf(b, "- %s, %s, round %d: `%s`\n", batchedBench, c.Entry, c.Round+1, line)
		}
	}
}

// shorten leaves out folders and the port, which differ from run to run.
func shorten(command []string) string {
	words := slices.Clone(command)
	for i, w := range words {
		switch {
		case filepath.IsAbs(w):
			words[i] = filepath.Base(w)
		case i > 0 && words[i-1] == "--port":
			words[i] = "PORT"
		case strings.HasPrefix(w, "127.0.0.1:"):
			words[i] = "127.0.0.1:PORT"
		}
	}
	return strings.Join(words, " ")
}
