package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"hearth/inference"
)

func newChatCommand() *cobra.Command {
	var system string
	var noReasoning bool
	cmd := &cobra.Command{
		Use:   "chat [MESSAGE]",
		Short: "Talk to a model in the terminal",
		Long: `Talk to a model. On a terminal this is a conversation with line editing and
history; Ctrl-C stops an answer, Ctrl-D or /exit ends it. /help lists the commands.
From three quarters of the context on it says after every answer how much is left.

With a MESSAGE, or with standard input that is not a terminal (all of it is the
message), one answer is printed and nothing else.

` + sourceHelp,
		Example: `  hearth chat
  hearth chat "What is the capital of Peru?"
  git diff | hearth chat --system "Summarize this change in one sentence."
  hearth chat --grammar-file yes-or-no.gbnf "Is Lima the capital of Peru?"
  hearth chat --model model.gguf --temperature 0`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
	}
	from := addSourceFlags(cmd)
	sampling := addSamplingFlags(cmd)
	askWithLora(cmd, from)
	cmd.Flags().StringVar(&system, "system", "", "system message")
	cmd.Flags().BoolVar(&noReasoning, "no-reasoning", false, "ask the model not to think before it answers")
	grammarFile := addGrammarFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		interactive := len(args) == 0 && isTerminal(cmd.InOrStdin()) && isTerminal(cmd.OutOrStdout())
		var message string
		if !interactive {
			var err error
			if message, err = promptFrom(cmd.InOrStdin(), args); err != nil {
				return err
			}
			if strings.TrimSpace(message) == "" {
				return usageError(errors.New("the message is empty"))
			}
		}
		grammar, err := readGrammar(*grammarFile)
		if err != nil {
			return err
		}
		return from.ask(cmd, func(ctx context.Context, src *source, m inference.Model) error {
			o, err := from.options(cmd, sampling, m)
			if err != nil {
				return err
			}
			o.Grammar = grammar
			c := &conversation{model: m, options: o, noReasoning: noReasoning, out: cmd.OutOrStdout(), status: cmd.ErrOrStderr()}
			c.setSystem(system)
			if !interactive {
				return c.answer(ctx, message)
			}
			src.leaveSignals() // from here on Ctrl-C is the conversation's
			return c.talk(cmd.Context(), src.where)
		})
	}
	return cmd
}

// conversation is a chat with its history.
type conversation struct {
	model       inference.Model
	options     inference.Options
	noReasoning bool
	out, status io.Writer
	// color wraps the model's thinking on a terminal.
	color bool

	messages []inference.Message
	last     inference.Usage
	total    inference.Usage
	turns    int
}

// setSystem replaces the system message; empty: none.
func (c *conversation) setSystem(text string) {
	if len(c.messages) > 0 && c.messages[0].Role == inference.RoleSystem {
		c.messages = c.messages[1:]
	}
	if text != "" {
		c.messages = append([]inference.Message{{Role: inference.RoleSystem, Content: text}}, c.messages...)
	}
}

// reset forgets everything but the system message.
func (c *conversation) reset() {
	if len(c.messages) > 0 && c.messages[0].Role == inference.RoleSystem {
		c.messages = c.messages[:1]
		return
	}
	c.messages = nil
}

// answer sends a message and prints the answer. Both become a part of the
// conversation; an answer that was stopped does too, with what there was of it.
func (c *conversation) answer(ctx context.Context, message string) error {
	messages := append(c.messages[:len(c.messages):len(c.messages)], inference.Message{Role: inference.RoleUser, Content: message})
	s, err := c.model.Chat(ctx, &inference.ChatRequest{Options: c.options, Messages: messages, NoReasoning: c.noReasoning})
	if err != nil {
		return err
	}
	defer s.Close()
	p := &printer{out: c.out, status: c.status}
	thinking := false
	if c.color {
		p.reasoning = func(text string) {
			if !thinking {
				thinking = true
				fmt.Fprint(c.out, "\x1b[2m")
			}
			fmt.Fprint(c.out, text)
		}
		p.content = func() {
			if thinking {
				thinking = false
				fmt.Fprint(c.out, "\x1b[0m\n")
			}
		}
	}
	text, err := p.print(ctx, s)
	if p.content != nil {
		p.content()
	}
	if err != nil && text == "" {
		return err
	}
	c.messages = append(messages, inference.Message{Role: inference.RoleAssistant, Content: text})
	c.note(p.usage)
	if p.cut && err == nil {
		fmt.Fprintln(c.status, "(the answer reached its length limit: --max-tokens, or the context is full: /reset starts anew)")
	}
	return err
}

// warnAt is the part of the context, in percent, from which on the user is told
// after every answer how little is left.
const warnAt = 75

// warn says before the context is full that it will be: the next message, and
// the answer to it, must fit into what is left.
func (c *conversation) warn() {
	u := c.last
	used, all := u.PromptTokens+u.CompletionTokens, c.model.Info().Context
	if all <= 0 || used*100 < all*warnAt {
		return
	}
	fmt.Fprintf(c.status, "(the conversation takes %d of %d tokens of the context, and %d are left: /reset starts anew)\n", used, all, max(all-used, 0))
}

func (c *conversation) note(u inference.Usage) {
	c.turns++
	c.last = u
	c.total.PromptTokens += u.PromptTokens
	c.total.CachedTokens += u.CachedTokens
	c.total.CompletionTokens += u.CompletionTokens
}

// answerUntilInterrupt is answer with a context that Ctrl-C ends.
func (c *conversation) answerUntilInterrupt(ctx context.Context, message string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	err := c.answer(ctx, message)
	if err != nil && ctx.Err() != nil {
		fmt.Fprintln(c.out, "\n(stopped)")
		return nil
	}
	return err
}
