package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/go-chi/chi/v5"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"hearth/inference"
	"hearth/internal/audit"
	"hearth/internal/telemetry"
	"hearth/mcpserver/router"
	"hearth/mcpserver/toolsapi"
)

func newToolsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tools",
		Short: "List and call the tools of connectors",
		Long: `List and call the tools that the configured connectors offer. They are those of a
running server when there is one: --url, HEARTH_URL, or the address in the
configuration. Otherwise the connectors are started in this process.`,
		Args: usageArgs(cobra.NoArgs),
	}
	cmd.AddCommand(newToolsListCommand(), newToolsCallCommand(), newToolsLoginCommand(), newToolsPendingCommand(), newToolsApproveCommand())
	return cmd
}

// serverFlag adds --url to a command that asks a server for no model.
func serverFlag(cmd *cobra.Command) *sourceFlags {
	f := &sourceFlags{loadFlags: &loadFlags{}}
	cmd.Flags().StringVar(&f.url, "url", "", "running server, such as http://127.0.0.1:8080 (also: HEARTH_URL; default: the configured address, if a server is there)")
	return f
}

func newToolsListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tools, in the order in which models and clients see them",
		Example: `  hearth tools list
  hearth tools list --json`,
		Args: usageArgs(cobra.NoArgs),
	}
	from := serverFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything that is known of each tool")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return from.tools(cmd, http.MethodGet, "/v1/tools", nil, func(list []byte) error {
			return writeTools(cmd.OutOrStdout(), list, asJSON)
		})
	}
	return cmd
}

func writeTools(w io.Writer, answer []byte, asJSON bool) error {
	var list toolsapi.List
	if err := json.Unmarshal(answer, &list); err != nil {
		return fmt.Errorf("read the list of tools: %w", err)
	}
	if asJSON {
		return writeIndented(w, list.Tools)
	}
	if len(list.Tools) == 0 {
		fmt.Fprintln(w, "There are no tools: configure connectors.")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, one := range list.Tools {
		first, _, _ := strings.Cut(one.Description, "\n")
		fmt.Fprintf(t, "%s\t%s\t%s\n", one.Name, effects(one.Effects), first)
	}
	return t.Flush()
}

// effects says in a word what a tool does.
func effects(e toolsapi.Effects) string {
	what := "reads"
	switch {
	case e.Destroys:
		what = "destroys"
	case e.Writes:
		what = "writes"
	}
	if e.Outside {
		what += ", outside"
	}
	return what
}

func writeIndented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newToolsCallCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "call NAME [ARGUMENTS]",
		Short: "Call a tool",
		Long: `Call the tool NAME with ARGUMENTS, a JSON object, and print the text of its result.
@FILE reads the arguments from a file, - from standard input. The exit code is 1 if
the tool could not do it, or if the call needs an approval, whose id is printed.`,
		Example: `  hearth tools call docs__search '{"text": "invoice"}'
  hearth tools call shop__query @question.json --json`,
		Args: usageArgs(cobra.RangeArgs(1, 2)),
	}
	from := serverFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the whole result as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		arguments := []byte("{}")
		if len(args) == 2 {
			var err error
			if arguments, err = readArguments(args[1], cmd.InOrStdin()); err != nil {
				return err
			}
		}
		return from.tools(cmd, http.MethodPost, "/v1/tools/"+url.PathEscape(args[0]), arguments, func(result []byte) error {
			return writeResult(cmd.OutOrStdout(), result, asJSON)
		})
	}
	return cmd
}

func readArguments(given string, in io.Reader) (data []byte, err error) {
	name, file := strings.CutPrefix(given, "@")
	switch {
	case given == "-":
		data, err = io.ReadAll(io.LimitReader(in, maxInput+1))
	case file:
		data, err = os.ReadFile(name)
	default:
		data = []byte(given)
	}
	if err != nil {
		return nil, usageError(fmt.Errorf("read the arguments: %w", err))
	}
	if !json.Valid(data) || bytes.TrimSpace(data)[0] != '{' {
		return nil, usageError(errors.New(`the arguments must be one JSON object, such as '{"query": "rain"}'`))
	}
	return data, nil
}

func writeResult(w io.Writer, answer []byte, asJSON bool) error {
	var r toolsapi.Result
	if err := json.Unmarshal(answer, &r); err != nil {
		return fmt.Errorf("read the result: %w", err)
	}
	if asJSON {
		if err := writeIndented(w, r); err != nil {
			return err
		}
	} else {
		for _, c := range r.Content {
			switch {
			case c.Text != "":
				fmt.Fprintln(w, strings.TrimRight(c.Text, "\n"))
			case c.URI != "":
				fmt.Fprintf(w, "[%s]\n", c.URI)
			default:
				fmt.Fprintf(w, "[%s, %d bytes]\n", c.MIME, len(c.Data))
			}
		}
		if len(r.Content) == 0 && r.Structured != nil {
			fmt.Fprintf(w, "%s\n", r.Structured)
		}
	}
	if r.IsError {
		return errors.New("the tool could not do it")
	}
	return nil
}

// tools asks for one of the routes of tools: a running server's, or, where there is
// none, those of connectors that are started in this process for it.
func (f *sourceFlags) tools(cmd *cobra.Command, method, path string, body []byte, use func(answer []byte) error) error {
	return f.route(cmd, method, path, body, func(ctx context.Context, cfg *Config) ([]byte, error) {
		return toolsHere(ctx, cfg, method, path, body, cmd.ErrOrStderr())
	}, use)
}

// route asks a running server, or here where there is none.
func (f *sourceFlags) route(cmd *cobra.Command, method, path string, body []byte, here func(context.Context, *Config) ([]byte, error), use func(answer []byte) error) error {
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	cfg, _, err := loadConfig(configFlag(cmd))
	if err != nil {
		return err
	}
	server, err := f.server(ctx, &cfg)
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if server == nil {
		answer, err = here(ctx, &cfg)
	} else {
		var payload any
		if body != nil {
			payload = json.RawMessage(body)
		}
		err = server.call(ctx, method, path, payload, &answer)
	}
	if err != nil {
		return interrupted(ctx, err)
	}
	return use(answer)
}

// toolsHere does in this process what a server would.
func toolsHere(ctx context.Context, cfg *Config, method, path string, body []byte, errOut io.Writer) (answer []byte, err error) {
	quiet := cfg.Telemetry
	quiet.LogLevel = "warn"
	log := telemetry.NewLogger(quiet, errOut, isTerminal(errOut))
	records := log
	if cfg.Audit.File == "" {
		records = zerolog.Nop() // who asks sits at this terminal and sees what is done
	}
	sink, err := audit.Open(cfg.Audit, records)
	if err != nil {
		return nil, configError(err)
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	r, err := newRouter(ctx, cfg, nil, sink, telemetry.NewMetrics(version), log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeRouter(ctx, r)) }()
	_ = r.AwaitLists(ctx) // the log has what a connector could not learn, within its own time for it
	return askHere(ctx, r, method, path, body)
}

// maxHere bounds the arguments of a call in this process.
const maxHere = 16 << 20

// askHere asks the routes of tools without a network.
func askHere(ctx context.Context, r *router.Router, method, path string, body []byte) ([]byte, error) {
	ctx = inference.WithCaller(ctx, inference.DefaultCaller)
	routes := chi.NewRouter()
	(&toolsapi.API{Config: toolsapi.Config{
		Router: r, Log: zerolog.Nop(), MaxBodyBytes: maxHere,
		RequestID: func(*http.Request) string { return "command" },
		Via:       func(*http.Request) string { return "hearth tools" },
	}}).Routes(routes)
	req, err := http.NewRequestWithContext(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	w := &localAnswer{header: http.Header{}}
	routes.ServeHTTP(w, req)
	if w.status == http.StatusOK {
		return w.body.Bytes(), nil
	}
	var e wireError
	if json.Unmarshal(w.body.Bytes(), &e) != nil || e.Error == nil {
		return nil, fmt.Errorf("%w: status %d", inference.ErrEngine, w.status)
	}
	return nil, e.Error
}

// localAnswer is a response that stays in this process.
type localAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *localAnswer) Header() http.Header         { return w.header }
func (w *localAnswer) Write(p []byte) (int, error) { return w.body.Write(p) }
func (w *localAnswer) WriteHeader(status int)      { w.status = status }

func newApprovalsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "approvals",
		Short: "See and decide calls of tools that wait for a person",
		Long: `Calls that change something, and that the configuration does not allow, wait for a
person's approval at the server. An approval is for that very call, by that caller,
once: other arguments need another one.`,
		Args: usageArgs(cobra.NoArgs),
	}
	list := &cobra.Command{Use: "list", Short: "List the calls that wait", Args: usageArgs(cobra.NoArgs)}
	from := serverFlag(list)
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		return from.atServer(cmd, http.MethodGet, "/v1/approvals", nil, func(answer []byte) error {
			return writeApprovals(cmd.OutOrStdout(), answer)
		})
	}
	cmd.AddCommand(list)
	for _, d := range []struct {
		name, short string
		approve     bool
	}{{"approve", "Let a call through, once", true}, {"deny", "Refuse a call", false}} {
		one := &cobra.Command{Use: d.name + " ID", Short: d.short, Args: usageArgs(cobra.ExactArgs(1))}
		from := serverFlag(one)
		one.RunE = func(cmd *cobra.Command, args []string) error {
			body := fmt.Appendf(nil, `{"approve":%t}`, d.approve)
			return from.atServer(cmd, http.MethodPost, "/v1/approvals/"+url.PathEscape(args[0]), body, func(answer []byte) error {
				var a toolsapi.Approval
				if err := json.Unmarshal(answer, &a); err != nil {
					return fmt.Errorf("read the answer: %w", err)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", a.Tool, a.State)
				return nil
			})
		}
		cmd.AddCommand(one)
	}
	return cmd
}

// atServer is tools for what only a running server has.
func (f *sourceFlags) atServer(cmd *cobra.Command, method, path string, body []byte, use func(answer []byte) error) error {
	return f.route(cmd, method, path, body, func(context.Context, *Config) ([]byte, error) {
		return nil, unreachableError(errors.New("no server answers: approvals live in the server that asks for them; name it by --url or HEARTH_URL"))
	}, use)
}

func writeApprovals(w io.Writer, answer []byte) error {
	var all toolsapi.Approvals
	if err := json.Unmarshal(answer, &all); err != nil {
		return fmt.Errorf("read the approvals: %w", err)
	}
	if len(all.Approvals) == 0 {
		fmt.Fprintln(w, "No call waits.")
		return nil
	}
	for _, a := range all.Approvals {
		fmt.Fprintf(w, "%s  %s  %s by %s, until %s\n    %s\n    because %s\n", a.ID, a.State, a.Tool, a.Principal, a.Until.Format("15:04:05"), a.Arguments, a.Why)
	}
	return nil
}
