package subject

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

const (
	// pollEvery is how often a server that starts is asked whether it is ready.
	pollEvery = 100 * time.Millisecond
	// patience is how long a server that was told to end may take.
	patience = 20 * time.Second
)

// Server is a program that was started.
type Server struct {
	// URL is where it listens, without a path.
	URL string

	name   string
	cmd    *exec.Cmd
	log    bytes.Buffer
	ended  chan struct{}
	result error // of the program, once ended is closed
}

// StatusError is an answer that is not 200.
type StatusError struct {
	Status int
	Body   string
}

func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %s", e.Status, e.Body) }

// Start runs the program that argv makes of a free port of 127.0.0.1, and returns
// when GET health is answered with 200. An error holds what the program said.
func Start(ctx context.Context, health string, argv func(port string) []string) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	args := argv(port)
	s := &Server{URL: "http://127.0.0.1:" + port, name: args[0], cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.name, err)
	}
	go func() {
		s.result = s.cmd.Wait()
		close(s.ended)
	}()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		select {
		case <-s.ended:
			return nil, fmt.Errorf("%s ended before it was ready: %v\n%s", s.name, s.result, s.log.String())
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), s.Stop())
		case <-poll.C:
		}
		if r, err := http.Get(s.URL + health); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return s, nil
			}
		}
	}
}

// PID is the program's process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop tells the program to end and waits for it. One that had ended by itself is
// an error.
func (s *Server) Stop() error {
	select {
	case <-s.ended:
		return fmt.Errorf("%s ended before it was told to: %v\n%s", s.name, s.result, s.log.String())
	default:
	}
	// Where it ends at this very moment there is nobody left to tell.
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
		return nil
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.ended
		return fmt.Errorf("%s did not end in %s when it was told to", s.name, patience)
	}
}

// Post sends body as JSON to path and returns the reply to it, which the caller
// closes. A status other than 200 is a *StatusError.
func (s *Server) Post(ctx context.Context, path string, body any) (io.ReadCloser, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("write a request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+path, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("write a request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	reply, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	return nil, errors.Join(&StatusError{Status: resp.StatusCode, Body: string(reply)}, err)
}

// Chat sends body to /v1/chat/completions, and reads the message of the only
// choice of the answer into message. It returns the tokens of the answer.
func (s *Server) Chat(ctx context.Context, body, message any) (tokens int, err error) {
	reply, err := s.Post(ctx, "/v1/chat/completions", body)
	if err != nil {
		return 0, err
	}
	defer reply.Close()
	text, err := io.ReadAll(reply)
	if err != nil {
		return 0, fmt.Errorf("read an answer: %w", err)
	}
	var a struct {
		Choices []struct {
			Message json.RawMessage `json:"message"`
		} `json:"choices"`
		Usage struct {
			Completion int `json:"completion_tokens"`
		} `json:"usage"`
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return 0, fmt.Errorf("read an answer: %w: %s", err, text)
	}
	if len(a.Choices) != 1 {
		return 0, fmt.Errorf("read an answer: it has %d choices, not one: %s", len(a.Choices), text)
	}
	if err := json.Unmarshal(a.Choices[0].Message, message); err != nil {
		return 0, fmt.Errorf("read an answer: %w: %s", err, text)
	}
	return a.Usage.Completion, nil
}
