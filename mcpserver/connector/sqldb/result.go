package sqldb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"hearth/mcpserver/router"
)

// structured is a result as data. Its schema is rowsSchema.
type structured struct {
	Columns  []column            `json:"columns"`
	Rows     [][]json.RawMessage `json:"rows"`
	Count    int                 `json:"row_count"`
	Cut      bool                `json:"truncated"`
	Note     string              `json:"note,omitempty"`
	Affected *int64              `json:"affected_rows,omitempty"`
}

// result makes the two forms of a result: a text table and structured data.
func (r *rowset) result(remedy string) (*router.Result, error) {
	out := structured{Columns: r.columns, Rows: r.rows, Count: len(r.rows), Cut: r.cut(), Note: r.note(remedy)}
	if out.Columns == nil {
		out.Columns = []column{}
	}
	if out.Rows == nil {
		out.Rows = [][]json.RawMessage{}
	}
	if r.affected >= 0 {
		out.Affected = &r.affected
	}
	return both(r.table(remedy), out)
}

// both is a result as text and as data.
func both(text string, data any) (*router.Result, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil {
		return nil, fmt.Errorf("encode the result: %w", err)
	}
	res := router.Text(text)
	res.Structured = bytes.TrimRight(b.Bytes(), "\n")
	return res, nil
}

func (r *rowset) cut() bool { return r.total > len(r.rows) || r.atLeast }

func (r *rowset) note(remedy string) string {
	if !r.cut() {
		return ""
	}
	of := fmt.Sprintf("%d rows", r.total)
	if r.atLeast {
		of = fmt.Sprintf("more than %d rows", r.total)
	}
	return fmt.Sprintf("cut: only the first %d of %s are shown. %s", len(r.rows), of, remedy)
}

// table is the result as lines: names, values between bars, how many.
func (r *rowset) table(remedy string) string {
	var b strings.Builder
	if len(r.columns) > 0 {
		names := make([]string, len(r.columns))
		for i, c := range r.columns {
			names[i] = escapeCell(c.Name)
		}
		b.WriteString(strings.Join(names, " | ") + "\n")
		for _, row := range r.rows {
			for i, v := range row {
				if i > 0 {
					b.WriteString(" | ")
				}
				b.WriteString(escapeCell(plain(v)))
			}
			b.WriteByte('\n')
		}
	}
	switch {
	case r.cut():
		b.WriteString("(" + r.note(remedy) + ")")
	case len(r.columns) == 0 && r.affected >= 0:
		b.WriteString("(" + plural(r.affected, "row") + " changed)")
	case len(r.columns) == 0:
		b.WriteString("(done)")
	default:
		b.WriteString("(" + plural(int64(len(r.rows)), "row") + ")")
	}
	return b.String()
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

var cellEscapes = strings.NewReplacer("\n", `\n`, "\r", `\r`, "|", `\|`, "\x00", `\0`)

// escapeCell keeps a value on its line and between its bars.
func escapeCell(s string) string { return cellEscapes.Replace(s) }
