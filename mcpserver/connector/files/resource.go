package files

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"

	"hearth/mcpserver/router"
)

const (
	scheme   = "file:///"
	template = "file:///{folder}/{+path}"
)

// uri is the place's URI: file:///FOLDER/path.
func (p place) uri() string { return uriOf(p.String()) }

func uriOf(text string) string {
	names := strings.Split(text, "/")
	for i, n := range names {
		names[i] = url.PathEscape(n)
	}
	return scheme + strings.Join(names, "/")
}

// fromURI is the path that a URI names. Percent signs are decoded once, name by
// name.
func (c *Connector) fromURI(uri string) (place, error) {
	rest, ok := strings.CutPrefix(uri, scheme)
	if !ok || len(uri) > 3*maxPath {
		return place{}, router.ErrNoResource
	}
	names := strings.Split(rest, "/")
	for i, n := range names {
		text, err := url.PathUnescape(n)
		if err != nil || strings.Contains(text, "/") {
			return place{}, router.ErrNoResource
		}
		names[i] = text
	}
	p, err := c.parse(strings.Join(names, "/"))
	if err != nil {
		return place{}, err
	}
	if p.root == nil || p.root.Name != names[0] {
		return place{}, router.ErrNoResource
	}
	return c.resolve(p)
}

// Resources returns the files of all folders, in the order of their paths.
func (c *Connector) Resources(ctx context.Context, cursor string, limit int) ([]router.Resource, string, error) {
	behind, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || !utf8.Valid(behind) {
		return nil, "", failed("cursor: is not one that was given")
	}
	name, after, _ := strings.Cut(string(behind), "/")
	known := cursor == ""
	var page []router.Resource
	last, more := "", false
	for _, r := range c.roots {
		resume := ""
		if !known {
			if r.Name != name {
				continue
			}
			known, resume = true, after
		}
		w := walk{c: c, root: r, depth: maxDepth, after: resume, visit: func(rel string, info fs.FileInfo) error {
			if !info.Mode().IsRegular() {
				return nil
			}
			if len(page) >= limit {
				more = true
				return errEnough
			}
			p := place{r, rel}
			last = p.String()
			page = append(page, router.Resource{URI: p.uri(), Name: last, MIME: mimeOf(rel, nil, false), Size: info.Size()})
			return nil
		}}
		if err := w.run(ctx, "."); err != nil {
			if ctx.Err() != nil {
				return nil, "", ctx.Err()
			}
			return nil, "", c.explain(place{r, "."}, err)
		}
		if more {
			return page, base64.RawURLEncoding.EncodeToString([]byte(last)), nil
		}
	}
	if !known {
		return nil, "", failed("cursor: is not one that was given")
	}
	return page, "", nil
}

// ResourceTemplates returns the one template of files.
func (c *Connector) ResourceTemplates(context.Context) ([]router.ResourceTemplate, error) {
	return []router.ResourceTemplate{{
		URITemplate: template, Name: "file", Title: "A file",
		Description: "A file of one of the folders " + c.rootNames() + ".",
	}}, nil
}

// ReadResource returns a file: its text in UTF-8, or its bytes where it is no text.
func (c *Connector) ReadResource(ctx context.Context, uri string) ([]router.ResourceContents, error) {
	p, err := c.fromURI(uri)
	if err != nil {
		return nil, err
	}
	f, info, err := p.openFile()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, router.ErrNoResource
	}
	if err != nil {
		return nil, c.explain(p, err)
	}
	defer f.Close()
	most := int64(c.config.ResourceBytes)
	data, err := io.ReadAll(io.LimitReader(contextReader{ctx, f}, most+1))
	if err != nil {
		return nil, c.explain(p, err)
	}
	if int64(len(data)) > most {
		return nil, failed("%s has %d bytes, at most %d are given as a resource: the tool read gives parts of it", shown(p.String()), info.Size(), most)
	}
	head := data[:min(len(data), sniffBytes)]
	cs, isText := sniff(head, len(data) <= sniffBytes)
	if isText && cs.enc == nil && !utf8.Valid(data) {
		isText = false // bytes are given as they are, not mended
	}
	out := router.ResourceContents{URI: uri, MIME: mimeOf(p.rel, head, isText)}
	if isText {
		out.Text = cs.decode(data[cs.bom:])
	} else {
		out.Blob = data
	}
	return []router.ResourceContents{out}, nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// Complete completes the variables of the template: folder, and path in it.
func (c *Connector) Complete(ctx context.Context, of, argument, typed string, others map[string]string) ([]string, int, error) {
	if of != template {
		return nil, 0, nil
	}
	var out []string
	if argument == "folder" {
		for _, r := range c.roots {
			if strings.HasPrefix(r.Name, typed) {
				out = append(out, r.Name)
			}
		}
		return out, len(out), nil
	}
	name := others["folder"]
	if name == "" && len(c.roots) == 1 {
		name = c.roots[0].Name
	}
	dir, begun := path.Split(typed)
	p, err := c.parse(name + "/" + dir)
	if err == nil && (p.root == nil || p.root.Name != name) {
		return nil, 0, nil
	}
	var at place
	if err == nil {
		at, err = c.resolve(p)
	}
	if err != nil {
		return nil, 0, nil // nothing there completes it
	}
	total := 0
	w := walk{c: c, root: at.root, depth: 1, all: true, visit: func(rel string, info fs.FileInfo) error {
		if !strings.HasPrefix(path.Base(rel), begun) || !info.Mode().IsRegular() && !info.IsDir() {
			return nil
		}
		value := dir + path.Base(rel)
		if info.IsDir() {
			value += "/"
		}
		if total++; total <= maxCompletions {
			out = append(out, value)
		}
		return nil
	}}
	if err := w.run(ctx, at.rel); err != nil {
		if ctx.Err() != nil {
			return nil, 0, fmt.Errorf("complete: %w", ctx.Err())
		}
		return nil, 0, nil
	}
	return out, total, nil
}

// maxCompletions is what the protocol lets a completion hold.
const maxCompletions = 100
