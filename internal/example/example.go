package example

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"hearth/internal/subject"
)

// Setup prepares an example on the stage, with values from r.
type Setup func(ctx context.Context, s *Stage, r *rand.Rand) (*Scene, error)

// Scene is what an example is about.
type Scene struct {
	// Configuration is Hearth's, in YAML.
	Configuration string
	// Instructions are what the model is told first.
	Instructions string
	// Questions are asked one after the other, each by itself.
	Questions []Question
	// Servers are connectors that have to be there before the first question.
	Servers []string
}

// Question is one question.
type Question struct {
	Text string
	// Tools are what the model may use, as connector__tool.
	Tools []string
	// Answer is the value that the answer should hold.
	Answer string
}

// Stage is where an example runs.
type Stage struct {
	// Dir is an empty folder, which goes with the stage.
	Dir  string
	ends []func() error
}

// Defer has f called when the example is over, the last one first.
func (s *Stage) Defer(f func() error) { s.ends = append(s.ends, f) }

// Write writes a file into the stage's folder, and returns its path.
func (s *Stage) Write(name, text string) (string, error) {
	path := filepath.Join(s.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write a file: %w", err)
	}
	return path, nil
}

func (s *Stage) close() error {
	var err error
	for len(s.ends) > 0 {
		last := len(s.ends) - 1
		err = errors.Join(err, s.ends[last]())
		s.ends = s.ends[:last]
	}
	return err
}

// Answer is what became of one question.
type Answer struct {
	Question Question
	Calls    []Call
	Text     string
}

// Call is one call that the model made, as the API shows it.
type Call struct {
	Label     string `json:"server_label"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
	Output    string `json:"output"`
	Error     string `json:"error"`
	Status    string `json:"status"`
}

// options are the flags.
type options struct {
	programs subject.Programs
	model    string
	seed     uint64
	question string
	more     func(*flag.FlagSet)
}

// Main runs the example as a program. more, unless it is nil, adds flags of its own.
func Main(name string, setup Setup, more func(*flag.FlagSet)) {
	subject.Main(name, func(ctx context.Context, args []string, out, messages io.Writer) error {
		o := options{more: more}
		if err := o.parse(name, args, messages); err != nil {
			return err
		}
		_, err := o.run(ctx, setup, out)
		return err
	})
}

func (o *options) parse(name string, args []string, messages io.Writer) error {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(messages)
	o.programs.Context, o.programs.Sequences = 8192, 1
	o.programs.Flags(set)
	set.StringVar(&o.model, "model", "", "GGUF file of the model (required)")
	set.Uint64Var(&o.seed, "seed", 0, "of the example's values; 0: others in each run")
	set.StringVar(&o.question, "question", "", "ask this instead")
	if o.more != nil {
		o.more(set)
	}
	if err := set.Parse(args); err != nil {
		return err
	}
	if o.model == "" {
		return errors.New("-model is missing: make fetches one and says its file")
	}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	return nil
}

// Run runs an example with the program's arguments, for tests. The goroutine has to be
// locked to its thread, with which the server ends.
func Run(ctx context.Context, setup Setup, more func(*flag.FlagSet), out io.Writer, args ...string) ([]Answer, error) {
	o := options{more: more}
	if err := o.parse("example", args, out); err != nil {
		return nil, err
	}
	return o.run(ctx, setup, out)
}

func (o *options) run(ctx context.Context, setup Setup, out io.Writer) (answers []Answer, err error) {
	dir, err := os.MkdirTemp("", "hearth-example-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	stage := &Stage{Dir: dir}
	stage.Defer(func() error { return os.RemoveAll(dir) })
	defer func() { err = errors.Join(err, stage.close()) }()
	scene, err := setup(ctx, stage, rand.New(rand.NewPCG(o.seed, 1)))
	if err != nil {
		return nil, err
	}
	file, err := stage.Write("hearth.yaml", scene.Configuration)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "The configuration:\n\n%s\n", indent(scene.Configuration))
	server, err := o.programs.StartHearth(ctx, o.model, "--config", file)
	if err != nil {
		return nil, err
	}
	stage.Defer(server.Stop)
	if err := await(ctx, server, scene.Servers); err != nil {
		return nil, err
	}
	questions := scene.Questions
	if o.question != "" {
		one := Question{Text: o.question}
		for _, q := range scene.Questions {
			one.Tools = append(one.Tools, q.Tools...)
		}
		questions = []Question{one}
	}
	for _, q := range questions {
		a, err := ask(ctx, server, scene.Instructions, q)
		if err != nil {
			return answers, err
		}
		answers = append(answers, a)
		a.print(out)
	}
	return answers, nil
}

// ask asks one question, greedily, so that the same data gives the same answer. The
// first thing that the model writes has to be a call: there is nothing that it could
// know by itself.
func ask(ctx context.Context, server *subject.Server, instructions string, q Question) (Answer, error) {
	byLabel := map[string][]string{}
	var labels []string
	for _, t := range q.Tools {
		label, tool, _ := strings.Cut(t, "__")
		if byLabel[label] == nil {
			labels = append(labels, label)
		}
		byLabel[label] = append(byLabel[label], tool)
	}
	var tools []any
	for _, label := range labels {
		tools = append(tools, map[string]any{"type": "mcp", "server_label": label, "allowed_tools": byLabel[label]})
	}
	var said struct {
		Content string `json:"content"`
		Calls   []Call `json:"mcp_calls"`
	}
	_, err := server.Chat(ctx, map[string]any{
		"messages": []any{
			map[string]any{"role": "system", "content": instructions},
			map[string]any{"role": "user", "content": q.Text},
		},
		"tools": tools, "tool_choice": "required", "temperature": 0, "max_tokens": 400,
	}, &said)
	return Answer{Question: q, Calls: said.Calls, Text: strings.TrimSpace(said.Content)}, err
}

func (a *Answer) print(out io.Writer) {
	fmt.Fprintf(out, "Question: %s\n\n", a.Question.Text)
	for _, c := range a.Calls {
		fmt.Fprintf(out, "  call    %s__%s %s\n", c.Label, c.Name, c.Arguments)
		if c.Error != "" {
			fmt.Fprintf(out, "%s\n\n", prefixed("  error   ", c.Error))
			continue
		}
		fmt.Fprintf(out, "%s\n\n", prefixed("  result  ", c.Output))
	}
	fmt.Fprintf(out, "Answer: %s\n\n", a.Text)
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ") + "\n"
}

// prefixed puts first in front of the first line of text, and as many blanks in front
// of the others.
func prefixed(first, text string) string {
	return first + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+strings.Repeat(" ", len(first)))
}
