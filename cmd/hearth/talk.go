package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/peterh/liner"

	"hearth/inference"
)

// editor reads lines from a terminal.
type editor interface {
	Prompt(prompt string) (string, error)
	AppendHistory(item string)
}

const chatHelp = `/reset          forget the conversation
/system [TEXT]  set the system message, or remove it
/stats          tokens and speed
/exit           leave (also: Ctrl-D)
A line that ends in \ goes on in the next one. Ctrl-C stops an answer.
`

var chatCommands = []string{"/exit", "/help", "/reset", "/stats", "/system "}

// talk is the conversation on a terminal.
func (c *conversation) talk(ctx context.Context, where string) error {
	// Between a prompt and an answer Ctrl-C is a signal for a moment. It should
	// not end the program there either.
	stray := make(chan os.Signal, 1)
	signal.Notify(stray, os.Interrupt)
	defer signal.Stop(stray)

	line := liner.NewLiner()
	defer line.Close()
	line.SetCtrlCAborts(true)
	line.SetMultiLineMode(true)
	line.SetCompleter(func(typed string) (all []string) {
		for _, command := range chatCommands {
			if strings.HasPrefix(command, typed) && typed != "" {
				all = append(all, command)
			}
		}
		return all
	})
	history := newHistory()
	history.load(line)
	defer history.save(line)

	c.color = isTerminal(c.out)
	info := c.model.Info()
	fmt.Fprintf(c.out, "%s, context %d tokens, on %s. /help lists the commands.\n", info.ID, info.Context, where)
	return c.loop(ctx, line)
}

// loop reads and answers until the user leaves.
func (c *conversation) loop(ctx context.Context, in editor) error {
	for {
		text, err := readMessage(in)
		switch {
		case errors.Is(err, io.EOF):
			fmt.Fprintln(c.out)
			return nil
		case errors.Is(err, liner.ErrPromptAborted):
			fmt.Fprintln(c.out, "(Ctrl-D or /exit leaves)")
			continue
		case err != nil:
			return fmt.Errorf("read from the terminal: %w", err)
		}
		if strings.TrimSpace(text) == "" {
			continue
		}
		in.AppendHistory(strings.ReplaceAll(text, "\n", " "))
		if strings.HasPrefix(text, "/") {
			if leave := c.command(text); leave {
				return nil
			}
			continue
		}
		if err := c.answerUntilInterrupt(ctx, text); err != nil {
			fmt.Fprintf(c.status, "hearth: %v\n", err)
			if errors.Is(err, inference.ErrOverflow) {
				fmt.Fprintln(c.status, "/reset forgets the conversation.")
			}
			continue
		}
		c.warn()
	}
}

// readMessage joins lines that end in a backslash.
func readMessage(in editor) (string, error) {
	var lines []string
	prompt := "> "
	for {
		line, err := in.Prompt(prompt)
		if err != nil {
			return "", err
		}
		more, goesOn := strings.CutSuffix(line, `\`)
		lines = append(lines, more)
		if !goesOn {
			return strings.Join(lines, "\n"), nil
		}
		prompt = ". "
	}
}

// command does what a line that begins with / says; true: leave.
func (c *conversation) command(line string) (leave bool) {
	name, rest, _ := strings.Cut(line, " ")
	switch name {
	case "/exit", "/quit":
		return true
	case "/help":
		fmt.Fprint(c.out, chatHelp)
	case "/reset":
		c.reset()
		fmt.Fprintln(c.out, "(forgotten)")
	case "/system":
		c.setSystem(strings.TrimSpace(rest))
		fmt.Fprintln(c.out, "(from the next message on)")
	case "/stats":
		c.stats()
	default:
		fmt.Fprintf(c.out, "There is no command %s; /help lists them.\n", name)
	}
	return false
}

func (c *conversation) stats() {
	u := c.last
	fmt.Fprintf(c.out, "%d answers, %d tokens generated, %d of %d prompt tokens cached\n", c.turns, c.total.CompletionTokens, c.total.CachedTokens, c.total.PromptTokens)
	if c.turns == 0 {
		return
	}
	speed := "-"
	if d := u.Duration - u.TTFT; d > 0 && u.CompletionTokens > 1 {
		speed = fmt.Sprintf("%.1f", float64(u.CompletionTokens-1)/d.Seconds())
	}
	fmt.Fprintf(c.out, "last: %d tokens, first after %v, then %s tokens/s; context %d of %d\n",
		u.CompletionTokens, u.TTFT.Round(time.Millisecond), speed, u.PromptTokens+u.CompletionTokens, c.model.Info().Context)
}

// history keeps what was typed in $XDG_STATE_HOME/hearth/history. That it
// cannot be read or kept is no reason not to chat.
type history struct{ path string }

func newHistory() history {
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return history{}
		}
		state = filepath.Join(home, ".local", "state")
	}
	return history{filepath.Join(state, "hearth", "history")}
}

func (h history) load(l *liner.State) {
	f, err := os.Open(h.path)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = l.ReadHistory(f)
}

func (h history) save(l *liner.State) {
	if h.path == "" || os.MkdirAll(filepath.Dir(h.path), 0o700) != nil {
		return
	}
	f, err := os.OpenFile(h.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = l.WriteHistory(f)
}
