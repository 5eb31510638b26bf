package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"hearth/inference"
)

// readSchema reads the file of --json-schema; without one answers are text.
func readSchema(path string) (inference.Format, error) {
	if path == "" {
		return inference.Format{Kind: inference.FormatText}, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return inference.Format{}, usageError(fmt.Errorf("--json-schema: %w", err))
	}
	if err := json.Unmarshal(b, new(json.RawMessage)); err != nil {
		return inference.Format{}, usageError(fmt.Errorf("--json-schema: %s is not valid JSON: %w", path, err))
	}
	return inference.Format{Kind: inference.FormatJSONSchema, Schema: b}, nil
}

// addGrammarFlag adds --grammar-file, and returns what it names.
func addGrammarFlag(cmd *cobra.Command) *string {
	path := cmd.Flags().String("grammar-file", "", "file with a grammar in GBNF that the answer is held to")
	_ = cmd.MarkFlagFilename("grammar-file", "gbnf") // the flag exists
	return path
}

// readGrammar reads the file of --grammar-file; "" if none is named. What it says
// is judged by the model, wherever that is.
func readGrammar(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	switch {
	case err != nil:
		return "", usageError(fmt.Errorf("--grammar-file: %w", err))
	case len(b) == 0:
		// An empty grammar is none for a model, and every answer would be allowed.
		return "", usageError(fmt.Errorf("--grammar-file: %s is empty: write rules in GBNF, or leave the flag out", path))
	case !utf8.Valid(b):
		// On its way to a server it would become another grammar.
		return "", usageError(fmt.Errorf("--grammar-file: %s is not valid UTF-8", path))
	}
	return string(b), nil
}

// errTwoConstraints refuses two forms for one answer.
var errTwoConstraints = usageError(errors.New("--grammar-file and --json-schema: an answer is held to one of them: leave the other out"))
