package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"hearth/inference"
)

// embedChunk is how many texts one request has: enough to fill batches, few
// enough that the first vectors come soon.
const embedChunk = 64

func newEmbedCommand() *cobra.Command {
	req := inference.EmbedRequest{}
	cmd := &cobra.Command{
		Use:   "embed [TEXT …]",
		Short: "Print the vectors of texts",
		Long: `Print a vector for each TEXT, or for each line of standard input without one: a
line with a JSON list of numbers, in the order of the texts. The vectors have
length 1, so their dot product is the cosine of the angle between them.

` + sourceHelp + `
Without --model the first of a server's models that makes embeddings is used.`,
		Example: `  hearth embed "a cat" "a kitten"
  hearth embed --model all-minilm.gguf < sentences.txt > vectors.jsonl`,
	}
	from := addSourceFlags(cmd)
	cmd.Flags().IntVar(&req.Dimensions, "dimensions", 0, "cut the vectors to so many numbers, for models that were trained for it (default: all)")
	cmd.Flags().BoolVar(&req.Truncate, "truncate", false, "cut texts that are too long instead of refusing them")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if req.Dimensions < 0 {
			return usageError(fmt.Errorf("--dimensions must be at least 1, got %d; leave it out for all", req.Dimensions))
		}
		if len(args) == 0 && isTerminal(cmd.InOrStdin()) {
			return usageError(errors.New("there is no text: give it as an argument or on standard input"))
		}
		from.embeds = true
		return from.use(cmd, func(ctx context.Context, src *source) error {
			src.preferEmbedder()
			m, err := src.acquire(ctx, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer m.Release()
			out := bufio.NewWriter(cmd.OutOrStdout())
			embed := func(texts []string) error { return embedTexts(ctx, m, req, texts, out) }
			if len(args) > 0 {
				return inChunks(args, embed)
			}
			return linesInChunks(cmd.InOrStdin(), embed)
		})
	}
	return cmd
}

// preferEmbedder asks for the first model that makes embeddings, where none is
// named. Where there is none the default model says so.
func (s *source) preferEmbedder() {
	if s.id != "" {
		return
	}
	for _, m := range s.models.List() {
		if m.Info.Embedding.Pooling != "" {
			s.id = m.Info.ID
			return
		}
	}
}

func inChunks(texts []string, do func([]string) error) error {
	for len(texts) > 0 {
		n := min(len(texts), embedChunk)
		if err := do(texts[:n]); err != nil {
			return err
		}
		texts = texts[n:]
	}
	return nil
}

// linesInChunks reads a text from each line.
func linesInChunks(in io.Reader, do func([]string) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxInput)
	var texts []string
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSuffix(lines.Text(), "\r")
		if text == "" {
			return usageError(fmt.Errorf("line %d of standard input is empty, and an empty text has no vector", n))
		}
		if texts = append(texts, text); len(texts) == embedChunk {
			if err := do(texts); err != nil {
				return err
			}
			texts = texts[:0]
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	if len(texts) == 0 {
		return nil
	}
	return do(texts)
}

// embedTexts writes the vectors of one request.
func embedTexts(ctx context.Context, m inference.Model, req inference.EmbedRequest, texts []string, out *bufio.Writer) error {
	req.Caller, req.Inputs = inference.DefaultCaller, make([]inference.EmbedInput, len(texts))
	for i, text := range texts {
		req.Inputs[i].Text = text
	}
	got, err := inference.Embed(ctx, m, &req)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	for _, v := range got.Vectors {
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("write the vectors: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the vectors: %w", err)
	}
	return nil
}
