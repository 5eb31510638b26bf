package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Login has a person log in to a server by a browser and keeps the token, which a
// running server of this program then uses. show is told the address to open.
func Login(ctx context.Context, cfg Config, label string, d Deps, show func(address string)) error {
	if cfg.OAuth == nil || cfg.URL == "" {
		return fmt.Errorf("the server %s has no section oauth: there is nothing to log in to", label)
	}
	if cfg.OAuth.Grant == grantClient {
		return fmt.Errorf("the server %s gets its tokens by client_credentials: no login is needed", label)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.OAuth.RedirectPort)))
	if err != nil {
		return fmt.Errorf("wait for the browser: %w; set oauth.redirect_port to a free port", err)
	}
	d.Redirect = "http://" + ln.Addr().String() + "/callback"
	back := make(chan url.Values, 1)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/callback" || r.Method != http.MethodGet {
				http.NotFound(w, r)
				return
			}
			select {
			case back <- r.URL.Query():
			default:
			}
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			fmt.Fprintln(w, "This window may be closed; the command line says how the login went.")
		}),
		ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
	}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	d.Browse = func(ctx context.Context, address string) (url.Values, error) {
		show(address)
		select {
		case v := <-back:
			return v, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return login(ctx, cfg, label, d)
}

// login connects once, anew, with somebody there to log in.
func login(ctx context.Context, cfg Config, label string, d Deps) error {
	cfg.Connect = loginTimeout
	// The token that is there may be anybody's: what is asked for is a login.
	known, err := offline(cfg, label)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(known.cfg.State, tokenFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	u, err := New(cfg, label, d)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*patience)
		defer cancel()
		_ = u.Close(ctx)
	}()
	if err := u.Start(ctx); err != nil {
		return err
	}
	if u.auth.current().AccessToken == "" {
		return errors.New("the server lets everybody in: no login was needed")
	}
	return nil
}

// loginTimeout is how long a person has for a login.
const loginTimeout = 10 * time.Minute
