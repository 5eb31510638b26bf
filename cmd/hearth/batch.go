package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"hearth/internal/batch"
)

// batchFlags are what a person sets for hearth batch.
type batchFlags struct {
	output, errors       string
	concurrency, retries int
}

func newBatchCommand() *cobra.Command {
	var f batchFlags
	cmd := &cobra.Command{
		Use:   "batch INPUT -o OUTPUT",
		Short: "Answer the requests of a file, and go on where it was interrupted",
		Long: `Send the requests of INPUT, a file in OpenAI's batch format, and write a line for
each answer to OUTPUT, in the order in which they come. A line of INPUT is

  {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {…}}

with a custom_id of its own and one of these urls: ` + strings.Join(batch.URLs(), ", ") + `.
All lines are checked before anything is sent.

The same command again goes on where it was interrupted, also after kill -9: what
has a line in OUTPUT or in the file of the failed requests is not asked again.
To ask the failed ones again, delete that file.

Requests have low priority on the server (service_tier "flex"), unless their body
names another tier. Those that the server refuses for a while (429, 503) are sent
again.

` + sourceHelp,
		Example: `  hearth batch questions.jsonl -o answers.jsonl
  hearth batch questions.jsonl -o answers.jsonl --concurrency 2 --url http://127.0.0.1:8080`,
		Args: usageArgs(cobra.ExactArgs(1)),
	}
	from := addSourceFlags(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "", "file for the answers (required)")
	flags.StringVar(&f.errors, "errors", "", "file for the failed requests, made when there is one (default: OUTPUT with .errors before its extension)")
	flags.IntVar(&f.concurrency, "concurrency", 0, fmt.Sprintf("requests under way at the same time, up to %d (default: as many as the server computes)", batch.MaxConcurrency))
	flags.IntVar(&f.retries, "retries", batch.DefaultRetries, "how often one request is sent again that the server refuses with 429 or 503")
	_ = cmd.MarkFlagFilename("output", "jsonl") // the flags exist
	_ = cmd.MarkFlagFilename("errors", "jsonl")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.run(cmd, from, args[0]) }
	return cmd
}

// check completes the flags and refuses what is out of its range.
func (f *batchFlags) check() error {
	if f.output == "" {
		return usageError(errors.New("--output: the name of a file is needed"))
	}
	if f.errors == "" {
		ext := filepath.Ext(f.output)
		f.errors = strings.TrimSuffix(f.output, ext) + ".errors" + ext
	}
	if f.concurrency < 0 || f.concurrency > batch.MaxConcurrency {
		return usageError(fmt.Errorf("--concurrency: must be between 1 and %d, or 0 for as many as the server computes, got %d", batch.MaxConcurrency, f.concurrency))
	}
	if f.retries < 0 {
		return usageError(fmt.Errorf("--retries: must be 0 or more, got %d", f.retries))
	}
	return nil
}

// run answers the requests of one file. A signal ends it, with what was answered
// until then on disk.
func (f *batchFlags) run(cmd *cobra.Command, from *sourceFlags, input string) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	in, err := batch.OpenInput(ctx, input)
	if err != nil {
		return interrupted(ctx, usageError(err))
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	results, err := batch.OpenResults(in, f.output, f.errors)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, results.Close()) }()

	before := in.Done()
	if before == in.Total() {
		fmt.Fprintf(cmd.OutOrStdout(), "all %d requests have been answered by earlier runs\n", before)
		return f.outcome(results.Failed(), in.Total())
	}
	server, err := from.batchServer(ctx, cmd)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, server.close()) }()
	sum, progress, err := f.send(ctx, cmd.ErrOrStderr(), server, in, results)
	printBatch(cmd.OutOrStdout(), before, progress, sum)
	if err == nil {
		return f.outcome(progress.Failed, progress.Total)
	}
	if left := progress.Total - progress.Done; left > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d of %d requests are not answered yet: run the same command again to go on with them\n", left, progress.Total)
	}
	if errors.Is(err, batch.ErrUnreachable) {
		return unreachableError(err)
	}
	return interrupted(ctx, err)
}

// send runs the batch and shows how far it is.
func (f *batchFlags) send(ctx context.Context, status io.Writer, server *batchServer, in *batch.Input, results *batch.Results) (batch.Summary, batch.Progress, error) {
	m, err := server.acquire(ctx, status)
	if err != nil {
		return batch.Summary{}, batch.Progress{Done: in.Done(), Failed: results.Failed(), Total: in.Total()}, err
	}
	concurrency := f.concurrency
	if concurrency == 0 {
		concurrency = max(m.Info().Sequences, 1)
	}
	m.Release()
	fmt.Fprintf(status, "%d of %d requests to answer, %d at the same time, on %s\n", in.Total()-in.Done(), in.Total(), concurrency, server.where)
	bar := newMeter(status, isTerminal(status), "batch")
	defer bar.finish()
	var last batch.Progress
	var lost sync.Once
	sum, err := batch.Run(ctx, in, results, batch.Options{
		Client: server.remote.client, Base: server.remote.base, Model: server.id,
		Concurrency: concurrency, Retries: f.retries,
		OnLost: func(err error) {
			lost.Do(func() { fmt.Fprintf(status, "the server is gone, trying again for some minutes: %v\n", err) })
		},
		OnProgress: func(p batch.Progress) {
			last = p
			bar.say(fmt.Sprintf("%d of %d requests, %d failed", p.Done, p.Total, p.Failed))
			bar.set(p.Done, p.Total)
		},
	})
	return sum, last, err
}

// outcome is the end of a batch that is done.
func (f *batchFlags) outcome(failed, total int) error {
	if failed == 0 {
		return nil
	}
	return partialError(fmt.Errorf("%d of %d requests failed; %s says why. Delete that file and run the command again to ask them once more", failed, total, f.errors))
}

// printBatch writes the figures that a person reads.
func printBatch(w io.Writer, before int, p batch.Progress, s batch.Summary) {
	fmt.Fprintf(w, "requests       %d answered, %d failed, %d by earlier runs, of %d\n", s.Answered, s.Failed, before, p.Total)
	speed := 0.0
	if s.Elapsed > 0 {
		speed = float64(s.CompletionTokens) / s.Elapsed.Seconds()
	}
	fmt.Fprintf(w, "tokens         %d in %.1f s, %.1f tokens/s\n", s.CompletionTokens, s.Elapsed.Seconds(), speed)
	fmt.Fprintf(w, "prompt tokens  %d, %d of them cached\n", s.PromptTokens, s.CachedTokens)
}

// batchServer is the server that answers a batch: a running one, or one in this
// process that nobody else can reach. Either is asked over HTTP.
type batchServer struct {
	source
	remote *remote
}

// batchServer finds the server, or starts one. The caller closes it.
func (f *sourceFlags) batchServer(ctx context.Context, cmd *cobra.Command) (*batchServer, error) {
	server, cfg, here, err := f.find(ctx, cmd)
	if err != nil {
		return nil, err
	}
	if server == nil {
		return startPrivate(ctx, here, cmd.ErrOrStderr())
	}
	id, by := f.modelOfServer()
	return &batchServer{source{models: server, id: id, by: by, where: server.base, cfg: cfg, close: func() error { return nil }}, server}, nil
}
