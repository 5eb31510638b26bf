package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
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
	sides    []side
	chosen   chosen
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
	key, name string
	ask       func(context.Context, *settings, *ground, *question) (answer, error)
}

// The sides, in the order in which they are asked.
const (
	sideHearth  = "Hearth"
	sidePlain   = "plain client"
	sideLenient = "plain client that reads bare calls"
)

var sides = []side{
	{"hearth", sideHearth, askHearth},
	{"plain", sidePlain, func(ctx context.Context, s *settings, g *ground, q *question) (answer, error) {
		return askPlain(ctx, s, g, q, false)
	}},
	{"lenient", sideLenient, func(ctx context.Context, s *settings, g *ground, q *question) (answer, error) {
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
	names := set.String("sides", "hearth,plain,lenient", "who is asked, in this order")
	set.Var(&s.chosen, "questions", "which: kinds ("+strings.Join(kinds, ", ")+") or numbers from 1 to 30, with commas; none: all")
	if err := set.Parse(args); err != nil {
		return err
	}
	if s.model == "" || s.seeds < 1 || s.each < 1 || s.each > 10 || s.rounds < 1 || s.tokens < 1 {
		return errors.New("name the model's file by -model; -seeds, -each (to 10), -rounds and -tokens are 1 at least")
	}
	var err error
	if s.sides, err = chooseSides(*names); err != nil {
		return err
	}
	for s.seed == 0 {
		s.seed = uint64(rand.Uint32())
	}
	r := &report{Model: strings.TrimSuffix(filepath.Base(s.model), ".gguf"), Args: args, Began: time.Now().UTC(), Rounds: s.rounds, Tokens: s.tokens, AllTools: s.all}
	if r.Hearth, r.Llama, err = s.programs.Versions(ctx); err != nil {
		return err
	}
	for i := range s.seeds {
		seed := s.seed + uint64(i)
		r.Seeds = append(r.Seeds, seed)
		if err = s.measure(ctx, seed, r, messages); err != nil {
			err = fmt.Errorf("seed %d: %w", seed, err)
			break
		}
	}
	r.Whole = err == nil
	if failed := r.save(s.out); failed != nil {
		return errors.Join(err, failed)
	}
	r.print(out) // of a run that was cut off, too: what it has is in r
	if err != nil {
		return err
	}
	return r.verdict()
}

// chooseSides reads the sides of a run.
func chooseSides(names string) (out []side, err error) {
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(sides, func(s side) bool { return s.key == name })
		if i < 0 || slices.ContainsFunc(out, func(s side) bool { return s.key == name }) {
			return nil, fmt.Errorf("-sides %s: %q is none, or is there twice; there are hearth, plain and lenient", names, name)
		}
		out = append(out, sides[i])
	}
	return out, nil
}

// chosen are the questions of a run by number, from 1; nil: all.
type chosen []int

func (c *chosen) String() string { return strings.Trim(fmt.Sprint([]int(*c)), "[]") }

// Set reads kinds and numbers.
func (c *chosen) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		if k := slices.Index(kinds, word); k >= 0 {
			for i := range perKind {
				*c = append(*c, k*perKind+i+1)
			}
			continue
		}
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > len(kinds)*perKind {
			return fmt.Errorf("%q is neither a kind (%s) nor a number from 1 to %d", word, strings.Join(kinds, ", "), len(kinds)*perKind)
		}
		*c = append(*c, n)
	}
	return nil
}

// asks says whether question i, from 0, is one of the run.
func (s *settings) asks(i int) bool {
	return i%perKind < s.each && (s.chosen == nil || slices.Contains(s.chosen, i+1))
}

// measure asks the sides the questions of one seed. After each answer, r is on disk:
// a run that is cut off leaves what it has.
func (s *settings) measure(ctx context.Context, seed uint64, r *report, messages io.Writer) (err error) {
	g, err := newGround(ctx, s, newWorld(seed))
	defer func() { err = errors.Join(err, g.close()) }()
	if err != nil {
		return err
	}
	for _, side := range s.sides {
		began, from := time.Now(), len(r.Lines)
		for i := range g.questions {
			q := &g.questions[i]
			if !s.asks(i) {
				continue
			}
			start := time.Now()
			a, err := side.ask(ctx, s, g, q)
			if err != nil {
				return fmt.Errorf("%s: %q: %w", side.name, q.Text, err)
			}
			for k := range a.Calls {
				a.Calls[k].check(g.offered(s.label(q)))
			}
			l := line{Seed: seed, Side: side.name, Number: i + 1, question: *q, answer: a, Right: q.right(a.Text), LeftAsText: leftAsText.MatchString(a.Text), Seconds: time.Since(start).Seconds()}
			r.Lines = append(r.Lines, l)
			if err := r.save(s.out); err != nil {
				return err
			}
			if s.verbose {
				l.print(messages)
			}
		}
		t := sumUp(side.name, "all", r.Lines[from:])
		fmt.Fprintf(messages, "seed %d, %s: %s right, %s calls valid, %d answers without a call, %d calls left as text, %.0f s\n",
			seed, side.name, share(t.Right, t.Questions), share(t.Valid, t.Calls), t.Silent, t.LeftAsText, time.Since(began).Seconds())
	}
	return nil
}
