package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// writeTerminal prints the table for a person at a terminal.
func writeTerminal(w io.Writer, r *report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "scenario\tfigure\tHearth\tllama-server\tratio\ttuned\tratio\tceiling\tgoal")
	last := ""
	for _, row := range r.Rows {
		name := row.Scenario
		if name == "" {
			name = row.Title
		}
		if name == last {
			name = ""
		} else {
			last = name
		}
		ceiling := ""
		if row.Ceiling != nil {
			ceiling = number(row.Ceiling.Median)
		}
		fmt.Fprintf(t, "%s\t%s, %s %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, row.Metric, row.Unit, arrow(row.More),
			figures(row.Hearth), figures(row.Plain), times(row.ToPlain), number(row.Tuned.Median), ratio(row.ToTuned.Median), ceiling, verdict(row))
	}
	return t.Flush()
}
