package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"sync"

	"hearth/internal/subject"
)

func main() { subject.Main("evaltools", run) }

// settings are the flags.
type settings struct {
	programs subject.Programs
	model    string
	verbose  bool
}

// atOnce is how many questions are asked at the same time.
const atOnce = 4

// modes are the values of tool_choice that are asked with.
var modes = []string{"auto", "required"}

func run(ctx context.Context, args []string, out, messages io.Writer) error {
	s := settings{programs: subject.Programs{Context: 8192, Sequences: atOnce}}
	set := flag.NewFlagSet("evaltools", flag.ContinueOnError)
	set.SetOutput(messages)
	s.programs.YardstickFlags(set)
	set.StringVar(&s.model, "model", "", "a GGUF file whose template has tools")
	set.BoolVar(&s.verbose, "v", false, "show each wrong answer")
	if err := set.Parse(args); err != nil {
		return err
	}
	if s.model == "" {
		return errors.New("name the model's file by -model")
	}
	right := map[string]map[string]int{}
	for _, system := range []string{"llama-server", "hearth"} {
		counts, err := s.measure(ctx, system, messages)
		if err != nil {
			return err
		}
		right[system] = counts
	}
	n := len(questions())
	fmt.Fprintf(out, "| right calls of %d | llama-server | Hearth |\n|---|---|---|\n", n)
	for _, mode := range modes {
		fmt.Fprintf(out, "| `tool_choice` `%s` | %d | %d |\n", mode, right["llama-server"][mode], right["hearth"][mode])
	}
	if right["hearth"]["auto"] <= right["llama-server"]["auto"] || right["hearth"]["required"] < right["llama-server"]["required"] {
		return errors.New("hearth has to be ahead with auto, and not behind with required")
	}
	return nil
}

// measure asks all questions of one system and counts the right answers by mode.
func (s *settings) measure(ctx context.Context, system string, messages io.Writer) (_ map[string]int, err error) {
	server, err := s.start(ctx, system)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	counts := map[string]int{}
	for _, mode := range modes {
		all := questions()
		answers := make([]answer, len(all))
		failures := make([]error, len(all))
		places := make(chan struct{}, atOnce)
		var wg sync.WaitGroup
		for i := range all {
			places <- struct{}{}
			wg.Go(func() {
				defer func() { <-places }()
				var err error
				if answers[i], err = ask(ctx, server, all[i].text, mode); err != nil {
					failures[i] = fmt.Errorf("%s: %q: %w", system, all[i].text, err)
				}
			})
		}
		wg.Wait()
		if err := errors.Join(failures...); err != nil {
			return nil, err
		}
		for i, q := range all {
			if q.right(answers[i].ToolCalls) {
				counts[mode]++
			} else if s.verbose {
				fmt.Fprintf(messages, "%s %s: %q: %+v\n", system, mode, q.text, answers[i])
			}
		}
		fmt.Fprintf(messages, "%s, %s: %d right\n", system, mode, counts[mode])
	}
	return counts, nil
}

// start runs a server and waits until it answers.
func (s *settings) start(ctx context.Context, system string) (*subject.Server, error) {
	if system == "llama-server" {
		return s.programs.StartLlama(ctx, s.model)
	}
	return s.programs.StartHearth(ctx, s.model)
}

// answer is what a server says to one question.
type answer struct {
	Content   string `json:"content"`
	ToolCalls []call `json:"tool_calls"`
}

// ask puts one question.
func ask(ctx context.Context, server *subject.Server, text, mode string) (a answer, err error) {
	_, err = server.Chat(ctx, map[string]any{
		"messages": []map[string]string{{"role": "user", "content": text}}, "tools": tools, "tool_choice": mode,
		"temperature": 0, "max_tokens": 100, "parallel_tool_calls": false,
	}, &a)
	var status *subject.StatusError
	if mode == "required" && errors.As(err, &status) && status.Status == http.StatusInternalServerError {
		// llama-server fails where its parser finds no call: an answer like another
		return answer{Content: status.Body}, nil
	}
	return a, err
}
