package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth/mcpserver/router"
)

func TestResourcesInPages(t *testing.T) {
	other := t.TempDir()
	c, dir := open(t, func(cfg *Config) { cfg.Roots = append(cfg.Roots, Root{Name: "notes", Path: other}) })
	tree(t, other, map[string]string{"z.md": "12345"})
	files := map[string]string{"a b/ü%.txt": "", "b": "", ".hidden": "", "empty/": "", "a.txt": "", "a/x/y": "", "a/x.txt": "", "a-b": "", "a/b/c": ""}
	tree(t, dir, files)
	want := "docs/a/b/c docs/a/x/y docs/a/x.txt docs/a%20b/%C3%BC%25.txt docs/a-b docs/a.txt docs/b notes/z.md"
	for limit := 1; limit <= 9; limit++ {
		var got []string
		for cursor, rounds := "", 0; ; rounds++ {
			page, next, err := c.Resources(t.Context(), cursor, limit)
			if err != nil || len(page) > limit || rounds > 10 {
				t.Fatal(len(page), rounds, err)
			}
			for _, r := range page {
				got = append(got, strings.TrimPrefix(r.URI, "file:///"))
				if _, err := c.ReadResource(t.Context(), r.URI); err != nil {
					t.Errorf("%s: %v", r.URI, err)
				}
			}
			if cursor = next; next == "" {
				break
			}
		}
		expect(t, fmt.Sprintf("pages of %d", limit), strings.Join(got, " "), "="+want)
	}
	page, _, err := c.Resources(t.Context(), "", 100)
	if last := page[len(page)-1]; err != nil || last.Size != 5 || last.MIME != "text/markdown" || last.Name != "notes/z.md" {
		t.Errorf("%+v, %v", last, err)
	}
	// A file that is gone, or a folder that came since, does not lose the place.
	_, next, err := c.Resources(t.Context(), "", 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "a/x")); err != nil {
		t.Fatal(err)
	}
	if page, _, err := c.Resources(t.Context(), next, 1); err != nil || page[0].URI != "file:///docs/a/x.txt" {
		t.Errorf("after a file is gone: %v, %v", page, err)
	}
	for _, bad := range []string{"!", "eA", "bm9uZS94"} {
		if _, _, err := c.Resources(t.Context(), bad, 1); err == nil {
			t.Errorf("the cursor %q is taken", bad)
		}
	}
}

func TestReadResource(t *testing.T) {
	c, dir := open(t, func(cfg *Config) { cfg.ResourceBytes = 100 })
	tree(t, dir, map[string]string{
		"a.md": "# hi", "b.bin": "\x00\x01", "utf16.txt": "\xff\xfeh\x00i\x00", "bom.json": "\xef\xbb\xbf{}", "p.PNG": "\x89PNG\r\n\x1a\n", "latin": "caf\xe9", "empty": "", "big": strings.Repeat("x", 101),
	})
	for _, x := range []struct{ uri, mime, text, blob string }{
		{"file:///docs/a.md", "text/markdown", "# hi", ""},
		{"file:///docs/%61.md", "text/markdown", "# hi", ""},
		{"file:///docs/b.bin", "application/octet-stream", "", "\x00\x01"},
		{"file:///docs/utf16.txt", "text/plain", "hi", ""},
		{"file:///docs/bom.json", "application/json", "{}", ""},
		{"file:///docs/p.PNG", "image/png", "", "\x89PNG\r\n\x1a\n"},
		{"file:///docs/latin", "text/plain", "café", ""},
		{"file:///docs/empty", "text/plain", "", ""},
	} {
		got, err := c.ReadResource(t.Context(), x.uri)
		if err != nil || len(got) != 1 || got[0].URI != x.uri || got[0].MIME != x.mime || got[0].Text != x.text || string(got[0].Blob) != x.blob {
			t.Errorf("%s: %+v, %v", x.uri, got, err)
		}
	}
	for _, uri := range []string{"file:///docs/none", "file:///other/a.md", "file:///a.md", "http://docs/a.md", "file:///docs/%zz", "file:///docs%2fa.md", "file:///", ""} {
		if _, err := c.ReadResource(t.Context(), uri); !errors.Is(err, router.ErrNoResource) {
			t.Errorf("%q: %v", uri, err)
		}
	}
	for uri, want := range map[string]string{"file:///docs/big": "at most 100", "file:///docs": "is a folder", "file:///docs/.x": "is hidden"} {
		var said *router.ToolError
		if _, err := c.ReadResource(t.Context(), uri); !errors.As(err, &said) || !strings.Contains(said.Message, want) {
			t.Errorf("%q: %v", uri, err)
		}
	}
	templates, err := c.ResourceTemplates(t.Context())
	if err != nil || len(templates) != 1 || templates[0].URITemplate != template {
		t.Errorf("%+v, %v", templates, err)
	}
}

func TestComplete(t *testing.T) {
	c, dir := open(t, func(cfg *Config) { cfg.Roots = append(cfg.Roots, Root{Name: "data", Path: t.TempDir()}) })
	tree(t, dir, map[string]string{"one.txt": "", "once/two.txt": "", "once/.env": "", "other": ""})
	for i := range 120 {
		tree(t, dir, map[string]string{fmt.Sprintf("many/%03d", i): ""})
	}
	for _, x := range []struct {
		argument, typed, folder, want string
		total                         int
	}{
		{"folder", "", "", "docs data", 2},
		{"folder", "da", "", "data", 1},
		{"path", "on", "docs", "once/ one.txt", 2},
		{"path", "once/", "docs", "once/two.txt", 1},
		{"path", "x", "docs", "", 0},
		{"path", "none/", "docs", "", 0},
		{"path", "", "", "", 0},
		{"other", "", "none", "", 0},
	} {
		got, total, err := c.Complete(t.Context(), template, x.argument, x.typed, map[string]string{"folder": x.folder})
		if err != nil || total != x.total || strings.Join(got, " ") != x.want {
			t.Errorf("%+v: %q, %d, %v", x, got, total, err)
		}
	}
	if got, total, err := c.Complete(t.Context(), template, "path", "many/", map[string]string{"folder": "docs"}); len(got) != 100 || total != 120 || err != nil {
		t.Errorf("%d of %d, %v", len(got), total, err)
	}
	if got, _, err := c.Complete(t.Context(), "other", "path", "", nil); got != nil || err != nil {
		t.Errorf("of another template: %q, %v", got, err)
	}
}

func TestWatch(t *testing.T) {
	c, dir := open(t, nil)
	tree(t, dir, map[string]string{"a.txt": "1", "b.txt": "1", "sub/c.txt": "1"})
	changes := make(chan string, 100)
	c.OnChange(func(change router.Change) { changes <- change.Resource })
	watch := func(uri string) func() {
		t.Helper()
		stop, err := c.Watch(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		return stop
	}
	told := map[string]bool{} // what may come a second time, late
	next := func(want string) {
		t.Helper()
		told[want] = true
		for {
			select {
			case got := <-changes:
				if got == want {
					return
				}
				if !told[got] {
					t.Fatalf("a change of %s is told", got)
				}
			case <-t.Context().Done():
				t.Fatalf("no change of %s is told", want)
			}
		}
	}
	stopA, again := watch("file:///docs/a.txt"), watch("file:///docs/a.txt")
	watch("file:///docs/sub/c.txt")
	tree(t, dir, map[string]string{"b.txt": "2"}) // nobody looks at it
	tree(t, dir, map[string]string{"a.txt": "2"})
	next("file:///docs/a.txt")
	ask(t, c, "write", `{"path":"docs/sub/c.txt","content":"2","mode":"overwrite"}`) // a new file of that name
	next("file:///docs/sub/c.txt")
	ask(t, c, "write", `{"path":"docs/sub/c.txt","content":"3","mode":"overwrite"}`)
	next("file:///docs/sub/c.txt")
	stopA()
	stopA()
	tree(t, dir, map[string]string{"a.txt": "3"}) // the second watcher still looks
	next("file:///docs/a.txt")
	again()
	tree(t, dir, map[string]string{"a.txt": "4"})
	if err := os.Remove(filepath.Join(dir, "sub/c.txt")); err != nil {
		t.Fatal(err)
	}
	next("file:///docs/sub/c.txt")
	if _, err := c.Watch(t.Context(), "file:///docs/none"); !errors.Is(err, router.ErrNoResource) {
		t.Errorf("watch what is not there: %v", err)
	}
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := c.Watch(t.Context(), "file:///docs/a.txt"); err == nil {
		t.Error("a closed connector watches")
	}
}
