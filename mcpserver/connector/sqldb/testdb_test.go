package sqldb

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"hearth/mcpserver/router"
)

func open(t *testing.T, cfg Config) *DB {
	t.Helper()
	d, err := New(cfg, zerolog.New(zerolog.NewTestWriter(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d
}

// call calls a tool with the arguments, and gives its text or the error's.
func call(t *testing.T, d *DB, tool string, args any) (string, *router.Result, error) {
	t.Helper()
	data, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	res, err := d.Run(context.Background(), &router.Call{Tool: tool, Arguments: data, Progress: func(router.Progress) {}})
	if err != nil {
		return err.Error(), nil, err
	}
	return res.Content[0].Text, res, nil
}

type obj = map[string]any

// query gives the text of a query that must succeed.
func query(t *testing.T, d *DB, sql string, params ...any) string {
	t.Helper()
	text, _, err := call(t, d, "query", obj{"sql": sql, "params": append([]any{}, params...)})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

// refused gives the words of a call that must fail at the statement.
func refused(t *testing.T, d *DB, tool, sql string, params ...any) string {
	t.Helper()
	text, _, err := call(t, d, tool, obj{"sql": sql, "params": append([]any{}, params...)})
	var own *router.ToolError
	if !errors.As(err, &own) {
		t.Fatalf("%s: %q, %v; want a ToolError", sql, text, err)
	}
	return text
}

func wantParts(t *testing.T, what, got string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			t.Errorf("%s: %q is not in\n%s", what, p, got)
		}
	}
}
