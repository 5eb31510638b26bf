package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// writeTerminal prints the table for a person at a terminal.
func writeTerminal(w io.Writer, r *report) error {
	if len(r.Rows) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "scenario\tfigure\tHearth\tllama-server\tratio\ttuned\tratio\tgoal")
	last := ""
	for i := range r.Rows {
		row := &r.Rows[i]
		name := row.Entry
		if name == "" {
			name = row.Title
		}
		if name == last {
			name = ""
		} else {
			last = name
		}
		fmt.Fprintf(t, "%s\t%s, %s %s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, row.Metric, row.Unit, arrow(row.More),
			figures(row.Figures[hearth]), median(row.Figures[plain]), times(row.Ratios[plain]), median(row.Figures[tuned]), times(row.Ratios[tuned]), firstVerdict(row))
		for _, other := range row.Others {
			fmt.Fprintf(t, "\t  %s\t%s\t\t%s\t\t\t\n", other, figures(row.Figures[other]), times(row.Ratios[other]))
		}
		for k := range row.Goals {
			if k > 0 {
				fmt.Fprintf(t, "\t\t\t\t\t\t\t%s\n", row.Goals[k].text())
			}
		}
	}
	return t.Flush()
}

func firstVerdict(r *row) string {
	if len(r.Goals) == 0 {
		return ""
	}
	return r.Goals[0].text()
}

// median prints the median alone.
func median(s spread) string {
	if len(s.Values) == 0 {
		return "–"
	}
	return number(s.Median)
}
