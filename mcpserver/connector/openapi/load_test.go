package openapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"hearth/internal/config"
	"hearth/mcpserver/router"
)

const small = "openapi: 3.0.0\ninfo: {title: t, version: '1'}\npaths: {/a: {get: {operationId: NAME, responses: {}}}}\n"

func TestAFetchedDocument(t *testing.T) {
	t.Setenv("HEARTH_TEST_KEY", "document-key")
	text := atomic.Value{}
	text.Store(strings.ReplaceAll(small, "NAME", "first"))
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Key") != "document-key":
			w.WriteHeader(403)
		case r.URL.Path == "/openapi.yaml":
			_, _ = io.WriteString(w, text.Load().(string))
		default:
			_, _ = io.WriteString(w, "from "+r.URL.Path)
		}
	})
	c := open(t, Config{Document: s.URL + "/openapi.yaml", Headers: map[string]config.Secret{"X-Key": "env:HEARTH_TEST_KEY"}})
	changes := 0
	c.OnChange(func(change router.Change) {
		if !change.Tools {
			t.Errorf("%+v", change)
		}
		changes++
	})
	if got := ask(t, c, "first", `{}`); got != "from /a" {
		t.Error(got)
	}
	if err := c.Refresh(t.Context()); err != nil || changes != 0 {
		t.Errorf("the same document: %v, %d changes", err, changes)
	}
	text.Store(strings.ReplaceAll(small, "NAME", "second"))
	if err := c.Refresh(t.Context()); err != nil || changes != 1 || names(c) != "second" {
		t.Errorf("another: %v, %d changes, %s", err, changes, names(c))
	}
	if got := ask(t, c, "first", `{}`); !strings.HasPrefix(got, "error: the service has no operation first any more") {
		t.Error(got)
	}
	for _, bad := range []string{"", "not: openapi", "{", small + "x", strings.ReplaceAll(strings.ReplaceAll(small, "/a", "a"), "NAME", "bad"), strings.Repeat("[", 300), "openapi: 3.0.0\npaths: {/a: {$ref: 'other.yaml'}}"} {
		text.Store(bad)
		if err := c.Refresh(t.Context()); err == nil {
			t.Errorf("%q is taken: %s", bad, names(c))
		}
		if names(c) == "" {
			t.Errorf("%q: the old operations are lost", bad)
		}
	}
	text.Store("openapi: 3.0.0\ninfo: {title: t, version: '1'}\nservers: [{url: 'http://169.254.169.254/'}]\npaths: {/a: {get: {operationId: evil, responses: {}}}}\n")
	if err := c.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "is another host than that of the document") {
		t.Errorf("a document that leads elsewhere: %v", err)
	}
	s.Close()
	if err := c.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "the host refused the connection") {
		t.Errorf("a service that is gone: %v", err)
	}
	if names(c) != "second" || changes != 1 {
		t.Errorf("%s after %d changes", names(c), changes)
	}
}

// TestADocumentThatComesLater starts the connector before the service answers.
func TestADocumentThatComesLater(t *testing.T) {
	var asked atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(503)
			return
		}
		_, _ = io.WriteString(w, strings.ReplaceAll(small, "NAME", "late"))
	})
	c := open(t, Config{Document: s.URL})
	if len(c.Tools()) != 0 {
		t.Error("there are tools before the document")
	}
	if got := ask(t, c, "late", `{}`); got != "failure: the OpenAPI document could not be loaded yet" {
		t.Error(got)
	}
	changed := make(chan struct{}, 1)
	c.OnChange(func(router.Change) { changed <- struct{}{} })
	<-changed
	if names(c) != "late" {
		t.Error(names(c))
	}
}

func TestADocumentInAFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("type: string"), 0o600); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(dir, "api")
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../secret", filepath.Join(inside, "link")); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"../secret", "link", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/x", "//127.0.0.1/x", "none.yaml"} {
		path := filepath.Join(inside, "openapi.yaml")
		text := "openapi: 3.0.0\ninfo: {title: t, version: '1'}\nservers: [{url: 'http://127.0.0.1'}]\npaths: {/a: {get: {operationId: a, parameters: [{name: x, in: query, schema: {$ref: '" + ref + "'}}], responses: {}}}}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var field *config.FieldError
		c, err := New(t.Context(), Config{Document: path}, "shop", zerolog.Nop())
		if !errors.As(err, &field) || field.Path != "document" {
			t.Errorf("%s: %v, %v", ref, c, err)
		}
	}
	if c, err := New(t.Context(), Config{Document: filepath.Join(dir, "none")}, "shop", zerolog.Nop()); err == nil {
		t.Errorf("a document that is not there: %v", c)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if c, err := New(ctx, Config{Document: "http://127.0.0.1:9/"}, "shop", zerolog.Nop()); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits: %v, %v", c, err)
	}
}

func FuzzDocument(f *testing.F) {
	files, err := filepath.Glob("testdata/documents/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if len(text) < 8<<10 {
			f.Add(text, []byte(`{"id":"x","body":{"a":[1,null]},"limit":3}`))
		}
	}
	f.Fuzz(func(t *testing.T, text, arguments []byte) {
		doc, err := parse(t.Context(), text, "x.yaml", func(string) ([]byte, error) { return nil, os.ErrNotExist })
		if err != nil {
			if !errors.Is(err, errDocument) {
				t.Errorf("%v", err)
			}
			return
		}
		c := &Connector{config: Config{CheckResponses: true}}
		s, err := c.build(&loading{config: &c.config, label: "shop", doc: doc})
		if err != nil {
			return
		}
		for _, o := range s.byName {
			if !router.ToolName.MatchString("shop"+router.Separator+o.tool.Name) || len(o.tool.Input) > router.MaxSchemaBytes || len(o.tool.Description) > 4*maxText {
				t.Errorf("%+v", o.tool)
			}
			out, err := o.request(arguments)
			if err != nil {
				continue
			}
			if out.url.Host != o.base.Host || out.url.Scheme != o.base.Scheme {
				t.Errorf("%s leads to %s", o.label(), out.url)
			}
			if _, err := out.httpRequest(t.Context(), o.method); err != nil {
				t.Error(err)
			}
		}
	})
}
