package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func main() {
	runtime.LockOSThread() // the servers end with the thread that starts them
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "evaltools:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	hearth, llama, model string
	threads              int
	verbose              bool
}

// atOnce is how many questions are asked at the same time.
const atOnce = 4

// modes are the values of tool_choice that are asked with.
var modes = []string{"auto", "required"}

func run(ctx context.Context, args []string, out, messages io.Writer) error {
	var s settings
	set := flag.NewFlagSet("evaltools", flag.ContinueOnError)
	set.SetOutput(messages)
	set.StringVar(&s.hearth, "hearth", filepath.Join("build", "out", "bin", "hearth"), "the program of Hearth")
	set.StringVar(&s.llama, "llama-server", filepath.Join("build", "out", "yardsticks", "llama-server"), "the program to compare with")
	set.StringVar(&s.model, "model", "", "a GGUF file whose template has tools")
	set.IntVar(&s.threads, "threads", runtime.NumCPU(), "threads of each server")
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
	url, stop, err := s.start(ctx, system)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
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
				if answers[i], err = ask(ctx, url, all[i].text, mode); err != nil {
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

// start runs a server and waits until it answers. Its output goes to a file that
// lasts only if it fails.
func (s *settings) start(ctx context.Context, system string) (url string, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("find a free port: %w", err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	threads := strconv.Itoa(s.threads)
	argv := []string{s.hearth, "serve", "--model", s.model, "--listen", "127.0.0.1:" + port, "--context", "8192", "--sequences", strconv.Itoa(atOnce), "--threads", threads}
	if system == "llama-server" {
		argv = []string{s.llama, "-m", s.model, "--host", "127.0.0.1", "--port", port, "-c", "8192", "-np", strconv.Itoa(atOnce), "-t", threads, "--jinja"}
	}
	var log bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = func() error {
		// A process that is gone already is what is wanted.
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
			return nil
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			return fmt.Errorf("%s did not end when it was told to", argv[0])
		}
	}
	url = "http://127.0.0.1:" + port
	health := url + "/health"
	if system == "hearth" {
		health = url + "/readyz"
	}
	for {
		select {
		case err := <-ended:
			return "", nil, fmt.Errorf("%s ended: %w\n%s", argv[0], err, log.String())
		case <-ctx.Done():
			return "", nil, errors.Join(ctx.Err(), stop())
		case <-time.After(100 * time.Millisecond):
		}
		if r, err := http.Get(health); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return url, stop, nil
			}
		}
	}
}

// answer is what a server says to one question.
type answer struct {
	Content   string `json:"content"`
	ToolCalls []call `json:"tool_calls"`
}

// ask puts one question.
func ask(ctx context.Context, url, text, mode string) (answer, error) {
	var none answer
	body, err := json.Marshal(map[string]any{
		"messages": []map[string]string{{"role": "user", "content": text}}, "tools": tools, "tool_choice": mode,
		"temperature": 0, "max_tokens": 100, "parallel_tool_calls": false,
	})
	if err != nil {
		return none, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return none, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return none, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		return none, err
	}
	var a struct {
		Choices []struct {
			Message answer `json:"message"`
		} `json:"choices"`
	}
	if resp.StatusCode != http.StatusOK {
		// llama-server fails where its parser finds no call: an answer like another
		if mode == "required" && resp.StatusCode == http.StatusInternalServerError {
			return answer{Content: string(reply)}, nil
		}
		return none, fmt.Errorf("status %d: %s", resp.StatusCode, reply)
	}
	if err := json.Unmarshal(reply, &a); err != nil || len(a.Choices) != 1 {
		return none, fmt.Errorf("no answer with one choice: %w: %s", err, reply)
	}
	return a.Choices[0].Message, nil
}
