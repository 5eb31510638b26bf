package sqldb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"hearth/mcpserver/router"
)

// The tools, by name.
const (
	toolTables   = "list_tables"
	toolDescribe = "describe_table"
	toolQuery    = "query"
	toolExecute  = "execute"
)

// dialects is what a model is told about how statements are written.
var dialects = map[string]struct{ name, placeholder string }{
	SQLite:   {"SQLite", "?"},
	Postgres: {"PostgreSQL", "$1, $2, …"},
	MySQL:    {"MySQL (MariaDB)", "?"},
}

const (
	tablesSchema = `{"type":"object","properties":{"schema":{"type":"string","description":"only tables of this schema; empty: of all","default":""},"like":{"type":"string","description":"only tables whose name contains this; empty: all","default":""}},"additionalProperties":false}`

	describeSchema = `{"type":"object","properties":{"table":{"type":"string","description":"name of the table, as list_tables shows it"},"schema":{"type":"string","description":"its schema, where several have a table of that name; else empty","default":""}},"required":["table"],"additionalProperties":false}`

	statementSchema = `{"type":"object","properties":{"sql":{"type":"string","description":%s},"params":{"type":"array","items":{"type":["string","number","boolean","null"]},"maxItems":100,"description":%s,"default":[]}},"required":["sql"],"additionalProperties":false}`

	rowsSchema = `{"type":"object","properties":{"columns":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"type":{"type":"string"}},"required":["name"]}},"rows":{"type":"array","items":{"type":"array","items":{}}},"row_count":{"type":"integer"},"truncated":{"type":"boolean"},"note":{"type":"string"},"affected_rows":{"type":"integer"}},"required":["columns","rows","row_count","truncated"]}`

	tableSchema = `{"type":"object","properties":{"schema":{"type":"string"},"name":{"type":"string"},"kind":{"type":"string"},"comment":{"type":"string"},"columns":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"type":{"type":"string"},"nullable":{"type":"boolean"},"default":{"type":"string"},"primary_key":{"type":"boolean"},"comment":{"type":"string"}},"required":["name","type","nullable","primary_key"]}},"foreign_keys":{"type":"array","items":{"type":"object","properties":{"columns":{"type":"string"},"table":{"type":"string"},"references":{"type":"string"}},"required":["columns","table","references"]}},"indexes":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"unique":{"type":"boolean"},"columns":{"type":"string"}},"required":["name","unique","columns"]}}},"required":["name","kind","columns"]}`
)

// tools returns what a database of that kind offers.
func tools(driver string, write bool, timeout time.Duration) []router.Tool {
	d := dialects[driver]
	// The deadline of the call lies behind that of the statement, so that what is
	// said is said of the statement.
	timeout += 5 * time.Second
	out := []router.Tool{
		{
			Name: toolTables, Title: "List tables", Timeout: timeout, Idempotent: true,
			Description: fmt.Sprintf("List the tables and views of the %s database, where you do not know them.", d.name),
			Input:       json.RawMessage(tablesSchema), Output: json.RawMessage(rowsSchema),
		},
		{
			Name: toolDescribe, Title: "Describe a table", Timeout: timeout, Idempotent: true,
			Description: "Show the columns of a table with their types, its keys, foreign keys and indexes, where you do not know them.",
			Input:       json.RawMessage(describeSchema), Output: json.RawMessage(tableSchema),
		},
		{
			Name: toolQuery, Title: "Query", Timeout: timeout, Idempotent: true,
			Description: fmt.Sprintf("Run one %s SELECT statement and return its rows: the values that are looked for. It cannot change anything.", d.name),
			Input:       statementInput(d.name, d.placeholder, "SELECT"), Output: json.RawMessage(rowsSchema),
		},
	}
	if write {
		out = append(out, router.Tool{
			Name: toolExecute, Title: "Change data", Timeout: timeout,
			Description: fmt.Sprintf("Run one %s statement that changes data (INSERT, UPDATE, DELETE). It is committed when it succeeds.", d.name),
			Input:       statementInput(d.name, d.placeholder, "INSERT, UPDATE or DELETE"), Output: json.RawMessage(rowsSchema),
			Effects: router.Effects{Writes: true, Destroys: true},
		})
	}
	return out
}

func statementInput(name, placeholder, what string) json.RawMessage {
	sql, _ := json.Marshal(fmt.Sprintf("one %s statement of %s, without a semicolon", what, name)) // a string always encodes
	params, _ := json.Marshal(fmt.Sprintf("values for the placeholders %s of the statement, in their order", placeholder))
	return fmt.Appendf(nil, statementSchema, sql, params)
}

// decode reads arguments. Numbers keep their digits.
func decode(arguments json.RawMessage, into any) error {
	dec := json.NewDecoder(bytes.NewReader(arguments))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return toolError("the arguments cannot be read: %v", err)
	}
	return nil
}
