package openapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// Bounds of a document.
const (
	maxDocument = 16 << 20 // bytes, of each file
	maxFiles    = 200      // that it refers to
)

// errDocument says that a document cannot be used.
var errDocument = errors.New("the OpenAPI document cannot be used")

func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errDocument, fmt.Errorf(format, args...))
}

// readDocument reads the document from its file or URL.
func (c *Connector) readDocument(ctx context.Context) (*openapi3.T, error) {
	if !isURL(c.config.Document) {
		return readFile(ctx, c.config.Document)
	}
	data, err := c.fetch(ctx)
	if err != nil {
		return nil, err
	}
	return parse(ctx, data, "", func(name string) ([]byte, error) {
		return nil, fmt.Errorf("it refers to %s: a document that is fetched must hold everything it refers to; save it and what it refers to as files", short(name))
	})
}

func (c *Connector) fetch(ctx context.Context) ([]byte, error) {
	ctx, stop := context.WithTimeout(ctx, c.timeout())
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.Document, nil)
	if err != nil {
		return nil, unusable("%s is no URL", c.config.Document)
	}
	r.Header.Set("Accept", "application/vnd.oai.openapi+json, application/json, application/yaml, text/yaml;q=0.9, */*;q=0.1")
	if c.config.BaseURL == "" || sameOrigin(c.config.BaseURL, c.config.Document) {
		if err := c.setHeaders(r, &secrets{}); err != nil {
			return nil, err
		}
	}
	resp, err := c.documents.Client().Do(r)
	if err != nil {
		return nil, fmt.Errorf("fetch the OpenAPI document: %s", explain(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch the OpenAPI document: the service answered %s", resp.Status)
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("fetch the OpenAPI document: %s", explain(err))
	}
	return data, nil
}

// readFile reads a document from a file. What it refers to lies in its folder or
// below.
func readFile(ctx context.Context, file string) (*openapi3.T, error) {
	root, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return nil, unusable("%w", err)
	}
	defer root.Close()
	read := func(name string) ([]byte, error) {
		info, err := root.Stat(name)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() || info.Size() > maxDocument {
			return nil, fmt.Errorf("%s must be a file of at most %d bytes", name, maxDocument)
		}
		return root.ReadFile(name)
	}
	data, err := read(filepath.Base(file))
	if err != nil {
		return nil, unusable("%w", err)
	}
	files := 0
	return parse(ctx, data, filepath.Base(file), func(name string) ([]byte, error) {
		if files++; files > maxFiles {
			return nil, fmt.Errorf("it refers to more than %d files", maxFiles)
		}
		return read(name)
	})
}

// parse reads a document and resolves its references; file is its name in its
// folder, read reads other files there.
func parse(ctx context.Context, data []byte, file string, read func(string) ([]byte, error)) (_ *openapi3.T, err error) {
	defer func() {
		// The library is made for documents that mean well.
		if r := recover(); r != nil {
			err = unusable("it cannot be read (%v)", r)
		}
	}()
	if len(data) > maxDocument {
		return nil, unusable("it has %d bytes, at most %d are read", len(data), maxDocument)
	}
	if err := checkShape(data); err != nil {
		return nil, err
	}
	loader := openapi3.NewLoader()
	loader.Context = ctx
	loader.ReadFromURIFunc = func(_ *openapi3.Loader, at *url.URL) ([]byte, error) {
		if at.Scheme != "" || at.Host != "" {
			return nil, fmt.Errorf("it refers to %s: nothing is fetched because a document refers to it; save a copy beside the document and refer to that", short(at.String()))
		}
		name := path.Clean(at.Path)
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("it refers to %s, which is not in its folder", short(at.Path))
		}
		if name == file {
			return data, nil
		}
		more, err := read(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("it refers to %s, which is not there", short(name))
		}
		if err != nil {
			return nil, err
		}
		return more, checkShape(more)
	}
	doc, err := loader.LoadFromDataWithPath(data, &url.URL{Path: file})
	if err != nil {
		return nil, unusable("%s", short(err.Error()))
	}
	switch {
	case !strings.HasPrefix(doc.OpenAPI, "3.0") && !strings.HasPrefix(doc.OpenAPI, "3.1"):
		return nil, unusable("its member openapi is %q, and 3.0 and 3.1 are read (a document of version 2 says swagger: convert it)", short(doc.OpenAPI))
	case doc.Paths.Len() == 0:
		return nil, unusable("it has no paths")
	}
	return doc, nil
}

const (
	maxNesting = 200
	maxAliases = 1000
)

// checkShape refuses what would take a reader of YAML or JSON too long: brackets
// and indents deep in each other, and anchors that multiply.
func checkShape(data []byte) error {
	depth, most, aliases := 0, 0, 0
	for i, b := range data {
		switch b {
		case '{', '[':
			if depth++; depth > most {
				most = depth
			}
		case '}', ']':
			depth = max(depth-1, 0)
		case '*':
			if i == 0 || strings.IndexByte(" \t\n[,:-", data[i-1]) >= 0 {
				aliases++
			}
		}
	}
	if most > maxNesting {
		return unusable("it is nested more than %d deep", maxNesting)
	}
	if aliases > maxAliases {
		return unusable("it has more than %d YAML aliases", maxAliases)
	}
	return nil
}

// short keeps what a document says from filling a message.
func short(s string) string {
	const most = 300
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func sameOrigin(a, b string) bool {
	x, err1 := url.Parse(a)
	y, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && x.Scheme == y.Scheme && strings.EqualFold(x.Host, y.Host)
}
