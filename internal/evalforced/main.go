package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"

	"hearth/internal/subject"
)

func main() { subject.Main("evalforced", run) }

// settings are the flags.
type settings struct {
	programs subject.Programs
	prompts  int
	verbose  bool
}

// atOnce is how many prompts are asked at the same time.
const atOnce = 8

// modes are the values of forced_text that are compared.
var modes = []string{"off", "append"}

func run(ctx context.Context, args []string, out, messages io.Writer) error {
	s := settings{programs: subject.Programs{Context: 8192, Sequences: atOnce}}
	set := flag.NewFlagSet("evalforced", flag.ContinueOnError)
	set.SetOutput(messages)
	s.programs.Flags(set)
	set.IntVar(&s.prompts, "prompts", 200, "so many of the prompts")
	set.BoolVar(&s.verbose, "v", false, "show each wrong value")
	if err := set.Parse(args); err != nil {
		return err
	}
	if set.NArg() == 0 || s.prompts < 1 {
		return errors.New("name the GGUF files of the models, and ask at least one prompt")
	}
	fmt.Fprintf(out, "| model | schema | right values, off | append | right documents, off | append | tokens, off | append |\n|---|---|---|---|---|---|---|---|\n")
	var verdicts []string
	for _, model := range set.Args() {
		counts, err := s.measure(ctx, model, messages)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(model), ".gguf")
		var sum [2]tally
		for _, k := range kinds {
			c := counts[k.name]
			fmt.Fprintf(out, "| %s | %s | %s |\n", name, k.name, row(c))
			for i := range sum {
				sum[i].add(c[i])
			}
		}
		fmt.Fprintf(out, "| %s | all | %s |\n", name, row(sum))
		verdict := "no worse"
		if sum[1].values < sum[0].values {
			verdict = "worse"
		}
		verdicts = append(verdicts, fmt.Sprintf("%s: append is %s", name, verdict))
	}
	fmt.Fprintf(out, "\n%s\n", strings.Join(verdicts, "\n"))
	return nil
}

// tally counts the answers of one kind in one mode.
type tally struct{ values, of, documents, asked, tokens int }

func (t *tally) add(o tally) {
	t.values, t.of, t.documents, t.asked, t.tokens = t.values+o.values, t.of+o.of, t.documents+o.documents, t.asked+o.asked, t.tokens+o.tokens
}

func row(c [2]tally) string {
	return fmt.Sprintf("%d of %d | %d | %d of %d | %d | %d | %d", c[0].values, c[0].of, c[1].values, c[0].documents, c[0].asked, c[1].documents, c[0].tokens, c[1].tokens)
}

// measure asks a model all prompts in both modes.
func (s *settings) measure(ctx context.Context, model string, messages io.Writer) (counts map[string][2]tally, err error) {
	server, err := s.programs.StartHearth(ctx, model)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	counts = map[string][2]tally{}
	all := tasks(s.prompts)
	for m, mode := range modes {
		answers, failures := make([]answer, len(all)), make([]error, len(all))
		places := make(chan struct{}, atOnce)
		var wg sync.WaitGroup
		for i := range all {
			places <- struct{}{}
			wg.Go(func() {
				defer func() { <-places }()
				if answers[i], failures[i] = ask(ctx, server, &all[i], mode); failures[i] != nil {
					failures[i] = fmt.Errorf("%q: %w", all[i].prompt, failures[i])
				}
			})
		}
		wg.Wait()
		if err := errors.Join(failures...); err != nil {
			return nil, err
		}
		for i := range all {
			n, wrong := all[i].right(answers[i].text)
			one := tally{values: n, of: len(all[i].want), asked: 1, tokens: answers[i].tokens}
			if len(wrong) == 0 {
				one.documents = 1
			}
			c := counts[all[i].kind.name]
			c[m].add(one)
			counts[all[i].kind.name] = c
			if s.verbose && len(wrong) > 0 {
				fmt.Fprintf(messages, "%s, %s: %q: %s\n", filepath.Base(model), mode, all[i].prompt, strings.Join(wrong, ", "))
			}
		}
	}
	return counts, nil
}

// answer is a document and its tokens.
type answer struct {
	text   string
	tokens int
}

// ask puts one prompt.
func ask(ctx context.Context, server *subject.Server, t *task, mode string) (answer, error) {
	var message struct {
		Content string `json:"content"`
	}
	tokens, err := server.Chat(ctx, map[string]any{
		"messages": []map[string]string{{"role": "user", "content": t.prompt}}, "temperature": 0, "max_tokens": 300, "forced_text": mode,
		"response_format": map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "document", "strict": true, "schema": t.kind.schema}},
	}, &message)
	return answer{text: message.Content, tokens: tokens}, err
}
