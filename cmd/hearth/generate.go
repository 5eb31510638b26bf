package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"hearth/inference"
)

// maxInput bounds what is read from standard input or a file.
const maxInput = 64 << 20

func newGenerateCommand() *cobra.Command {
	var schema string
	var n int
	var echo bool
	cmd := &cobra.Command{
		Use:   "generate [PROMPT]",
		Short: "Continue a text once",
		Long: `Continue PROMPT, or standard input without it, and print the continuation. The
text goes to the model as it is, without a chat template; for an answer to a
message use hearth chat.

` + sourceHelp,
		Example: `  hearth generate "Once upon a time" --max-tokens 50
  hearth generate --json-schema person.json --temperature 0 "A person as JSON:"
  hearth generate --grammar-file date.gbnf "The bridge was opened on "
  hearth generate --n 3 --seed 7 "The best name for a cat is" < /dev/null`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
	}
	from := addSourceFlags(cmd)
	sampling := addSamplingFlags(cmd)
	askWithLora(cmd, from)
	cmd.Flags().StringVar(&schema, "json-schema", "", "file with a JSON Schema that the answer has to satisfy")
	cmd.Flags().IntVar(&n, "n", 1, fmt.Sprintf("number of answers, up to %d; with several each is printed whole, after a line ==> 1 <==", inference.MaxChoices))
	cmd.Flags().BoolVar(&echo, "echo", false, "print the prompt in front of the answer")
	_ = cmd.MarkFlagFilename("json-schema", "json") // the flag exists
	grammarFile := addGrammarFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		prompt, err := promptFrom(cmd.InOrStdin(), args)
		if err != nil {
			return err
		}
		format, err := readSchema(schema)
		if err != nil {
			return err
		}
		grammar, err := readGrammar(*grammarFile)
		if err != nil {
			return err
		}
		if grammar != "" && schema != "" {
			return errTwoConstraints
		}
		return from.ask(cmd, func(ctx context.Context, _ *source, m inference.Model) error {
			o, err := from.options(cmd, sampling, m)
			if err != nil {
				return err
			}
			o.N, o.Format, o.Grammar = n, format, grammar
			s, err := m.Complete(ctx, &inference.CompletionRequest{Options: o, Prompt: prompt, Echo: echo})
			if err != nil {
				return err
			}
			defer s.Close()
			p := &printer{out: cmd.OutOrStdout(), status: cmd.ErrOrStderr(), choices: n}
			_, err = p.print(ctx, s)
			return err
		})
	}
	return cmd
}

// usageArgs makes a wrong number of arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError(err)
		}
		return nil
	}
}

// promptFrom returns the argument, or all of standard input.
func promptFrom(in io.Reader, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	if isTerminal(in) {
		return "", usageError(errors.New("there is no prompt: give it as an argument or on standard input"))
	}
	return readInput(in)
}

func readInput(in io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	if len(b) > maxInput {
		return "", usageError(fmt.Errorf("standard input has more than %d MiB", maxInput>>20))
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// printer writes the text of an answer as it comes, and the progress of a long
// prompt to status.
type printer struct {
	out     io.Writer
	status  io.Writer
	choices int
	// reasoning, if set, gets the model's thinking as well.
	reasoning func(text string)
	// content, if set, is called before text of the answer is written.
	content func()

	usage inference.Usage // after print
	cut   bool            // after print: an answer reached its length limit
}

// print reads s to its end and returns the text of the first choice.
func (p *printer) print(ctx context.Context, s inference.Stream) (text string, err error) {
	parts := make([]strings.Builder, max(p.choices, 1))
	prefill := newMeter(p.status, isTerminal(p.status), "reading the prompt")
	defer prefill.finish()
	for {
		ev, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return parts[0].String(), err
		}
		switch ev.Kind {
		case inference.EventProgress:
			prefill.set(ev.Progress.Prefilled, ev.Progress.Prompt)
		case inference.EventDelta:
			prefill.finish()
			if ev.Choice >= len(parts) {
				return "", fmt.Errorf("%w: the answer has a choice %d of %d", inference.ErrEngine, ev.Choice, len(parts))
			}
			if ev.Reasoning != "" && p.reasoning != nil {
				p.reasoning(ev.Reasoning)
			}
			if ev.Content != "" && p.content != nil {
				p.content()
			}
			parts[ev.Choice].WriteString(ev.Content)
			if len(parts) == 1 {
				if _, err := io.WriteString(p.out, ev.Content); err != nil {
					return "", fmt.Errorf("write the answer: %w", err)
				}
			}
		case inference.EventUsage:
			p.usage = ev.Usage
		case inference.EventFinish:
			if ev.Finish == inference.FinishLength {
				p.cut = true
			}
		}
	}
	if len(parts) > 1 {
		for i := range parts {
			fmt.Fprintf(p.out, "==> %d <==\n%s\n", i+1, strings.TrimRight(parts[i].String(), "\n"))
		}
	} else if !strings.HasSuffix(parts[0].String(), "\n") {
		fmt.Fprintln(p.out)
	}
	return parts[0].String(), nil
}
