package sqldb

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"hearth/mcpserver/router"
)

// maxStatement bounds the text of a statement, in bytes.
const maxStatement = 64 << 10

// maxParams bounds the parameters of a statement.
const maxParams = 100

// statement is one SQL statement on its way to a database.
type statement struct {
	text string
	// params are nil, bool, json.Number or string.
	params   []any
	write    bool
	maxRows  int
	maxBytes int
}

// readers are the words that statements which only read begin with. It is the
// first of several checks and the one that explains itself; what a word promises
// is held by those behind it. For MySQL it is more: a compound statement could
// end the read-only transaction that it runs in.
var readers = map[string]bool{
	"SELECT": true, "WITH": true, "VALUES": true, "TABLE": true, "SHOW": true,
	"EXPLAIN": true, "DESCRIBE": true, "DESC": true, "PRAGMA": true, "(": true,
}

// checkReads refuses a statement that does not begin with a word that reads.
func checkReads(driver, text string) error {
	word, err := firstWord(text)
	if err != nil {
		return err
	}
	if driver == MySQL && (strings.Contains(text, "/*!") || strings.Contains(text, "/*M!")) {
		return &router.ToolError{Message: "comments that the server runs (/*! … */) are not taken: write the statement without them"}
	}
	switch {
	case word == "":
		return &router.ToolError{Message: "the statement is empty: write one SQL statement, such as SELECT … FROM …"}
	case readers[word] && (driver == SQLite || word != "PRAGMA"):
		return nil
	}
	return &router.ToolError{Message: fmt.Sprintf("query only reads: it takes SELECT, WITH, VALUES, SHOW or EXPLAIN, and this statement begins with %s", word)}
}

// checkWrites refuses, for execute, what the protocol has no answer to.
func checkWrites(text string) error {
	word, err := firstWord(text)
	if err != nil {
		return err
	}
	switch word {
	case "":
		return &router.ToolError{Message: "the statement is empty: write one SQL statement, such as INSERT INTO … VALUES …"}
	case "COPY", "LOAD":
		return &router.ToolError{Message: word + " is not possible here: use INSERT with values"}
	case "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "ABORT", "XA":
		return &router.ToolError{Message: "each statement is a transaction of its own and is committed when it succeeds: leave " + word + " out"}
	}
	return nil
}

// firstWord returns the first word of a statement in capitals, or its first
// other character, behind space and comments; "" where nothing is there.
func firstWord(text string) (string, error) {
	if len(text) > maxStatement {
		return "", &router.ToolError{Message: fmt.Sprintf("the statement has %d bytes, at most %d are possible", len(text), maxStatement)}
	}
	if strings.ContainsRune(text, 0) {
		return "", &router.ToolError{Message: "the statement holds a NUL character: leave it out"}
	}
	s := text
	for {
		s = strings.TrimLeft(s, " \t\r\n\f\v\ufeff")
		switch {
		case strings.HasPrefix(s, "--"), strings.HasPrefix(s, "#"):
			_, rest, found := strings.Cut(s, "\n")
			if !found {
				return "", nil
			}
			s = rest
		case strings.HasPrefix(s, "/*"):
			_, rest, found := strings.Cut(s[2:], "*/")
			if !found {
				return "", nil
			}
			s = rest
		default:
			n := strings.IndexFunc(s, func(r rune) bool {
				return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '_'
			})
			switch {
			case n < 0:
				n = len(s)
			case n == 0:
				_, n = utf8.DecodeRuneInString(s)
			}
			return strings.ToUpper(s[:n]), nil
		}
	}
}
