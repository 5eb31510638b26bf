package declared

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hearth/internal/config"
	"hearth/mcpserver/router"
)

// SQL is a body that is one statement of a database.
type SQL struct {
	// Connector is the name of a connector of the kind sqldb.
	Connector string `yaml:"connector"`
	// Statement holds :name where the value of an argument goes.
	Statement string `yaml:"statement"`
}

func (s *SQL) check(names map[string]bool) error {
	if s.Connector == "" {
		return config.Invalid("connector", "is missing: name a connector of the kind sqldb")
	}
	if strings.TrimSpace(s.Statement) == "" {
		return config.Invalid("statement", "is missing")
	}
	// Which database it is for is not known here: it must be readable for one.
	var failed error
	for _, dialect := range []string{"postgres", "mysql", "sqlite"} {
		q, err := parseSQL(s.Statement, dialect)
		if err == nil {
			err = q.check(names)
		}
		if err == nil {
			return nil
		}
		if failed == nil {
			failed = err
		}
	}
	return config.Invalid("statement", "%v", failed)
}

func (q *parsedSQL) check(names map[string]bool) error {
	for _, name := range q.names {
		if !names[name] {
			return errors.New(unknown(name, names))
		}
	}
	return nil
}

func (s *SQL) runner(databases map[string]Database, names map[string]bool, write bool) (runner, error) {
	db, ok := databases[s.Connector]
	if !ok {
		return nil, fmt.Errorf("there is no connector %q of the kind sqldb", s.Connector)
	}
	if write && !db.Writes() {
		return nil, fmt.Errorf("writes, and the connector %q does not: set write: true there", s.Connector)
	}
	q, err := parseSQL(s.Statement, db.Dialect())
	if err == nil {
		err = q.check(names)
	}
	if err != nil {
		return nil, fmt.Errorf("its statement %w", err)
	}
	return &sqlRunner{db: db, query: q, write: write}, nil
}

type sqlRunner struct {
	db    Database
	query *parsedSQL
	write bool
}

func (r *sqlRunner) close() {}

func (r *sqlRunner) run(ctx context.Context, args arguments, _ *router.Validators) (*router.Result, error) {
	params := make([]any, len(r.query.names))
	for i, name := range r.query.names {
		switch v := args[name].(type) {
		case []any, map[string]any:
			text, _, err := args.text(name)
			if err != nil {
				return nil, err
			}
			params[i] = text // as JSON, which databases can read
		default:
			params[i] = v
		}
	}
	return r.db.SQL(ctx, r.query.text, params, r.write)
}

// parsedSQL is a statement with the placeholders of its database.
type parsedSQL struct {
	text  string
	names []string // of the arguments, in the order of the placeholders
}

var errUnclosed = errors.New("has a quote or comment that is not closed")

// parseSQL puts the database's placeholders where :name stands. What is inside of
// quotes and comments is left alone, and so is ::type.
func parseSQL(text, dialect string) (*parsedSQL, error) {
	var out strings.Builder
	q := &parsedSQL{}
	for i := 0; i < len(text); {
		n, err := skipSQL(text[i:], dialect)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			out.WriteString(text[i : i+n])
			i += n
			continue
		}
		if text[i] == ':' {
			if colons := len(text[i:]) - len(strings.TrimLeft(text[i:], ":")); colons > 1 {
				out.WriteString(text[i : i+colons])
				i += colons
				continue
			}
			if name := identifier(text[i+1:]); name != "" {
				out.WriteString(q.placeholder(name, dialect))
				i += 1 + len(name)
				continue
			}
		}
		if text[i] == '?' && dialect != "postgres" {
			return nil, errors.New("holds a ? placeholder: write :name for the argument that goes there")
		}
		out.WriteByte(text[i])
		i++
	}
	q.text = out.String()
	return q, nil
}

func (q *parsedSQL) placeholder(name, dialect string) string {
	if dialect == "mysql" || dialect == "sqlite" {
		q.names = append(q.names, name)
		return "?"
	}
	n := slices.Index(q.names, name)
	if n < 0 {
		n = len(q.names)
		q.names = append(q.names, name)
	}
	return fmt.Sprintf("$%d", n+1)
}

// identifier is the name at the start of s.
func identifier(s string) string {
	n := 0
	for n < len(s) && (s[n] == '_' || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z' || n > 0 && s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return s[:n]
}

// skipSQL is how long the quoted part or comment at the start of s is.
func skipSQL(s, dialect string) (int, error) {
	closing := func(from int, end string) (int, error) {
		n := strings.Index(s[from:], end)
		if n < 0 {
			return 0, errUnclosed
		}
		return from + n + len(end), nil
	}
	switch {
	case s[0] == '\'' || s[0] == '"' || s[0] == '`' && dialect != "postgres":
		escapes := dialect == "mysql" && s[0] != '`'
		for i := 1; i < len(s); i++ {
			if escapes && s[i] == '\\' {
				i++
			} else if s[i] == s[0] {
				return i + 1, nil // a doubled one begins the next part
			}
		}
		return 0, errUnclosed
	case strings.HasPrefix(s, "--"), s[0] == '#' && dialect == "mysql":
		if n := strings.IndexByte(s, '\n'); n >= 0 {
			return n + 1, nil
		}
		return len(s), nil
	case strings.HasPrefix(s, "/*"):
		return closing(2, "*/")
	case s[0] == '$' && dialect == "postgres":
		tag := identifier(s[1:])
		if len(s) > len(tag)+1 && s[len(tag)+1] == '$' {
			return closing(len(tag)+2, "$"+tag+"$")
		}
	case s[0] == '[' && dialect == "sqlite":
		return closing(1, "]")
	}
	return 0, nil
}
