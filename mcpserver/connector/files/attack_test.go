package files

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"hearth/mcpserver/router"
)

const canary = "CANARY-4711"

// guarded makes a folder with a secret beside it, and links of every kind to it.
func guarded(t *testing.T) (c *Connector, dir, outside string) {
	t.Helper()
	c, dir = open(t, nil)
	outside = filepath.Join(filepath.Dir(dir), "outside")
	tree(t, outside, map[string]string{"secret.txt": canary, "sub/deep.txt": canary})
	tree(t, dir, map[string]string{"a.txt": "harmless", "sub/b.txt": "harmless", "sub/.env": canary, "sub/server.PEM": canary})
	for link, to := range map[string]string{
		"abs": filepath.Join(outside, "secret.txt"), "absdir": outside, "rel": "../outside/secret.txt", "reldir": "../outside", "sub/up": "../../outside/secret.txt",
		"chain": "chain2", "chain2": "sub/up", "loop": "loop", "loop1": "loop2", "loop2": "loop1", "around": "../" + filepath.Base(dir) + "/a.txt", "env": "sub/.env", "pem": "sub/server.PEM",
		"proc": "/proc/self/environ", "procfd": "/proc/self/fd/0", "root": "/", "dots": "sub/../../outside/secret.txt", "selfup": "..",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	return c, dir, outside
}

// hostile are paths that must lead nowhere, whatever is asked for.
func hostile() []string {
	out := []string{
		"docs/../outside/secret.txt", "../outside/secret.txt", "docs/sub/../../outside/secret.txt", "docs/..", "..", "docs/./../outside/secret.txt", "docs//../outside/secret.txt",
		"docs/a.txt\x00.png", "docs/\x00", "\x00", "docs/..\x00/outside", "docs/" + strings.Repeat("a", 300), "docs/" + strings.Repeat("a/", 3000), strings.Repeat("../", 1000) + "etc/passwd",
		"docs/" + strings.Repeat("sub/../", 20) + "../outside/secret.txt", "docs/...", "docs/... /x", "docs/.. /outside", "docs/sub/.env", "docs/sub/.ENV", "docs/sub/server.PEM", "docs/sub/server.pem", "docs/.ssh/id_rsa",
		"docs/.git/config", "docs/sub/.env/x", "docs/id_rsa", "docs/ID_RSA.bak", "docs/x/.aws/credentials", "docs/.hearth-x", "docs/a.txt/..", "docs/a.txt/../../outside/secret.txt", "/docs/../etc/passwd",
	}
	for _, link := range []string{
		"abs", "absdir", "absdir/secret.txt", "rel", "reldir", "reldir/secret.txt", "reldir/sub/deep.txt", "sub/up", "chain", "loop", "loop1", "around", "env", "pem",
		"proc", "procfd", "root", "root/etc/passwd", "dots", "selfup", "selfup/outside/secret.txt", "reldir/new.txt", "absdir/new.txt", "selfup/new.txt",
	} {
		out = append(out, "docs/"+link)
	}
	return out
}

// odd are paths that look hostile and are only the names of files that are not
// there.
func odd(outside string) []string {
	return []string{
		outside + "/secret.txt", "/" + outside + "/secret.txt", "docs/" + outside + "/secret.txt", "file://" + outside + "/secret.txt", "/etc/passwd", "//etc/passwd", "docs//etc/passwd", "/proc/self/environ",
		"~/x", "$HOME/x", "docs/%2e%2e/outside/secret.txt", "docs/..%2foutside%2fsecret.txt", "docs/%252e%252e/outside/secret.txt", "docs/\u2025/outside", "docs/．．/outside/secret.txt",
		"docs/x\\..\\outside\\secret.txt", "docs\\x", "C:\\x",
	}
}

// TestNothingOutsideIsReached calls every tool with every path. What an answer
// may hold are the harmless texts only, and outside nothing changes.
func TestNothingOutsideIsReached(t *testing.T) {
	c, dir, outside := guarded(t)
	tries := func(path string, tools ...string) {
		for _, tool := range tools {
			args := map[string]string{"path": path}
			switch {
			case tool == "search":
				args["query"] = "C"
			case tool == "write":
				args["content"], args["mode"] = "EVIL", "overwrite"
			case tool == "move":
				args = map[string]string{"from": "docs/a.txt", "to": path}
			case tool == "delete" && isLink(dir, path):
				continue // a link may be deleted
			}
			data, err := json.Marshal(args)
			if err != nil {
				t.Fatal(err)
			}
			if got := call(t, c, tool, data); !strings.HasPrefix(got, "error: ") || strings.Contains(got, canary) {
				t.Errorf("%s %q: %q", tool, path, got)
			}
		}
		escaped := strings.Split(path, "/")
		for i := range escaped {
			escaped[i] = url.PathEscape(escaped[i])
		}
		for _, uri := range []string{"file:///" + path, "file:///" + strings.Join(escaped, "/"), "file:///" + url.PathEscape(path), path, "file://" + path, "file:" + path} {
			if r, err := c.ReadResource(t.Context(), uri); err == nil {
				t.Errorf("resource %q: %+v", uri, r)
			}
			if stop, err := c.Watch(t.Context(), uri); err == nil {
				stop()
				t.Errorf("watch %q is taken", uri)
			}
		}
		if v, _, err := c.Complete(t.Context(), template, "path", strings.TrimPrefix(path, "docs/")+"/", map[string]string{"folder": "docs"}); err != nil || len(v) > 0 {
			t.Errorf("complete %q: %q, %v", path, v, err)
		}
	}
	for _, path := range hostile() {
		tries(path, "list", "read", "search", "write", "move", "delete")
	}
	for _, path := range odd(outside) {
		tries(path, "list", "read", "search", "delete")
	}
	for _, path := range []string{filepath.Join(outside, "secret.txt"), filepath.Join(outside, "sub/deep.txt"), filepath.Join(dir, "sub/.env"), filepath.Join(dir, "sub/server.PEM")} {
		expect(t, path, contents(t, path), "="+canary)
	}
	expect(t, "a.txt", contents(t, filepath.Join(dir, "a.txt")), "=harmless")
	only(t, outside, 2)
	all := ask(t, c, "list", `{"depth":64}`) + ask(t, c, "search", `{"query":"C","ignored":true}`)
	for _, word := range []string{canary, "secret", "deep.txt", ".env", "server"} {
		if strings.Contains(all, word) {
			t.Errorf("%q is shown: %q", word, all)
		}
	}
}

// only holds the number of entries of a folder.
func only(t *testing.T, dir string, want int) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != want {
		t.Errorf("in %s there are %v, %v", dir, entries, err)
	}
}

func isLink(dir, path string) bool {
	info, err := os.Lstat(filepath.Join(dir, strings.TrimPrefix(path, "docs/")))
	return err == nil && info.Mode()&os.ModeSymlink != 0
}

func call(t *testing.T, c *Connector, tool string, args json.RawMessage) string {
	t.Helper()
	r, err := c.Run(t.Context(), &router.Call{Tool: tool, Arguments: args})
	var said *router.ToolError
	switch {
	case errors.As(err, &said):
		return "error: " + said.Message
	case err != nil:
		t.Errorf("%s %s: %v", tool, args, err)
		return "error: "
	}
	return r.Content[0].Text
}

// TestASwappedFolderLeadsNowhere calls tools while a folder becomes a link to
// outside and back, again and again.
func TestASwappedFolderLeadsNowhere(t *testing.T) {
	c, dir := open(t, nil)
	outside := filepath.Join(filepath.Dir(dir), "outside")
	tree(t, outside, map[string]string{"a.txt": canary, "sub/a.txt": canary})
	tree(t, dir, map[string]string{"d/a.txt": "harmless", "d/sub/a.txt": "harmless"})
	if err := os.Symlink(outside, filepath.Join(dir, "evil")); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ctx, stop := context.WithCancel(t.Context())
	var swapper, callers sync.WaitGroup
	var reached [4]atomic.Int64 // calls that found the folder in place
	enough := func() bool {
		for i := range reached {
			if reached[i].Load() < 100 {
				return false
			}
		}
		return true
	}
	swapper.Go(func() {
		defer stop()
		for round := 0; round < 5_000 || round < 5_000_000 && !enough(); round++ {
			if err := unix.Renameat2(fd, "d", fd, "evil", unix.RENAME_EXCHANGE); err != nil {
				t.Errorf("swap: %v", err)
				return
			}
			runtime.Gosched()
		}
	})
	calls := []struct{ tool, args string }{
		{"read", `{"path":"docs/d/a.txt"}`},
		{"read", `{"path":"docs/d/sub/a.txt"}`},
		{"list", `{"path":"docs/d","depth":3}`},
		{"search", `{"path":"docs","query":"CANARY","where":"contents"}`},
		{"search", `{"path":"docs/d","query":"CANARY","where":"contents"}`},
		{"write", `{"path":"docs/d/new/x.txt","content":"EVIL","mode":"overwrite"}`},
		{"write", `{"path":"docs/d/a.txt","content":"harmless","mode":"overwrite"}`},
		{"write", `{"path":"docs/d/sub/a.txt","content":"","mode":"append"}`},
		{"move", `{"from":"docs/d/new/x.txt","to":"docs/d/y.txt"}`},
		{"delete", `{"path":"docs/d/y.txt"}`},
		{"delete", `{"path":"docs/d/new/x.txt"}`},
	}
	for worker := range reached {
		callers.Go(func() {
			for i := worker; ctx.Err() == nil; i++ {
				x := calls[i%len(calls)]
				r, err := c.Run(t.Context(), &router.Call{Tool: x.tool, Arguments: json.RawMessage(x.args)})
				if err != nil {
					continue // a swap came between: whatever it says, it did nothing outside
				}
				reached[worker].Add(1)
				for _, piece := range r.Content {
					if strings.Contains(piece.Text, canary) || strings.Contains(piece.Text, "outside") {
						t.Errorf("%s %s: %q", x.tool, x.args, piece.Text)
						return
					}
				}
				if p, err := c.ReadResource(t.Context(), "file:///docs/d/a.txt"); err == nil && strings.Contains(p[0].Text, canary) {
					t.Errorf("resource: %q", p[0].Text)
					return
				}
				if stop, err := c.Watch(t.Context(), "file:///docs/d/a.txt"); err == nil {
					stop()
				}
			}
		})
	}
	swapper.Wait()
	callers.Wait()
	if !enough() {
		t.Error("the folder was reached too seldom: the test shows nothing")
	}
	for _, name := range []string{"a.txt", "sub/a.txt"} {
		expect(t, name, contents(t, filepath.Join(outside, name)), "="+canary)
	}
	only(t, outside, 2)
}

// TestHardLinks: a file that has another name outside is a file of the folder, and
// can be read; what is written never reaches the other name.
func TestHardLinks(t *testing.T) {
	c, dir := open(t, nil)
	outside := filepath.Join(filepath.Dir(dir), "outside.txt")
	if err := os.WriteFile(outside, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(outside, filepath.Join(dir, "linked.txt")); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{`"mode":"append","content":"x"`, `"mode":"replace","content":"x","old":"CANARY"`, `"mode":"overwrite","content":"x"`} {
		ask(t, c, "write", `{"path":"docs/linked.txt",`+args+`}`)
		expect(t, args, contents(t, outside), "="+canary)
	}
	ask(t, c, "delete", `{"path":"docs/linked.txt"}`)
	expect(t, "after delete", contents(t, outside), "="+canary)
}

// TestNothingWaits: pipes, sockets and devices are neither opened nor waited for.
func TestNothingWaits(t *testing.T) {
	c, dir := open(t, nil)
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, ".gitignore"), 0o666); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	names := []string{"pipe", "socket"}
	if err := unix.Mknod(filepath.Join(dir, "zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err == nil {
		names = append(names, "zero")
	} else if !errors.Is(err, unix.EPERM) {
		t.Fatal(err)
	}
	for _, name := range names {
		for _, x := range []struct{ tool, args, want string }{
			{"read", `{"path":"docs/NAME"}`, "error: docs/NAME is not a plain file: it is a "},
			{"write", `{"path":"docs/NAME","content":"x","mode":"append"}`, "error: docs/NAME is not a plain file"},
			{"write", `{"path":"docs/NAME","content":"x","mode":"overwrite"}`, "error: docs/NAME is not a plain file"},
			{"write", `{"path":"docs/NAME/x","content":"x"}`, "error: docs/NAME/x is not a folder"},
			{"search", `{"path":"docs/NAME","query":"x"}`, "error: docs/NAME is not a plain file"},
			{"move", `{"from":"docs/NAME","to":"docs/x"}`, "error: docs/NAME is a"},
			{"delete", `{"path":"docs/NAME"}`, "error: docs/NAME is a"},
			{"list", `{"path":"docs/NAME"}`, "docs/NAME\ta "},
		} {
			expect(t, x.tool+" "+name, ask(t, c, x.tool, strings.ReplaceAll(x.args, "NAME", name)), strings.ReplaceAll(x.want, "NAME", name))
		}
		if r, err := c.ReadResource(t.Context(), "file:///docs/"+name); err == nil {
			t.Errorf("resource %s: %v", name, r)
		}
	}
	expect(t, "search", ask(t, c, "search", `{"query":"x","where":"contents"}`), "nothing found in 0 files")
}

// TestTheSystemsFilesAreRefused: with the whole disk as a folder, what belongs to
// the system still is no file.
func TestTheSystemsFilesAreRefused(t *testing.T) {
	c, err := New(Config{Roots: []Root{{Name: "disk", Path: "/"}}, Hidden: true}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	for _, path := range []string{"proc/self/environ", "proc/self/mem", "proc/kmsg", "proc/self/root/etc/hostname", "proc/self/cwd/files.go", "sys/kernel/uevent_seqnum", "dev/zero", "dev/null", "dev/tty"} {
		got := call(t, c, "read", json.RawMessage(`{"path":"disk/`+path+`"}`))
		expect(t, path, got, "error: ")
	}
	expect(t, "list", call(t, c, "list", json.RawMessage(`{"path":"disk/proc"}`)), "error: disk/proc is not a plain file: it belongs to the system")
}

func TestHugeSparseAndDeep(t *testing.T) {
	c, dir := open(t, func(cfg *Config) { cfg.SearchBytes = 1 << 20 })
	for name, head := range map[string]string{"hole": "", "text-then-hole": strings.Repeat("needle\n", 2000)} {
		tree(t, dir, map[string]string{name: head})
		if err := os.Truncate(filepath.Join(dir, name), 1<<40); err != nil {
			t.Skipf("the disk holds no file of 1 TiB: %v", err)
		}
	}
	expect(t, "list", ask(t, c, "list", `{"path":"docs"}`), "docs/hole\t1099511627776 bytes")
	expect(t, "read", ask(t, c, "read", `{"path":"docs/hole"}`), "is not text")
	expect(t, "the text of it", ask(t, c, "read", `{"path":"docs/text-then-hole","lines":1}`), "=needle\n[lines 1 to 1 of a file of 1099511627776 bytes; go on with line: 2]")
	expect(t, "its end", ask(t, c, "read", `{"path":"docs/text-then-hole","offset":1099511627770}`), "\x00")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := c.Run(ctx, &router.Call{Tool: "read", Arguments: json.RawMessage(`{"path":"docs/text-then-hole","line":3000}`)}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled read: %v", err)
	}
	expect(t, "write", ask(t, c, "write", `{"path":"docs/text-then-hole","content":"x","mode":"append"}`), "error: ")
	if _, err := c.ReadResource(t.Context(), "file:///docs/hole"); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("resource: %v", err)
	}
	deep := dir
	for range 70 {
		deep = filepath.Join(deep, "d")
	}
	tree(t, deep, map[string]string{"x.txt": "needle"})
	expect(t, "deep", ask(t, c, "list", `{"depth":64,"glob":"*.txt"}`), "nothing matches")
	expect(t, "too deep", ask(t, c, "read", `{"path":"docs`+strings.Repeat("/d", 70)+`/x.txt"}`), "error: path: is 72 folders deep, at most 64")
}

func TestNamesThatAreNoText(t *testing.T) {
	c, dir := open(t, nil)
	tree(t, dir, map[string]string{"good.txt": "x", "ba\xffd.txt": "x", "Case.txt": "upper", "case.txt": "lower", "\u202egnp.exe": "x", "a\tb": "x"})
	expect(t, "list", ask(t, c, "list", `{"path":"docs"}`), "docs/good.txt", "1 entry has a name that is not UTF-8", "!\xff", "!\u202e", "\"docs/a\\tb\"\t")
	expect(t, "case", ask(t, c, "read", `{"path":"docs/Case.txt"}`)+ask(t, c, "read", `{"path":"docs/case.txt"}`), "=upperlower")
	expect(t, "case of a folder", ask(t, c, "read", `{"path":"DOCS/case.txt"}`), "error: there is no docs/DOCS/case.txt")
}

func TestWithheld(t *testing.T) {
	files := map[string]string{".env": "s", "prod.ENV": "s", ".ssh/config": "s", "x/id_ed25519.pub": "s", "a.key": "s", "own/data.csv": "s", "own/sub/data.csv": "s", "fine.txt": "s"}
	for _, x := range []struct {
		edit func(*Config)
		want string
	}{
		{nil, "fine.txt own/data.csv own/sub/data.csv"},
		{func(c *Config) { c.Hidden = true }, "fine.txt own/data.csv own/sub/data.csv"},
		{func(c *Config) { c.AllowSecrets = true }, "a.key fine.txt own/data.csv own/sub/data.csv prod.ENV x/id_ed25519.pub"},
		{func(c *Config) { c.AllowSecrets, c.Hidden = true, true }, ".env .ssh/config a.key fine.txt own/data.csv own/sub/data.csv prod.ENV x/id_ed25519.pub"},
		{func(c *Config) { c.Deny = []string{"OWN/*.csv"} }, "fine.txt own/sub/data.csv"},
		{func(c *Config) { c.Deny = []string{"own"} }, "fine.txt"},
	} {
		c, dir := open(t, x.edit)
		tree(t, dir, files)
		page, next, err := c.Resources(t.Context(), "", 100)
		if err != nil || next != "" {
			t.Fatal(next, err)
		}
		var names []string
		for _, r := range page {
			names = append(names, strings.TrimPrefix(r.URI, "file:///docs/"))
		}
		expect(t, "offered", strings.Join(names, " "), "="+x.want)
		for name := range files {
			got := ask(t, c, "read", `{"path":"docs/`+name+`"}`)
			if offered := strings.Contains(" "+x.want+" ", " "+name+" "); offered != (got == "s") {
				t.Errorf("%s is offered: %v, read: %q", name, offered, got)
			}
		}
	}
}

func FuzzPath(f *testing.F) {
	c, dir := open(f, nil)
	outside := filepath.Join(filepath.Dir(dir), "outside")
	tree(f, outside, map[string]string{"secret.txt": canary})
	tree(f, dir, map[string]string{"a.txt": "x", "sub/.env": canary})
	for link, to := range map[string]string{"out": "../outside", "in": "sub", "abs": outside, "up": "sub/../..", "env": "sub/.env"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			f.Fatal(err)
		}
	}
	for _, path := range append(append(hostile(), odd(outside)...), "docs/in/.env", "docs/env", "docs/up/outside/secret.txt") {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		args, err := json.Marshal(map[string]string{"path": path})
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range []string{"read", "list"} {
			r, err := c.Run(t.Context(), &router.Call{Tool: tool, Arguments: args})
			if err == nil && (strings.Contains(r.Content[0].Text, canary) || strings.Contains(r.Content[0].Text, "secret")) {
				t.Errorf("%s %q: %q", tool, path, r.Content[0].Text)
			}
		}
		if r, err := c.ReadResource(t.Context(), "file:///"+path); err == nil && strings.Contains(r[0].Text, canary) {
			t.Errorf("resource %q", path)
		}
		_, _ = compileGlob(path)
		parseIgnore(".", path)
	})
}
