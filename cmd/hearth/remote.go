package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hearth/inference"
	"hearth/internal/batch"
)

// remote is a running server seen as inference.Models, so that a command need
// not know whether the model is in its own process.
type remote struct {
	base   string // without a slash at the end
	client *http.Client
}

var _ inference.Models = (*remote)(nil)

// maxIdleConnections is how many connections are kept for the next requests: as
// many as a batch uses at the same time.
const maxIdleConnections = batch.MaxConcurrency

// newRemote returns the server at address: http://host:port or unix:/path.
func newRemote(address string) (*remote, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: maxIdleConnections}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}
		return &remote{base: "http://localhost", client: &http.Client{Transport: transport}}, nil
	}
	if !isHTTP(address) {
		return nil, usageError(fmt.Errorf("%q is not the address of a server: write http://host:port or unix:/path", address))
	}
	return &remote{base: strings.TrimSuffix(strings.TrimSuffix(address, "/"), "/v1"), client: &http.Client{Transport: transport}}, nil
}

// isHTTP reports whether address is the URL of an HTTP server.
func isHTTP(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// isHearth asks whether a Hearth server answers there.
func (r *remote) isHearth(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var alive struct {
		Service string `json:"service"`
	}
	if err := r.call(ctx, http.MethodGet, "/healthz", nil, &alive); err != nil {
		return err
	}
	if alive.Service != "hearth" {
		return fmt.Errorf("what answers at %s is not Hearth", r.base)
	}
	return nil
}

// call sends one request with a JSON body and reads the JSON answer.
func (r *remote) call(ctx context.Context, method, path string, body, answer any) error {
	resp, err := r.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("read the answer of %s%s: %w", r.base, path, err)
	}
	return nil
}

// send returns the response if its status is 200.
func (r *remote) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, payload)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unreachableError(fmt.Errorf("the server does not answer: %w", err))
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readRemoteError(resp)
}

// maxRemoteError bounds the error text that is taken from a server.
const maxRemoteError = 64 << 10

func readRemoteError(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxRemoteError))
	if err != nil {
		return fmt.Errorf("the server answered %s: %w", resp.Status, err)
	}
	var e wireError
	if json.Unmarshal(b, &e) != nil || e.Error == nil {
		return fmt.Errorf("%w: the server answered %s", inference.ErrEngine, resp.Status)
	}
	return e.Error
}

// wireError is an error as the server writes it.
type wireError struct {
	Error *remoteError `json:"error"`
}

// remoteError is a refusal or failure that the server reports.
type remoteError struct {
	Message string  `json:"message"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
}

func (e *remoteError) Error() string {
	if e.Param != nil && *e.Param != "" && !strings.HasPrefix(e.Message, *e.Param) {
		return *e.Param + ": " + e.Message
	}
	return e.Message
}

// codes maps the codes of inference's error table back to its errors.
var codes = func() map[string]error {
	m := map[string]error{}
	for _, err := range []error{
		inference.ErrOverflow, inference.ErrUnsupported, inference.ErrInvalid, inference.ErrModelNotFound, inference.ErrBusy,
		inference.ErrLoading, inference.ErrShutdown, inference.ErrDeadline, inference.ErrCancelled, inference.ErrEngine,
		inference.ErrToolNotFound, inference.ErrApproval, inference.ErrUnavailable,
	} {
		m[inference.Classify(err).Code] = err
	}
	return m
}()

// Unwrap makes errors.Is work as if the error had come from this process.
func (e *remoteError) Unwrap() error {
	if err := codes[e.Code]; err != nil {
		return err
	}
	return inference.ErrEngine
}

// listTimeout bounds questions that no model has to think about.
const listTimeout = 10 * time.Second

// wireModel is a model as /v1/models lists it.
type wireModel struct {
	ID      string               `json:"id"`
	State   inference.ModelState `json:"state"`
	Created int64                `json:"created"`
	Details *struct {
		Context      int    `json:"context"`
		TrainContext int    `json:"train_context"`
		Sequences    int    `json:"sequences"`
		Description  string `json:"description"`
		Architecture string `json:"architecture"`
		Quantization string `json:"quantization"`
		Parameters   uint64 `json:"parameters"`
		FileBytes    int64  `json:"file_bytes"`
		Vocabulary   int    `json:"vocabulary"`
		Chat         bool   `json:"chat"`
		NativeTools  bool   `json:"native_tools"`

		PrefixSharing bool   `json:"prefix_sharing"`
		WhyNotShared  string `json:"not_shared_because"`
		WhyNotStored  string `json:"not_stored_because"`

		Generates *bool          `json:"generates"`
		Embedding *wireEmbedding `json:"embedding"`
		Rerank    *wireRerank    `json:"rerank"`

		Lora []struct {
			Name  string  `json:"name"`
			Scale float32 `json:"scale"`
			Bytes int64   `json:"bytes"`
		} `json:"lora"`
	} `json:"details"`
}

func (m *wireModel) status() inference.ModelStatus {
	s := inference.ModelStatus{State: m.State, Info: inference.ModelInfo{ID: m.ID, Defaults: inference.DefaultSampling()}}
	if d := m.Details; d != nil {
		s.Info.Context, s.Info.TrainContext, s.Info.Sequences = d.Context, d.TrainContext, d.Sequences
		s.Info.Description, s.Info.Architecture, s.Info.Quantization = d.Description, d.Architecture, d.Quantization
		s.Info.Params, s.Info.FileBytes, s.Info.Vocabulary = d.Parameters, d.FileBytes, d.Vocabulary
		s.Info.ChatTemplate, s.Info.TemplateTools = d.Chat, d.NativeTools
		s.Info.PrefixSharing, s.Info.WhyNotShared, s.Info.WhyNotStored = d.PrefixSharing, d.WhyNotShared, d.WhyNotStored
		s.Info.EmbeddingOnly = d.Generates != nil && !*d.Generates
		if e := d.Embedding; e != nil {
			s.Info.Embedding = inference.EmbeddingInfo{Width: e.Dimensions, MaxTokens: e.MaxTokens, Pooling: e.Pooling}
		}
		if k := d.Rerank; k != nil {
			s.Info.Rerank = inference.RerankInfo{MaxTokens: k.MaxTokens}
		}
		for _, a := range d.Lora {
			s.Info.Adapters = append(s.Info.Adapters, inference.AdapterInfo{Name: a.Name, Scale: a.Scale, Bytes: a.Bytes})
		}
		s.Info.LoadedAt = time.Unix(m.Created, 0)
	}
	return s
}

func (r *remote) list(ctx context.Context) ([]inference.ModelStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var answer struct {
		Data []wireModel `json:"data"`
	}
	if err := r.call(ctx, http.MethodGet, "/v1/models", nil, &answer); err != nil {
		return nil, err
	}
	all := make([]inference.ModelStatus, len(answer.Data))
	for i := range answer.Data {
		all[i] = answer.Data[i].status()
	}
	return all, nil
}

// List returns the server's models, none if it does not answer.
func (r *remote) List() []inference.ModelStatus {
	all, err := r.list(context.Background())
	if err != nil {
		return nil
	}
	return all
}

// Acquire returns the server's model of that id. The lease holds nothing: the
// server leases for each request.
func (r *remote) Acquire(ctx context.Context, id string) (inference.Lease, error) {
	all, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	missing := &inference.ModelError{ID: id}
	for _, s := range all {
		if s.Info.ID != id && id != "" {
			missing.Served = append(missing.Served, s.Info.ID)
			continue
		}
		switch s.State {
		case inference.ModelLoading:
			return nil, &inference.RetryError{Err: inference.ErrLoading, After: 2 * time.Second}
		case inference.ModelFailed:
			return nil, fmt.Errorf("%w: the server could not load the model %q; its log says why", inference.ErrEngine, s.Info.ID)
		}
		return &remoteModel{remote: r, info: s.Info}, nil
	}
	return nil, missing
}

// remoteModel is one model of the server.
type remoteModel struct {
	*remote
	info inference.ModelInfo
}

// Release does nothing: there is nothing to give back.
func (m *remoteModel) Release() {}

// Info describes the model as the server does.
func (m *remoteModel) Info() inference.ModelInfo { return m.info }

// tokenTimeout bounds tokenization.
const tokenTimeout = time.Minute

// Tokenize asks the server.
func (m *remoteModel) Tokenize(text string, o inference.TokenizeOptions) ([]int32, error) {
	var answer struct {
		Tokens []int32 `json:"tokens"`
	}
	err := m.quick("/v1/tokenize", map[string]any{"model": m.info.ID, "text": text, "add_special": o.AddSpecial, "parse_special": o.ParseSpecial}, &answer)
	return answer.Tokens, err
}

// Detokenize asks the server.
func (m *remoteModel) Detokenize(tokens []int32) (string, error) {
	var answer struct {
		Text string `json:"text"`
	}
	err := m.quick("/v1/detokenize", map[string]any{"model": m.info.ID, "tokens": tokens}, &answer)
	return answer.Text, err
}

// CountChat asks the server.
func (m *remoteModel) CountChat(req *inference.ChatRequest) (int, error) {
	var answer struct {
		Count int `json:"count"`
	}
	err := m.quick("/v1/count_tokens", m.chatBody(req), &answer)
	return answer.Count, err
}

func (m *remoteModel) quick(path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(context.Background(), tokenTimeout)
	defer cancel()
	return m.call(ctx, http.MethodPost, path, body, answer)
}
