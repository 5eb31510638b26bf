package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// line is one question to one side.
type line struct {
	Seed uint64 `json:"seed"`
	Side string `json:"side"`
	// Number of the question, from 1, the same in all seeds.
	Number int `json:"number"`
	question
	answer
	Right bool `json:"right"`
	// LeftAsText: the answer holds what was to be a call.
	LeftAsText bool    `json:"left_as_text"`
	Seconds    float64 `json:"seconds"`
}

func (l *line) print(w io.Writer) {
	verdict := "wrong"
	if l.Right {
		verdict = "right"
	}
	fmt.Fprintf(w, "%s, %s, %d: %q wants %s: %q\n", verdict, l.Side, l.Number, l.question.Text, l.Want, l.answer.Text)
	for _, c := range l.Calls {
		state := "valid"
		if c.Invalid != "" {
			state = "invalid (" + strings.ReplaceAll(c.Invalid, "\n", " ") + ")"
		}
		fmt.Fprintf(w, "    %s %s %s -> %.300q\n", state, c.Tool, c.Arguments, c.Result)
	}
}

// tally counts lines.
type tally struct {
	Side       string `json:"side"`
	Kind       string `json:"kind"` // "all" for all
	Questions  int    `json:"questions"`
	Right      int    `json:"right"`
	Calls      int    `json:"calls"`
	Valid      int    `json:"valid_calls"`
	LeftAsText int    `json:"calls_left_as_text"`
	Silent     int    `json:"without_a_call"`
}

// report is all of a run.
type report struct {
	Model    string    `json:"model"`
	Hearth   string    `json:"hearth"`
	Llama    string    `json:"llama_server"`
	Began    time.Time `json:"began"`
	Args     []string  `json:"args"`
	Whole    bool      `json:"whole"` // false: it runs still, or was cut off
	Seeds    []uint64  `json:"seeds"`
	Rounds   int       `json:"rounds"`
	Tokens   int       `json:"tokens"`
	AllTools bool      `json:"all_tools"`
	Sums     []tally   `json:"sums"`
	Lines    []line    `json:"questions"`
}

// sum fills in the sums, by side and kind, of the sides that were asked.
func (r *report) sum() {
	r.Sums = nil
	for _, side := range sides {
		if all := sumUp(side.name, "all", r.Lines); all.Questions > 0 {
			for _, kind := range kinds {
				r.Sums = append(r.Sums, sumUp(side.name, kind, r.Lines))
			}
			r.Sums = append(r.Sums, all)
		}
	}
}

// sumUp counts the lines of a side and a kind, "all" for all kinds.
func sumUp(side, kind string, lines []line) tally {
	t := tally{Side: side, Kind: kind}
	for i := range lines {
		l := &lines[i]
		if l.Side != side || kind != "all" && l.Kind != kind {
			continue
		}
		t.Questions++
		t.Calls += len(l.Calls)
		t.Right += count(l.Right)
		t.LeftAsText += count(l.LeftAsText)
		t.Silent += count(len(l.Calls) == 0)
		for _, c := range l.Calls {
			t.Valid += count(c.Invalid == "")
		}
	}
	return t
}

// save writes the report with its sums. Who reads it meanwhile finds a whole one.
func (r *report) save(file string) error {
	r.sum()
	text, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = os.WriteFile(file+".new", append(text, '\n'), 0o644)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// share writes n of all, as a share too.
func share(n, all int) string {
	if all == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d (%.0f %%)", n, all, 100*float64(n)/float64(all))
}

func (r *report) print(w io.Writer) {
	tools := "query for the database, those of the connector for pages and files"
	if r.AllTools {
		tools = "all"
	}
	fmt.Fprintf(w, "%s, seeds %v, %d rounds, %d tokens, temperature 0, tools of a question: %s\n%s; llama-server %s\n\n", r.Model, r.Seeds, r.Rounds, r.Tokens, tools, r.Hearth, r.Llama)
	fmt.Fprint(w, "| side | questions on | right | valid calls | answers without a call | calls left as text |\n|---|---|---|---|---|---|\n")
	for _, t := range r.Sums {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %d | %d |\n", t.Side, t.Kind, share(t.Right, t.Questions), share(t.Valid, t.Calls), t.Silent, t.LeftAsText)
	}
}

// verdict is an error where a call of Hearth's is not valid, or a plain client has
// more right answers.
func (r *report) verdict() error {
	all := map[string]tally{}
	for _, t := range r.Sums {
		if t.Kind == "all" {
			all[t.Side] = t
		}
	}
	var err error
	h, asked := all[sideHearth]
	if !asked {
		return nil
	}
	if h.Valid < h.Calls {
		err = errors.Join(err, fmt.Errorf("%d of %d calls through Hearth are not valid", h.Calls-h.Valid, h.Calls))
	}
	for _, other := range []string{sidePlain, sideLenient} {
		if all[other].Right > h.Right {
			err = errors.Join(err, fmt.Errorf("the %s has %d right answers, Hearth has %d", other, all[other].Right, h.Right))
		}
	}
	return err
}
