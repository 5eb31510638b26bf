package mcpserver

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// anyClient is what the test asks of an SDK.
type anyClient interface {
	version() string
	tools(t *testing.T) []string
	// chat asks with a progress token; told gets what the notifications say.
	chat(ctx context.Context, prompt string) (text string, err error)
	told() string
	read(t *testing.T, uri string) string
	close(t *testing.T)
}

// transcript joins the messages of progress notifications.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (n *transcript) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text.WriteString(s)
}

func (n *transcript) told() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// sdkClient is the official Go SDK.
type sdkClient struct {
	transcript
	session *sdk.ClientSession
}

func newSDKClient(t *testing.T, tr sdk.Transport, version string) anyClient {
	t.Helper()
	c := &sdkClient{}
	inner := sdk.NewClient(&sdk.Implementation{Name: "t", Version: "1"}, &sdk.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) { c.add(r.Params.Message) },
		ToolListChangedHandler:      func(context.Context, *sdk.ToolListChangedRequest) {},
		ResourceListChangedHandler:  func(context.Context, *sdk.ResourceListChangedRequest) {},
	})
	var err error
	if c.session, err = inner.Connect(context.Background(), tr, &sdk.ClientSessionOptions{ProtocolVersion: version}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *sdkClient) version() string { return c.session.InitializeResult().ProtocolVersion }

func (c *sdkClient) tools(t *testing.T) (names []string) {
	list, err := c.session.ListTools(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	return names
}

func (c *sdkClient) chat(ctx context.Context, prompt string) (string, error) {
	p := &sdk.CallToolParams{Name: "chat", Arguments: map[string]any{"prompt": prompt}}
	p.SetProgressToken("tok")
	r, err := c.session.CallTool(ctx, p)
	if err != nil {
		return "", err
	}
	return r.Content[0].(*sdk.TextContent).Text, nil
}

func (c *sdkClient) read(t *testing.T, uri string) string {
	r, err := c.session.ReadResource(context.Background(), &sdk.ReadResourceParams{URI: uri})
	if err != nil {
		t.Fatal(err)
	}
	return r.Contents[0].Text
}

func (c *sdkClient) close(t *testing.T) {
	if err := c.session.Close(); err != nil {
		t.Error(err)
	}
}

// goClient is mcp-go's own client.
type goClient struct {
	transcript
	inner *client.Client
}

func newGoClient(t *testing.T, tr transport.Interface, version string) anyClient {
	t.Helper()
	c := &goClient{inner: client.NewClient(tr, client.WithProtocolVersion(version))}
	c.inner.OnNotification(func(n mcp.JSONRPCNotification) {
		if text, ok := n.Params.AdditionalFields["message"].(string); ok && n.Method == "notifications/progress" {
			c.add(text)
		}
	})
	if err := c.inner.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	var request mcp.InitializeRequest
	request.Params.ProtocolVersion = version
	request.Params.ClientInfo = mcp.Implementation{Name: "t", Version: "1"}
	if _, err := c.inner.Initialize(context.Background(), request); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *goClient) version() string { return c.inner.ProtocolVersion() }

func (c *goClient) tools(t *testing.T) (names []string) {
	list, err := c.inner.ListTools(context.Background(), mcp.ListToolsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	return names
}

func (c *goClient) chat(ctx context.Context, prompt string) (string, error) {
	var request mcp.CallToolRequest
	request.Params.Name = "chat"
	request.Params.Arguments = map[string]any{"prompt": prompt}
	request.Params.Meta = &mcp.Meta{ProgressToken: "tok"}
	r, err := c.inner.CallTool(ctx, request)
	if err != nil {
		return "", err
	}
	return r.Content[0].(mcp.TextContent).Text, nil
}

func (c *goClient) read(t *testing.T, uri string) string {
	var request mcp.ReadResourceRequest
	request.Params.URI = uri
	r, err := c.inner.ReadResource(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	return r.Contents[0].(mcp.TextResourceContents).Text
}

func (c *goClient) close(t *testing.T) {
	if err := c.inner.Close(); err != nil {
		t.Error(err)
	}
}

// pipes connects a client to ServeStdio; ended has what that returned.
func pipes(s *Server) (fromServer io.ReadCloser, toServer io.WriteCloser, ended chan error) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	ended = make(chan error, 1)
	go func() {
		err := s.ServeStdio(context.Background(), inR, outW)
		_ = outW.Close()
		ended <- err
	}()
	return outR, inW, ended
}

// TestClients lets real clients list, call, stream, cancel and read in both
// eras, over HTTP and over stdio.
func TestClients(t *testing.T) {
	pieces := numbered(300)
	text := strings.Join(pieces, "")
	type connect func(t *testing.T, s *Server, version string) (c anyClient, wait func())
	overHTTP := func(open func(t *testing.T, url string, hc *http.Client, version string) anyClient) connect {
		return func(t *testing.T, s *Server, version string) (anyClient, func()) {
			hc := &http.Client{Transport: &http.Transport{}}
			return open(t, serve(t, s), hc, version), hc.CloseIdleConnections
		}
	}
	overPipes := func(open func(t *testing.T, r io.ReadCloser, w io.WriteCloser, version string) anyClient) connect {
		return func(t *testing.T, s *Server, version string) (anyClient, func()) {
			r, w, ended := pipes(s)
			return open(t, r, w, version), func() {
				_ = w.Close()
				if err := <-ended; err != nil {
					t.Errorf("ServeStdio: %v", err)
				}
				_ = r.Close()
			}
		}
	}
	for name, open := range map[string]connect{
		"official SDK over HTTP": overHTTP(func(t *testing.T, url string, hc *http.Client, version string) anyClient {
			return newSDKClient(t, &sdk.StreamableClientTransport{Endpoint: url, HTTPClient: hc}, version)
		}),
		"official SDK over stdio": overPipes(func(t *testing.T, r io.ReadCloser, w io.WriteCloser, version string) anyClient {
			return newSDKClient(t, &sdk.IOTransport{Reader: r, Writer: w}, version)
		}),
		"mcp-go over HTTP": overHTTP(func(t *testing.T, url string, hc *http.Client, version string) anyClient {
			tr, err := transport.NewStreamableHTTP(url, transport.WithHTTPBasicClient(hc))
			if err != nil {
				t.Fatal(err)
			}
			return newGoClient(t, tr, version)
		}),
		"mcp-go over stdio": overPipes(func(t *testing.T, r io.ReadCloser, w io.WriteCloser, version string) anyClient {
			return newGoClient(t, transport.NewIO(r, w, io.NopCloser(strings.NewReader(""))), version)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			for _, version := range []string{legacy, modern} {
				t.Run(version, func(t *testing.T) {
					f, release := holding()
					f.script = saying(pieces...).script
					s := newEagerServer(t, f)
					c, wait := open(t, s, version)
					defer wait()
					defer c.close(t)
					if got := c.version(); got != version {
						t.Errorf("the protocol is %s", got)
					}
					if got := c.tools(t); len(got) != 6 {
						t.Errorf("tools %v", got)
					}
					if got, err := c.chat(context.Background(), "hi"); err != nil || got != text {
						t.Errorf("chat: %q %v", got, err)
					}
					// An SDK may hand out notifications after the result.
					eventually(t, "every piece was told", func() bool { return c.told() == text })
					if got := c.read(t, "models://tiny"); !strings.HasPrefix(got, `{"id":"tiny"`) {
						t.Errorf("resource %s", got)
					}
					ctx, cancel := context.WithCancel(context.Background())
					ended := make(chan error, 1)
					go func() {
						_, err := c.chat(ctx, "stay")
						ended <- err
					}()
					eventually(t, "the call runs", func() bool { return f.waiting.Load() == 1 })
					cancel()
					if err := <-ended; err == nil {
						t.Error("a cancelled call has a result")
					}
					eventually(t, "the slot is free", func() bool { return f.open.Load() == 0 && f.leases.Load() == 0 })
					close(release)
				})
			}
		})
	}
}
