package files

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func contents(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWrite(t *testing.T) {
	c, dir := open(t, func(cfg *Config) { cfg.WriteBytes = 64 })
	tree(t, dir, map[string]string{"a.txt": "one two one", "crlf.txt": "a\r\nb\r\n", "latin.txt": "caf\xe9", "folder/": ""})
	for _, x := range []struct{ args, answer, path, holds string }{
		{`{"path":"docs/new/deep/x.txt","content":"hi"}`, "=docs/new/deep/x.txt has 2 bytes now.", "new/deep/x.txt", "hi"},
		{`{"path":"docs/a.txt","content":"x"}`, "error: docs/a.txt exists: mode overwrite, append or replace changes it", "a.txt", "one two one"},
		{`{"path":"docs/a.txt","content":"x","mode":"create"}`, "error: docs/a.txt exists", "a.txt", "one two one"},
		{`{"path":"docs/a.txt","content":"ONE","mode":"replace","old":"one"}`, "error: old: is in docs/a.txt 2 times", "a.txt", "one two one"},
		{`{"path":"docs/a.txt","content":"ONE","mode":"replace","old":"three"}`, "error: old: is not in docs/a.txt", "a.txt", "one two one"},
		{`{"path":"docs/a.txt","content":"2","mode":"replace","old":"two"}`, "=docs/a.txt has 9 bytes now.", "a.txt", "one 2 one"},
		{`{"path":"docs/a.txt","content":"!","mode":"append"}`, "10 bytes", "a.txt", "one 2 one!"},
		{`{"path":"docs/fresh.txt","content":"!","mode":"append"}`, "1 bytes", "fresh.txt", "!"},
		{`{"path":"docs/over.txt","content":"o","mode":"overwrite"}`, "1 bytes", "over.txt", "o"},
		{`{"path":"docs/a.txt","content":"","mode":"overwrite"}`, "0 bytes", "a.txt", ""},
		{`{"path":"docs/crlf.txt","content":"x","mode":"replace","old":"a\nb"}`, "error: old: is in docs/crlf.txt only with Windows line ends", "crlf.txt", "a\r\nb\r\n"},
		{`{"path":"docs/latin.txt","content":"x","mode":"append"}`, "error: docs/latin.txt is not text in UTF-8", "latin.txt", "caf\xe9"},
		{`{"path":"docs/a.txt","content":"x","mode":"append","old":"y"}`, "error: old: must be given with mode replace", "a.txt", ""},
		{`{"path":"docs/a.txt","content":"x","mode":"replace"}`, "error: old: must be given", "a.txt", ""},
		{`{"path":"docs/none.txt","content":"x","mode":"replace","old":"y"}`, "error: there is no docs/none.txt", "a.txt", ""},
		{`{"path":"docs/folder","content":"x","mode":"overwrite"}`, "error: docs/folder is a folder", "a.txt", ""},
		{`{"path":"docs/folder","content":"x"}`, "error: docs/folder exists", "a.txt", ""},
		{`{"path":"docs/a.txt/b","content":"x"}`, "error: docs/a.txt/b is not a folder, or a part of its path is none", "a.txt", ""},
		{`{"path":"docs","content":"x"}`, "error: path: name something in a folder", "a.txt", ""},
		{`{"path":"docs/a.txt","mode":"overwrite","content":"` + strings.Repeat("x", 65) + `"}`, "error: content: has 65 bytes, a file may have at most 64", "a.txt", ""},
	} {
		expect(t, x.args, ask(t, c, "write", x.args), x.answer)
		expect(t, x.args, contents(t, filepath.Join(dir, x.path)), "="+x.holds)
	}
	ask(t, c, "write", `{"path":"docs/full.txt","content":"`+strings.Repeat("x", 60)+`"}`)
	expect(t, "append too much", ask(t, c, "write", `{"path":"docs/full.txt","content":"12345","mode":"append"}`), "error: docs/full.txt would have 65 bytes")
	tree(t, dir, map[string]string{"big.txt": strings.Repeat("x", 65)})
	expect(t, "append to a large one", ask(t, c, "write", `{"path":"docs/big.txt","content":"1","mode":"append"}`), "error: big.txt has 65 bytes")
	noLeftovers(t, dir)
}

// noLeftovers looks for files of writes that did not end.
func noLeftovers(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), tempPrefix) {
			t.Errorf("%s was left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWriteKeepsTheMode(t *testing.T) {
	c, dir := open(t, nil)
	tree(t, dir, map[string]string{"run.sh": "x"})
	path := filepath.Join(dir, "run.sh")
	if err := os.Chmod(path, 0o751); err != nil {
		t.Fatal(err)
	}
	ask(t, c, "write", `{"path":"docs/run.sh","content":"y","mode":"overwrite"}`)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o751 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestWriteThroughALinkChangesItsTarget(t *testing.T) {
	c, dir := open(t, nil)
	tree(t, dir, map[string]string{"real/a.txt": "old"})
	for link, to := range map[string]string{"link.txt": "real/a.txt", "dangling": "real/new.txt", "dir": "real"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "a link", ask(t, c, "write", `{"path":"docs/link.txt","content":"new","mode":"overwrite"}`), "has 3 bytes now")
	expect(t, "one that leads to nothing yet", ask(t, c, "write", `{"path":"docs/dangling","content":"fresh"}`), "has 5 bytes now")
	expect(t, "in a linked folder", ask(t, c, "write", `{"path":"docs/dir/b.txt","content":"b"}`), "has 1 bytes now")
	for name, want := range map[string]string{"real/a.txt": "new", "real/new.txt": "fresh", "real/b.txt": "b"} {
		expect(t, name, contents(t, filepath.Join(dir, name)), "="+want)
	}
	if info, err := os.Lstat(filepath.Join(dir, "link.txt")); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
}

func TestManyAppends(t *testing.T) {
	c, dir := open(t, nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				ask(t, c, "write", `{"path":"docs/log","content":"x","mode":"append"}`)
			}
		})
	}
	all.Wait()
	expect(t, "the log", contents(t, filepath.Join(dir, "log")), "="+strings.Repeat("x", 160))
}

func TestMove(t *testing.T) {
	c, dir := open(t, func(cfg *Config) { cfg.Deny = []string{"private/**"} })
	tree(t, dir, map[string]string{"a.txt": "a", "b.txt": "b", "folder/x": "x", "full/.hidden": "", "private/x": "", "keys/a/b/x.pem": ""})
	if err := os.Symlink("a.txt", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ args, want string }{
		{`{"from":"docs/a.txt","to":"docs/b.txt"}`, "error: docs/b.txt exists"},
		{`{"from":"docs/a.txt","to":"docs/folder"}`, "error: docs/folder exists"},
		{`{"from":"docs/a.txt","to":"docs/none/c.txt"}`, "error: there is no docs/none/c.txt"},
		{`{"from":"docs/a.txt","to":"docs/folder/c.txt"}`, "=docs/a.txt is docs/folder/c.txt now."},
		{`{"from":"docs/a.txt","to":"docs/d.txt"}`, "error: there is no docs/a.txt"},
		{`{"from":"docs/folder","to":"docs/moved"}`, "=docs/folder is docs/moved now."},
		{`{"from":"docs/moved","to":"docs/moved/sub"}`, "error: docs/moved cannot be moved into itself"},
		{`{"from":"docs/full","to":"docs/empty"}`, "error: docs/full holds something that is hidden"},
		{`{"from":"docs/private","to":"docs/public"}`, "error: docs/private holds something"},
		{`{"from":"docs/keys","to":"docs/x"}`, "error: docs/keys holds something"},
		{`{"from":"docs/b.txt","to":"docs/b.pem"}`, "error: docs/b.pem is withheld"},
		{`{"from":"docs/b.txt","to":"docs/.b"}`, "error: docs/.b is hidden"},
		{`{"from":"docs/link","to":"docs/link2"}`, "error: docs/link is a link: only files and folders are moved"},
		{`{"from":"docs","to":"docs/x"}`, "error: path: name something"},
	} {
		expect(t, x.args, ask(t, c, "move", x.args), x.want)
	}
	expect(t, "what was moved", contents(t, filepath.Join(dir, "moved/c.txt")), "=a")
	expect(t, "what was not replaced", contents(t, filepath.Join(dir, "b.txt")), "=b")
}

func TestDelete(t *testing.T) {
	c, dir := open(t, nil)
	tree(t, dir, map[string]string{"a.txt": "a", "folder/x": "x", "empty/": "", "key.pem": ""})
	if err := os.Symlink("folder/x", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ path, want string }{
		{"docs/a.txt", "=docs/a.txt is deleted."},
		{"docs/a.txt", "error: there is no docs/a.txt"},
		{"docs/folder", "error: docs/folder is not empty"},
		{"docs/empty", "=docs/empty is deleted."},
		{"docs/link", "=docs/link is deleted."},
		{"docs/key.pem", "error: docs/key.pem is withheld"},
		{"docs", "error: path: name something"},
	} {
		expect(t, x.path, ask(t, c, "delete", `{"path":`+quoted(x.path)+`}`), x.want)
	}
	expect(t, "a link's target", contents(t, filepath.Join(dir, "folder/x")), "=x")
}
