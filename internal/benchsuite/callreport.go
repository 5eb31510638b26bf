package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// callRow is the line of the report about so many clients.
type callRow struct {
	Clients int `json:"clients"`
	// By system: times of calls in microseconds, and calls a second.
	P50  map[string]spread `json:"p50_us"`
	P99  map[string]spread `json:"p99_us"`
	Rate map[string]spread `json:"calls_per_second"`
	// Of the same round: Hearth's figures over mcp-go's.
	P50Ratio  spread `json:"p50_ratio"`
	P99Ratio  spread `json:"p99_ratio"`
	RateRatio spread `json:"rate_ratio"`
	// In fdatasyncs of the same round: what durable records add to the median call of
	// the same Hearth, and by how much that call exceeds what Hearth's may take without.
	Added  spread `json:"durable_adds_fdatasyncs"`
	Beyond spread `json:"durable_beyond_ratio_fdatasyncs"`
	// How many fdatasyncs there were for each call: one serves all who wait.
	Syncs spread `json:"fdatasyncs_per_call"`
	// Latency and Durable are what came of the goals.
	Latency verdict `json:"latency_goal"`
	Durable verdict `json:"durable_goal"`
}

// callReport is what report.json holds of calls.
type callReport struct {
	callFigures
	Rows []callRow `json:"rows"`
}

// report computes the rows.
func (f *callFigures) report() *callReport {
	r := &callReport{callFigures: *f}
	var order []int
	by := map[int]map[string]map[string]byRound{} // clients, figure, system
	for i := range f.Runs {
		run := &f.Runs[i]
		if by[run.Clients] == nil {
			order = append(order, run.Clients)
			by[run.Clients] = map[string]map[string]byRound{"p50": {}, "p99": {}, "rate": {}, "syncs": {}}
		}
		figures := by[run.Clients]
		put(figures["p50"], run.System, run.Round, run.Result.P50)
		put(figures["p99"], run.System, run.Round, run.Result.P99)
		put(figures["rate"], run.System, run.Round, float64(run.Result.Calls)/run.Result.Seconds)
		put(figures["syncs"], run.System, run.Round, run.Syncs/float64(run.Result.Calls))
	}
	for _, n := range order {
		figures := by[n]
		row := callRow{Clients: n, P50: map[string]spread{}, P99: map[string]spread{}, Rate: map[string]spread{}}
		for _, system := range []string{hearth, durable, bare} {
			row.P50[system], row.P99[system], row.Rate[system] = figures["p50"][system].spread(), figures["p99"][system].spread(), figures["rate"][system].spread()
		}
		over := func(figure string) spread { return figures[figure][hearth].over(figures[figure][bare]).spread() }
		row.P50Ratio, row.P99Ratio, row.RateRatio = over("p50"), over("p99"), over("rate")
		added, beyond := byRound{}, byRound{}
		for round, sync := range f.Sync {
			added[round] = (figures["p50"][durable][round] - figures["p50"][hearth][round]) / sync
			beyond[round] = (figures["p50"][durable][round] - mostCallRatio*figures["p50"][bare][round]) / sync
		}
		row.Added, row.Beyond, row.Syncs = added.spread(), beyond.spread(), figures["syncs"][durable].spread()
		row.Latency = judge(goal{Metric: "p50", Against: bare, Bound: mostCallRatio}, figures["p50"])
		row.Durable = judge(goal{Metric: "fdatasyncs", Of: durable, Bound: mostSyncs}, map[string]byRound{durable: beyond})
		r.Rows = append(r.Rows, row)
	}
	return r
}

// table writes the rows, with cells divided by sep and lines begun and ended by edge.
func (r *callReport) table(w io.Writer, edge, sep, rule string) {
	line := func(cells ...string) { fmt.Fprintf(w, "%s%s%s\n", edge, strings.Join(cells, sep), edge) }
	line("clients", "figure", "Hearth", "mcp-go", "ratio", "Hearth, durable records", "goals")
	if rule != "" {
		fmt.Fprintln(w, strings.Repeat(rule, 7)+strings.TrimSpace(edge))
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		line(fmt.Sprint(row.Clients), "call p50, µs", figures(row.P50[hearth]), figures(row.P50[bare]), times(row.P50Ratio), figures(row.P50[durable]), row.Latency.text())
		line("", "call p99, µs", figures(row.P99[hearth]), figures(row.P99[bare]), times(row.P99Ratio), figures(row.P99[durable]), "")
		line("", "calls/s", figures(row.Rate[hearth]), figures(row.Rate[bare]), times(row.RateRatio), figures(row.Rate[durable]), "")
		line("", fmt.Sprintf("p50 beyond %.1f of mcp-go's, fdatasyncs", mostCallRatio), "", "", "", figures(row.Beyond), row.Durable.text())
		line("", "p50 that durable records add, fdatasyncs", "", "", "", figures(row.Added), "")
		line("", "fdatasyncs for each call", "", "", "", figures(row.Syncs), "")
	}
}

// writeCalls writes the section of report.md.
func writeCalls(b *strings.Builder, r *callReport) {
	if r == nil {
		return
	}
	fmt.Fprintf(b, "\n## Calls of tools\n\nCalls of `%s` over streamable HTTP (%s, a session and a connection for each client), each client calling as\n"+
		"soon as it has its answer, %.3g s each; a bare server of mcp-go has the same tool and gives the same result of %s,\n"+
		"which was compared byte by byte. All systems were up all the time and took turns. One fdatasync after a record of 400 bytes\n"+
		"took %s µs in the same folder.\n\n",
		r.Tool, callProtocol, r.Window, count(r.Answer, "byte"), figures(spreadOf(r.Sync)))
	r.table(b, "| ", " | ", "|---")
	most, steal := 0.0, 0.0
	for i := range r.Runs {
		most, steal = max(most, r.Runs[i].Noise.Others), max(steal, r.Runs[i].Noise.Steal)
	}
	fmt.Fprintf(b, "\nOthers used at most %.2f CPUs during a run, the idle systems among them, and the host of a virtual machine took %.2f.\n\n", most, steal)
	for _, name := range []string{hearth, durable, bare} {
		fmt.Fprintf(b, "- %s: `%s`\n", name, shorten(r.Commands[name]))
	}
}

// writeCallsTerminal prints the rows for a person at a terminal.
func writeCallsTerminal(w io.Writer, r *callReport) error {
	if r == nil {
		return nil
	}
	fmt.Fprintf(w, "\ncalls of %s; one fdatasync takes %s µs\n", r.Tool, figures(spreadOf(r.Sync)))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	r.table(t, "", "\t", "")
	return t.Flush()
}
