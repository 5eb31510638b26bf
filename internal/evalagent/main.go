package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hearth/internal/subject"
)

func main() { subject.Main("evalagent", run) }

// settings are the flags.
type settings struct {
	programs subject.Programs
	model    string
	out      string
	seed     uint64
	seeds    int
	each     int
	rounds   int
	tokens   int
	all      bool
	verbose  bool
}

// label names the connector whose tools a question is asked with.
func (s *settings) label(q *question) string {
	if s.all {
		return "*"
	}
	return q.Kind
}

// side is who is asked.
type side struct {
	name string
	ask  func(context.Context, *settings, *ground, *question) (answer, error)
}

// The sides, in the order in which they are asked.
const (
	sideHearth  = "Hearth"
	sidePlain   = "plain client"
	sideLenient = "plain client that reads bare calls"
)

var sides = []side{
	{sideHearth, askHearth},
	{sidePlain, func(ctx context.Context, s *settings, g *ground, q *question) (answer, error) {
		return askPlain(ctx, s, g, q, false)
	}},
	{sideLenient, func(ctx context.Context, s *settings, g *ground, q *question) (answer, error) {
		return askPlain(ctx, s, g, q, true)
	}},
}

func run(ctx context.Context, args []string, out, messages io.Writer) error {
	s := settings{programs: subject.Programs{Context: 8192, Sequences: 1}}
	set := flag.NewFlagSet("evalagent", flag.ContinueOnError)
	set.SetOutput(messages)
	s.programs.YardstickFlags(set)
	set.StringVar(&s.model, "model", "", "a GGUF file whose template has tools")
	set.StringVar(&s.out, "out", filepath.Join("build", "out", "eval-agent.json"), "file for all questions, answers and calls")
	set.Uint64Var(&s.seed, "seed", 0, "makes the data; 0: another in each run")
	set.IntVar(&s.seeds, "seeds", 1, "how many seeds, from the first on")
	set.IntVar(&s.each, "each", 10, "how many questions of each kind, at most 10")
	set.IntVar(&s.rounds, "rounds", 6, "answers of the model to one question")
	set.IntVar(&s.tokens, "tokens", 400, "that the model may write for one question")
	set.BoolVar(&s.all, "all-tools", false, "offer each question the tools of all connectors, not those that find its value")
	set.BoolVar(&s.verbose, "v", false, "show each question, call and answer")
	if err := set.Parse(args); err != nil {
		return err
	}
	if s.model == "" || s.seeds < 1 || s.each < 1 || s.each > 10 || s.rounds < 1 || s.tokens < 1 {
		return errors.New("name the model's file by -model; -seeds, -each (to 10), -rounds and -tokens are 1 at least")
	}
	for s.seed == 0 {
		s.seed = uint64(rand.Uint32())
	}
	r := &report{Model: strings.TrimSuffix(filepath.Base(s.model), ".gguf"), Args: args, Began: time.Now().UTC(), Rounds: s.rounds, Tokens: s.tokens, AllTools: s.all}
	var err error
	if r.Hearth, r.Llama, err = s.programs.Versions(ctx); err != nil {
		return err
	}
	for i := range s.seeds {
		seed := s.seed + uint64(i)
		lines, err := s.measure(ctx, seed, messages)
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		r.Seeds, r.Lines = append(r.Seeds, seed), append(r.Lines, lines...)
	}
	r.sum()
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := os.WriteFile(s.out, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	r.print(out)
	return r.verdict()
}

// measure asks all sides the questions of one seed.
func (s *settings) measure(ctx context.Context, seed uint64, messages io.Writer) (lines []line, err error) {
	g, err := newGround(ctx, s, newWorld(seed))
	defer func() { err = errors.Join(err, g.close()) }()
	if err != nil {
		return nil, err
	}
	for _, side := range sides {
		asked := map[string]int{}
		right := 0
		for i := range g.questions {
			q := &g.questions[i]
			if asked[q.Kind]++; asked[q.Kind] > s.each {
				continue
			}
			a, err := side.ask(ctx, s, g, q)
			if err != nil {
				return nil, fmt.Errorf("%s: %q: %w", side.name, q.Text, err)
			}
			for k := range a.Calls {
				a.Calls[k].check(g.offered(s.label(q)))
			}
			l := line{Seed: seed, Side: side.name, question: *q, answer: a, Right: q.right(a.Text), LeftAsText: leftAsText.MatchString(a.Text)}
			if l.Right {
				right++
			}
			lines = append(lines, l)
			if s.verbose {
				l.print(messages)
			}
		}
		fmt.Fprintf(messages, "seed %d, %s: %d right\n", seed, side.name, right)
	}
	return slices.Clip(lines), nil
}
