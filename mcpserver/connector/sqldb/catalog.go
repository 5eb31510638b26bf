package sqldb

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"hearth/mcpserver/router"
)

// catalog is how one kind of database is asked for what it holds. Each statement
// gives the columns that its comment names, in that order.
type catalog struct {
	// tables: schema, name, kind, rows (an estimate), comment; by a schema and a
	// part of a name, both may be NULL.
	tables string
	// find: schema, name, kind, comment; by a schema, which may be NULL, and a name.
	find string
	// columns: name, type, nullable (1 or 0), default, part of the primary key (1 or
	// 0), comment. This and what follows by schema and name.
	columns string
	// foreign: columns, table (with schema), columns there.
	foreign string
	// indexes: name, unique (1 or 0), columns.
	indexes string
	// repeats is how often find and tables use each of their parameters, where a
	// placeholder has no number.
	repeats int
}

// tableInfo is a table as data. Its schema is tableSchema.
type tableInfo struct {
	Schema  string        `json:"schema,omitempty"`
	Name    string        `json:"name"`
	Kind    string        `json:"kind"`
	Comment string        `json:"comment,omitempty"`
	Columns []columnInfo  `json:"columns"`
	Foreign []foreignInfo `json:"foreign_keys,omitempty"`
	Indexes []indexInfo   `json:"indexes,omitempty"`
}

type columnInfo struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Nullable bool   `json:"nullable"`
	Default  string `json:"default,omitempty"`
	Primary  bool   `json:"primary_key"`
	Comment  string `json:"comment,omitempty"`
}

type foreignInfo struct {
	Columns    string `json:"columns"`
	Table      string `json:"table"`
	References string `json:"references"`
}

type indexInfo struct {
	Name    string `json:"name"`
	Unique  bool   `json:"unique"`
	Columns string `json:"columns"`
}

func (d *DB) listTables(ctx context.Context, arguments json.RawMessage) (*router.Result, error) {
	var args struct{ Schema, Like string }
	if err := decode(arguments, &args); err != nil {
		return nil, err
	}
	set, err := d.do(ctx, d.statement(d.catalog.tables, d.catalog.params(orNull(args.Schema), orNull(args.Like)), false))
	if err != nil {
		return nil, err
	}
	set.dropEmpty()
	return set.result("Give a schema, or a part of the name in like.")
}

// dropEmpty leaves out columns in which nothing stands: no schema, no comments.
func (r *rowset) dropEmpty() {
	for i := len(r.columns) - 1; i >= 0; i-- {
		empty := true
		for _, row := range r.rows {
			if s := string(row[i]); s != "null" && s != `""` {
				empty = false
				break
			}
		}
		if !empty || r.columns[i].Name == "name" {
			continue
		}
		r.columns = append(r.columns[:i:i], r.columns[i+1:]...)
		for k, row := range r.rows {
			r.rows[k] = append(row[:i:i], row[i+1:]...)
		}
	}
}

func (d *DB) describeTable(ctx context.Context, arguments json.RawMessage) (*router.Result, error) {
	var args struct{ Table, Schema string }
	if err := decode(arguments, &args); err != nil {
		return nil, err
	}
	t, err := d.table(ctx, args.Schema, args.Table)
	if err != nil {
		return nil, err
	}
	return both(t.text(), t)
}

// table finds a table, also by "schema.name", and asks for its parts.
func (d *DB) table(ctx context.Context, schema, name string) (*tableInfo, error) {
	found, err := d.find(ctx, schema, name)
	if err != nil {
		return nil, err
	}
	if before, after, ok := strings.Cut(name, "."); found == nil && ok && schema == "" {
		if found, err = d.find(ctx, unquote(before), unquote(after)); err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, d.noTable(ctx, schema, name)
	}
	t := &tableInfo{Schema: found[0], Name: found[1], Kind: found[2], Comment: found[3]}
	for _, part := range []struct {
		text string
		take func(row []string)
	}{
		{d.catalog.columns, func(r []string) {
			t.Columns = append(t.Columns, columnInfo{r[0], r[1], r[2] == "1", r[3], r[4] == "1", r[5]})
		}},
		{d.catalog.foreign, func(r []string) { t.Foreign = append(t.Foreign, foreignInfo{r[0], r[1], r[2]}) }},
		{d.catalog.indexes, func(r []string) { t.Indexes = append(t.Indexes, indexInfo{r[0], r[1] == "1", r[2]}) }},
	} {
		s := d.statement(part.text, []any{found[0], found[1]}, false)
		s.maxRows, s.maxBytes = 5000, 4<<20
		set, err := d.do(ctx, s)
		if err != nil {
			return nil, err
		}
		for _, row := range set.rows {
			part.take(texts(row))
		}
	}
	return t, nil
}

func (d *DB) find(ctx context.Context, schema, name string) ([]string, error) {
	set, err := d.do(ctx, d.statement(d.catalog.find, d.catalog.params(orNull(schema), name), false))
	if err != nil || len(set.rows) == 0 {
		return nil, err
	}
	return texts(set.rows[0]), nil
}

// noTable says which tables there are.
func (d *DB) noTable(ctx context.Context, schema, name string) error {
	there := fmt.Sprintf("there is no table %q", name)
	if schema != "" {
		there += fmt.Sprintf(" in a schema %q (leave schema empty to look in all)", schema)
	}
	s := d.statement(d.catalog.tables, d.catalog.params(nil, nil), false)
	s.maxRows = 30
	set, err := d.do(ctx, s)
	if err != nil {
		return err
	}
	var names []string
	for _, row := range set.rows {
		names = append(names, plain(row[1]))
	}
	switch {
	case len(names) == 0:
		return toolError("%s: the database has none that can be read", there)
	case set.cut():
		return toolError("%s. Some that there are: %s. Use list_tables", there, strings.Join(names, ", "))
	}
	return toolError("%s. There are: %s", there, strings.Join(names, ", "))
}

func (c *catalog) params(first, second any) (out []any) {
	for range max(c.repeats, 1) {
		out = append(out, first)
	}
	for range max(c.repeats, 1) {
		out = append(out, second)
	}
	return out
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func texts(row []json.RawMessage) []string {
	out := make([]string, len(row))
	for i, v := range row {
		if string(v) != "null" {
			out[i] = plain(v)
		}
	}
	return out
}

func unquote(s string) string { return strings.Trim(strings.TrimSpace(s), "\"`[]") }

// text is the table in lines that a small model reads well.
func (t *tableInfo) text() string {
	var b strings.Builder
	name := t.Name
	if t.Schema != "" {
		name = t.Schema + "." + name
	}
	fmt.Fprintf(&b, "%s %s%s\n", t.Kind, name, remark(t.Comment))
	for _, c := range t.Columns {
		fmt.Fprintf(&b, "  %s %s", c.Name, c.Type)
		if c.Primary {
			b.WriteString(" primary key")
		} else if !c.Nullable {
			b.WriteString(" not null")
		}
		if c.Default != "" {
			b.WriteString(" default " + escapeCell(c.Default))
		}
		b.WriteString(remark(c.Comment) + "\n")
	}
	for _, f := range t.Foreign {
		fmt.Fprintf(&b, "foreign key (%s) references %s (%s)\n", f.Columns, f.Table, f.References)
	}
	for _, i := range t.Indexes {
		unique := ""
		if i.Unique {
			unique = "unique "
		}
		fmt.Fprintf(&b, "%sindex %s (%s)\n", unique, i.Name, i.Columns)
	}
	return strings.TrimRight(b.String(), "\n")
}

func remark(comment string) string {
	if comment == "" {
		return ""
	}
	return " -- " + escapeCell(comment)
}
