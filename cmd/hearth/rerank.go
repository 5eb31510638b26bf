package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"hearth/inference"
)

func newRerankCommand() *cobra.Command {
	req := inference.RerankRequest{}
	cmd := &cobra.Command{
		Use:   "rerank QUERY [DOCUMENT …]",
		Short: "Order texts by how well they answer a query",
		Long: `Score each DOCUMENT, or each line of standard input without one, against QUERY, and
print them with the best first: the score, the number of the document (from 1) and
its text, with tabs between. The model must be one that scores documents; what range
its scores have is the model's affair.

` + sourceHelp + `
Without --model the first of a server's models that scores documents is used.`,
		Example: `  hearth rerank "how tall is the tower?" "It is 330 m high." "It was built in 1889."
  hearth rerank --model reranker.gguf --top-n 3 "opening hours" < answers.txt`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
	}
	from := addSourceFlags(cmd)
	cmd.Flags().IntVar(&req.TopN, "top-n", 0, "print so many of the best (default: all)")
	cmd.Flags().BoolVar(&req.Truncate, "truncate", false, "cut documents that are too long instead of refusing them")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if req.TopN < 0 {
			return usageError(fmt.Errorf("--top-n must be at least 1, got %d; leave it out for all", req.TopN))
		}
		req.Query, req.Documents = args[0], args[1:]
		if len(req.Documents) == 0 {
			var err error
			if req.Documents, err = documents(cmd.InOrStdin()); err != nil {
				return err
			}
		}
		from.embeds = true
		return from.use(cmd, func(ctx context.Context, src *source) error {
			src.preferReranker()
			m, err := src.acquire(ctx, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer m.Release()
			req.Caller = inference.DefaultCaller
			got, err := inference.Rerank(ctx, m, &req)
			if err != nil {
				return err
			}
			return writeRanking(cmd.OutOrStdout(), got, req.Documents)
		})
	}
	return cmd
}

// preferReranker asks for the first model that scores documents, where none is
// named. Where there is none the default model says so.
func (s *source) preferReranker() {
	if s.id != "" {
		return
	}
	for _, m := range s.models.List() {
		if m.Info.Rerank.MaxTokens > 0 {
			s.id = m.Info.ID
			return
		}
	}
}

// documents reads a text from each line.
func documents(in io.Reader) ([]string, error) {
	if isTerminal(in) {
		return nil, usageError(errors.New("there is no document: give some as arguments or on standard input, one a line"))
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxInput)
	var all []string
	for lines.Scan() {
		if len(all) == inference.MaxRerankDocuments {
			return nil, usageError(fmt.Errorf("standard input has more than %d lines, which is as many documents as can be ranked at once", len(all)))
		}
		all = append(all, strings.TrimSuffix(lines.Text(), "\r"))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	return all, nil
}

func writeRanking(w io.Writer, r *inference.Ranking, documents []string) error {
	out := bufio.NewWriter(w)
	for _, d := range r.Results {
		fmt.Fprintf(out, "%.4f\t%d\t%s\n", d.Score, d.Index+1, documents[d.Index])
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the ranking: %w", err)
	}
	return nil
}
