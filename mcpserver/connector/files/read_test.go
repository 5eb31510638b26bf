package files

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestList(t *testing.T) {
	c, dir := open(t, func(cfg *Config) { cfg.Entries = 3 })
	tree(t, dir, map[string]string{"b.txt": "hello", "a/x.txt": "1", "a/deep/y.md": "22", ".hidden": "", "key.pem": "", "new\nline": "", "z/": ""})
	if err := os.Symlink("b.txt", filepath.Join(dir, "c.link")); err != nil {
		t.Fatal(err)
	}
	expect(t, "roots", ask(t, c, "list", `{}`), "=docs/\tcan be read and written\n")
	expect(t, "first", ask(t, c, "list", `{"path":"docs"}`),
		"=docs/a/\ndocs/b.txt\t5 bytes\t2023-11-14T22:13:20Z\ndocs/c.link\ta link\n[there is more: go on with offset: 3, or ask for a folder or glob; 2 hidden or withheld entries are not shown]")
	expect(t, "rest", ask(t, c, "list", `{"path":"docs","offset":3}`), "\"docs/new\\nline\"\t0 bytes", "docs/z/\n[2 hidden or withheld entries are not shown]")
	expect(t, "too far", ask(t, c, "list", `{"path":"docs","offset":9}`), "there are only 5 entries")
	expect(t, "a glob", ask(t, c, "list", `{"glob":"*.{md,txt}"}`), "docs/a/deep/y.md\t2 bytes", "docs/a/x.txt", "docs/b.txt", "!link")
	expect(t, "depth", ask(t, c, "list", `{"path":"docs/a","depth":2}`), "docs/a/deep/\ndocs/a/deep/y.md\t2 bytes\t2023-11-14T22:13:20Z\ndocs/a/x.txt")
	expect(t, "a file", ask(t, c, "list", `{"path":"docs/b.txt"}`), "=docs/b.txt\t5 bytes\t2023-11-14T22:13:20Z\n")
	expect(t, "empty", ask(t, c, "list", `{"path":"docs/z"}`), "=[the folder is empty]")
	expect(t, "no match", ask(t, c, "list", `{"path":"docs/z","glob":"*"}`), "=[nothing matches]")
	expect(t, "none", ask(t, c, "list", `{"path":"docs/none"}`), "error: there is no docs/none: list shows what there is")
	expect(t, "bad glob", ask(t, c, "list", `{"glob":"["}`), "error: glob: ")
	expect(t, "the only folder's name left out", ask(t, c, "list", `{"path":"a/deep"}`), "docs/a/deep/y.md")
}

func TestListThroughALink(t *testing.T) {
	c, dir := open(t, nil)
	tree(t, dir, map[string]string{"real/sub/a.txt": "1"})
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	expect(t, "list", ask(t, c, "list", `{"path":"docs/link","depth":2}`), "docs/link/sub/\ndocs/link/sub/a.txt\t1 bytes")
	expect(t, "read", ask(t, c, "read", `{"path":"docs/link/sub/a.txt"}`), "=1")
}

func TestTwoRoots(t *testing.T) {
	other := t.TempDir()
	c, dir := open(t, func(cfg *Config) { cfg.Roots = append(cfg.Roots, Root{Name: "notes", Path: other}) })
	tree(t, dir, map[string]string{"a.txt": "needle one"})
	tree(t, other, map[string]string{"b.txt": "needle two"})
	expect(t, "list", ask(t, c, "list", `{}`), "=docs/\tcan be read and written\nnotes/\tcan be read\n")
	expect(t, "deep list", ask(t, c, "list", `{"depth":2}`), "docs/a.txt\t", "notes/b.txt\t")
	expect(t, "search", ask(t, c, "search", `{"query":"NEEDLE"}`), "=docs/a.txt:1: needle one\nnotes/b.txt:1: needle two\n")
	expect(t, "a name that is no folder's", ask(t, c, "read", `{"path":"a.txt"}`), "error: path: there is no folder a.txt; there are: docs, notes")
	expect(t, "not writable", ask(t, c, "write", `{"path":"notes/x","content":""}`), "write is not allowed there")
	expect(t, "not deletable", ask(t, c, "delete", `{"path":"notes/b.txt"}`), "delete is not allowed there")
	expect(t, "move out of one that can only be read", ask(t, c, "move", `{"from":"notes/b.txt","to":"docs/b.txt"}`), "write is not allowed there")
	expect(t, "move into it", ask(t, c, "move", `{"from":"docs/a.txt","to":"notes/a.txt"}`), "write is not allowed there")
}

func TestRead(t *testing.T) {
	c, dir := open(t, func(cfg *Config) { cfg.ReadBytes = 40 })
	tree(t, dir, map[string]string{
		"small.txt": "one\ntwo\nthree", "empty.txt": "", "bom.txt": "\xef\xbb\xbfhi\n", "utf16.txt": "\xff\xfeh\x00\xe9\x00\n\x00", "utf16be.txt": "\xfe\xff\x00h\x00i",
		"bare16.txt": "h\x00e\x00l\x00l\x00o\x00", "latin.txt": "caf\xe9\n", "data.bin": "\x00\x01\x02", "pic.png": "\x89PNG\r\n\x1a\n\x00", "crlf.txt": "a\r\nb\r\n",
		"wide.txt": strings.Repeat("é", 50), "many.txt": strings.Repeat("0123456789\n", 10), "late.txt": strings.Repeat("x", sniffBytes) + "\n\xff\xfe\n",
	})
	for _, x := range []struct{ args, want string }{
		{`{"path":"docs/small.txt"}`, "=one\ntwo\nthree"},
		{`{"path":"/docs/./small.txt/"}`, "=one\ntwo\nthree"},
		{`{"path":"docs/small.txt","numbers":true}`, "=     1\tone\n     2\ttwo\n     3\tthree"},
		{`{"path":"docs/small.txt","line":2,"lines":1}`, "=two\n[lines 2 to 2 of a file of 13 bytes; go on with line: 3]"},
		{`{"path":"docs/small.txt","line":3,"lines":1}`, "=three"},
		{`{"path":"docs/small.txt","line":4}`, "=error: line: docs/small.txt has 3 lines"},
		{`{"path":"docs/empty.txt"}`, "=[the file is empty]"},
		{`{"path":"docs/empty.txt","offset":0}`, "="},
		{`{"path":"docs/bom.txt"}`, "=hi\n"},
		{`{"path":"docs/bom.txt","offset":0}`, "=hi\n"},
		{`{"path":"docs/utf16.txt"}`, "=hé\n[decoded from UTF-16LE]"},
		{`{"path":"docs/utf16.txt","offset":0,"bytes":3}`, "=h[bytes 2 to 4 of 8; go on with offset: 4; decoded from UTF-16LE]"},
		{`{"path":"docs/utf16be.txt"}`, "=hi[decoded from UTF-16BE]"},
		{`{"path":"docs/bare16.txt"}`, "=hello[decoded from UTF-16LE]"},
		{`{"path":"docs/latin.txt"}`, "=café\n[decoded from Windows-1252]"},
		{`{"path":"docs/crlf.txt","line":2}`, "=b\r\n"},
		{`{"path":"docs/data.bin"}`, "=docs/data.bin is not text (application/octet-stream, 3 bytes): it can be read as a resource.link file:///docs/data.bin"},
		{`{"path":"docs/pic.png"}`, "=docs/pic.png is not text (image/png, 9 bytes): it can be read as a resource.link file:///docs/pic.png"},
		{`{"path":"docs/small.txt","offset":4,"bytes":3}`, "=two[bytes 4 to 7 of 13; go on with offset: 7]"},
		{`{"path":"docs/small.txt","offset":8}`, "=three"},
		{`{"path":"docs/small.txt","offset":13}`, "=error: offset: docs/small.txt has 13 bytes"},
		{`{"path":"docs/wide.txt","offset":1,"bytes":4}`, "=éé[bytes 2 to 6 of 100; go on with offset: 6]"},
		{`{"path":"docs/wide.txt","offset":2,"bytes":1}`, "=é[bytes 2 to 4 of 100; go on with offset: 4]"},
		{`{"path":"docs/wide.txt"}`, "=" + strings.Repeat("é", 20) + "[line 1 is longer than the 40 bytes of one call and is cut: read it with offset and bytes]"},
		{`{"path":"docs/many.txt"}`, "=" + strings.Repeat("0123456789\n", 3) + "[lines 1 to 3 of a file of 110 bytes; go on with line: 4]"},
		{`{"path":"docs/late.txt","line":2}`, "=\ufffd\n[some bytes are not text: they are shown as \ufffd]"},
		{`{"path":"docs/small.txt","offset":1,"line":2}`, "error: offset: give either"},
		{`{"path":"docs/small.txt","bytes":1,"offset":0,"numbers":true}`, "error: offset: give either"},
		// what need not be there may be written as if it were not
		{`{"path":"docs/small.txt","line":1,"lines":0,"offset":0,"bytes":0,"numbers":false}`, "=one\ntwo\nthree"},
		{`{"path":"docs/small.txt","offset":3,"bytes":0,"line":1,"lines":0}`, "=\ntwo\nthree"},
		{`{"path":"docs/small.txt","bytes":1}`, "error: bytes: give offset, too"},
		{`{"path":"docs"}`, "error: docs is a folder"},
		{`{"path":"docs/none/x"}`, "error: there is no docs/none/x"},
		{`{"path":"docs/small.txt/x"}`, "error: docs/small.txt/x is not a folder, or a part of its path is none"},
	} {
		expect(t, x.args, ask(t, c, "read", x.args), x.want)
	}
}

// TestReadingOnReadsAll reads files piece by piece, as the notes say, and puts
// the pieces together.
func TestReadingOnReadsAll(t *testing.T) {
	c, dir := open(t, func(cfg *Config) { cfg.ReadBytes = 16 })
	text := strings.Repeat("aé€😀\n", 20)
	tree(t, dir, map[string]string{"x.txt": text})
	for _, by := range []string{"line", "offset"} {
		var all strings.Builder
		next := map[string]int{"line": 1, "offset": 0}[by]
		for range 200 {
			got := ask(t, c, "read", fmt.Sprintf(`{"path":"docs/x.txt",%q:%d}`, by, next))
			part, note, cut := strings.Cut(got, "[")
			all.WriteString(part)
			if !cut {
				break
			}
			if _, err := fmt.Sscanf(note[strings.Index(note, "go on with"):], "go on with "+by+": %d", &next); err != nil {
				t.Fatalf("%q: %v", note, err)
			}
		}
		expect(t, by, all.String(), "="+text)
	}
}

func TestSearch(t *testing.T) {
	c, dir := open(t, func(cfg *Config) { cfg.Matches = 6 })
	tree(t, dir, map[string]string{
		"a.txt": "one\nTwo needle\nthree\nfour\nfive needle\nsix\n", "sub/b.md": "Needle\n", "bin.dat": "needle\x00", "sub/needle.png": "\x89PNG\x00",
		"utf16.txt": "\xff\xfen\x00e\x00e\x00d\x00l\x00e\x00", ".git/x": "needle", ".hidden/x": "needle", ".gitignore": "skipped/\n", "skipped/x.txt": "needle", "id_rsa": "needle",
		"long.txt": strings.Repeat("é", 1000) + "NEEDLE" + strings.Repeat("x", 1000),
	})
	expect(t, "literal", ask(t, c, "search", `{"query":"needle"}`),
		"docs/a.txt:2: Two needle\ndocs/a.txt:5: five needle\n", "docs/long.txt:1: …", "NEEDLE", "docs/sub/b.md:1: Needle\n", "docs/sub/needle.png\n", "docs/utf16.txt:1: needle\n",
		"2 files that are not text were passed over", "hidden or withheld entries are not shown", "1 entry that .gitignore leaves out is not shown", "!skipped", "!id_rsa", "!.git/x")
	if got := ask(t, c, "search", `{"query":"needle","include":"long.txt","path":"docs"}`); len(got) > 800 {
		t.Errorf("a long line is shown with %d bytes", len(got))
	}
	expect(t, "case", ask(t, c, "search", `{"query":"Needle","case":true}`), "=docs/sub/b.md:1: Needle\n[2 files that are not text were passed over; 4 hidden or withheld entries are not shown; 1 entry that .gitignore leaves out is not shown (ignored: true shows it)]")
	expect(t, "ignored", ask(t, c, "search", `{"query":"needle","ignored":true,"include":"skipped/*"}`), "docs/skipped/x.txt:1: needle")
	expect(t, "context", ask(t, c, "search", `{"query":"needle","context":1,"path":"docs/a.txt"}`),
		"=docs/a.txt-1- one\ndocs/a.txt:2: Two needle\ndocs/a.txt-3- three\ndocs/a.txt-4- four\ndocs/a.txt:5: five needle\ndocs/a.txt-6- six\n")
	expect(t, "context with a gap", ask(t, c, "search", `{"query":"one|five","regexp":true,"context":1,"path":"docs/a.txt"}`),
		"=docs/a.txt:1: one\ndocs/a.txt-2- Two needle\n--\ndocs/a.txt-4- four\ndocs/a.txt:5: five needle\ndocs/a.txt-6- six\n")
	expect(t, "regexp", ask(t, c, "search", `{"query":"^s[i]x$","regexp":true,"where":"contents"}`), "docs/a.txt:6: six")
	expect(t, "names", ask(t, c, "search", `{"query":"SUB","where":"names"}`), "docs/sub/\n")
	expect(t, "exclude", ask(t, c, "search", `{"query":"needle","exclude":"sub"}`), "!docs/sub")
	expect(t, "nothing", ask(t, c, "search", `{"query":"nowhere","path":"docs/sub","include":"*.md"}`), "=[nothing found in 1 files]")
	expect(t, "bad regexp", ask(t, c, "search", `{"query":"(","regexp":true}`), "error: query: is no regular expression")
	expect(t, "literal brackets", ask(t, c, "search", `{"query":"("}`), "nothing found")
	expect(t, "bad globs", ask(t, c, "search", `{"query":"x","include":"["}`), "error: include: ")

	few, dir := open(t, func(cfg *Config) { cfg.Matches = 2 })
	tree(t, dir, map[string]string{"a.txt": "x\nx\nx\n"})
	expect(t, "too many", ask(t, few, "search", `{"query":"x","where":"contents"}`), "=docs/a.txt:1: x\ndocs/a.txt:2: x\n[only the first 2 matches are shown: narrow the search by path, include or query]")
	small, dir := open(t, func(cfg *Config) { cfg.SearchBytes = 100; cfg.SearchFiles = 2 })
	tree(t, dir, map[string]string{"a.txt": strings.Repeat("y\n", 80)})
	expect(t, "too many bytes", ask(t, small, "search", `{"query":"x"}`), "the search ended after 102 bytes, in docs/a.txt")
	tree(t, dir, map[string]string{"a.txt": "", "b.txt": "", "c.txt": "x"})
	expect(t, "too many files", ask(t, small, "search", `{"query":"x","where":"contents"}`), "the search ended after 2 files", "nothing found in 2 files")
	slow, dir := open(t, func(cfg *Config) { cfg.SearchTime = 1 })
	tree(t, dir, map[string]string{"a.txt": "x"})
	expect(t, "too long", ask(t, slow, "search", `{"query":"x"}`), "the search ended after 1ns")
}
