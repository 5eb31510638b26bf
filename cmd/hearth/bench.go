package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"hearth/internal/loadgen"
)

// benchFlags are what a person sets for hearth bench.
type benchFlags struct {
	url, model, scenario, jsonFile string
	clients, requests, maxTokens   int
	seed                           uint64
}

// newBenchCommand returns hearth bench: load on a running server, and the times
// that its clients saw.
func newBenchCommand() *cobra.Command {
	f := benchFlags{url: os.Getenv("HEARTH_URL")}
	if f.url == "" {
		f.url = "http://127.0.0.1:8080"
	}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a running server under load",
		Long: `Send streaming chat requests to a running server, Hearth or any other that speaks
OpenAI's API, and print tokens per second, the time to the first token (TTFT) and
the time between tokens (ITL) as the clients saw them; or requests for embeddings,
and print the tokens that were embedded and the time to an answer. Where answers
are JSON or tool calls it counts those that are whole and follow their schema; of
conversations it prints what was computed of the prompts, turn by turn.

The prompts are made of random words from the seed, so a new seed measures a
server that has cached nothing, and the same seed repeats the same requests.

Scenarios:
` + scenarioList(),
		Example: `  hearth bench --scenario parallel
  hearth bench --url http://127.0.0.1:9000 --scenario single --requests 20 --json run.json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runBench(cmd.Context(), f, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.url, "url", f.url, "the server to measure (also: HEARTH_URL)")
	flags.StringVar(&f.model, "model", "", "model id to ask for (default: the first that the server lists)")
	flags.StringVar(&f.scenario, "scenario", "parallel", "pattern of traffic: "+strings.Join(loadgen.Names(), ", "))
	flags.IntVar(&f.clients, "clients", 0, "clients that send at the same time (default: the scenario's)")
	flags.IntVar(&f.requests, "requests", 0, "requests of each client (default: the scenario's)")
	flags.IntVar(&f.maxTokens, "max-tokens", 0, "tokens to generate for each request (default: the scenario's)")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of the prompts (default: a random one, which is printed)")
	flags.StringVar(&f.jsonFile, "json", "", "also write every sample to this file")
	// The only error is a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("scenario", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return loadgen.Names(), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

func scenarioList() string {
	var b strings.Builder
	for _, s := range loadgen.Scenarios() {
		fmt.Fprintf(&b, "  %-20s %s\n", s.Name, s.Title)
	}
	return b.String()
}

// runBench runs one scenario; the figures go to out, what is going on to status.
func runBench(ctx context.Context, f benchFlags, out, status io.Writer) error {
	scenario, err := loadgen.Find(f.scenario)
	if err != nil {
		return usageError(fmt.Errorf("--scenario: %w", err))
	}
	if scenario, err = scenario.Resize(f.clients, f.requests, f.maxTokens); err != nil {
		return usageError(fmt.Errorf("bench: %w", err))
	}
	if !isHTTP(f.url) {
		return usageError(fmt.Errorf("--url: %q is not the address of a server: write http://host:port", f.url))
	}
	if f.seed == 0 {
		f.seed = rand.Uint64()
	}
	client := loadgen.NewHTTPClient()
	target := loadgen.Target{URL: f.url, Model: f.model}
	if err := target.Discover(ctx, client); err != nil {
		return benchFailure(err, f.url)
	}
	fmt.Fprintf(status, "%s (%s) on %s, model %s, seed %d\n", scenario.Name, scenario.Title, target.URL, target.Model, f.seed)

	bar := progressbar.NewOptions(-1,
		progressbar.OptionSetWriter(status), progressbar.OptionSetDescription("requests"),
		progressbar.OptionShowCount(), progressbar.OptionSetElapsedTime(true), progressbar.OptionClearOnFinish())
	result, err := loadgen.Run(ctx, target, scenario, loadgen.Options{Seed: f.seed, Client: client, OnProgress: func(p loadgen.Progress) {
		bar.ChangeMax(p.Total)
		_ = bar.Set(p.Done) // a bar that cannot be drawn changes no figure
	}})
	_ = bar.Finish()
	if err != nil {
		return benchFailure(err, f.url)
	}
	sum := loadgen.Summarize(result)
	printSummary(out, scenario, sum)
	if f.jsonFile == "" {
		return nil
	}
	raw, err := json.MarshalIndent(struct {
		Summary loadgen.Summary `json:"summary"`
		Run     *loadgen.Result `json:"run"`
	}{sum, result}, "", " ")
	if err != nil {
		return fmt.Errorf("bench: encode samples: %w", err)
	}
	if err := os.WriteFile(f.jsonFile, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("bench: write --json: %w", err)
	}
	return nil
}

// benchFailure says what to do about a server that nobody reaches; one that
// answers with an error has said so itself.
func benchFailure(err error, address string) error {
	var transport *url.Error
	if !errors.As(err, &transport) {
		return fmt.Errorf("bench: %w", err)
	}
	return unreachableError(fmt.Errorf("bench: %w (is a server running at %s? start one with hearth serve, or name it with --url)", err, address))
}

// printSummary writes the figures that a person reads.
func printSummary(w io.Writer, scenario loadgen.Scenario, s loadgen.Summary) {
	fmt.Fprintf(w, "requests       %d\n", s.Requests)
	if scenario.Embeds() {
		fmt.Fprintf(w, "tokens         %d embedded in %.1f s, %.1f tokens/s\n", s.Tokens, s.WindowMS/1000, s.TokensPerSecond)
		fmt.Fprintf(w, "answers after  p50 %.0f ms, p99 %.0f ms, most %.0f ms\n", s.TTFT.P50, s.TTFT.P99, s.TTFT.Max)
		return
	}
	fmt.Fprintf(w, "tokens         %d in %.1f s, %.1f tokens/s\n", s.Tokens, s.WindowMS/1000, s.TokensPerSecond)
	fmt.Fprintf(w, "prompt tokens  %d, %d of them cached\n", s.PromptTokens, s.CachedTokens)
	fmt.Fprintf(w, "TTFT           p50 %.0f ms, p99 %.0f ms, most %.0f ms\n", s.TTFT.P50, s.TTFT.P99, s.TTFT.Max)
	fmt.Fprintf(w, "ITL            p50 %.1f ms, p99 %.1f ms, most %.0f ms\n", s.ITL.P50, s.ITL.P99, s.ITL.Max)
	if scenario.Documents() {
		fmt.Fprintf(w, "documents      %d whole ones, %.2f a second\n", s.Documents, s.DocumentsPerSecond)
	}
	for i, t := range s.Turns {
		fmt.Fprintf(w, "turn %-2d        %d prompt tokens, %d new, %d cached, %d old ones computed again\n", i+1, t.PromptTokens, t.NewTokens, t.CachedTokens, t.Recomputed)
	}
	if s.Short > 0 {
		fmt.Fprintf(w, "%d answers ended before the number of tokens asked for: compare tokens/s, not times\n", s.Short)
	}
	if s.Coalesced > 0 {
		fmt.Fprintf(w, "%d tokens came together with another in one event: ITL is the time between events\n", s.Coalesced)
	}
}
