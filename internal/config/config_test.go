package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type section struct {
	Listen  []string      `yaml:"listen"`
	MaxBody Size          `yaml:"max_body"`
	Wait    time.Duration `yaml:"wait"`
	Level   string        `yaml:"level"`
}

type root struct {
	Server section `yaml:"server"`
	Count  int     `yaml:"count"`
}

func TestDecode(t *testing.T) {
	got := root{Server: section{Level: "info", Wait: time.Second}}
	err := Decode("x.yaml", []byte("# comment\nserver:\n  listen: [a, 'b:1']\n  max_body: 2MiB\n  wait: 1m30s\n"), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := root{Server: section{Listen: []string{"a", "b:1"}, MaxBody: 2 << 20, Wait: 90 * time.Second, Level: "info"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, empty := range []string{"", "# nothing but a comment\n", "---\n", "server:\n  # level: x\n", "server: {level: , wait: ~}\ncount:\n"} {
		if err := Decode("x.yaml", []byte(empty), &got); err != nil {
			t.Errorf("empty file %q: %v", empty, err)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error("an empty file changed the defaults:", d)
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"unknown key", "server:\n  listn: [a]\n", `x.yaml:2:3: unknown field "listn"
   1 | server:
>  2 |   listn: [a]
         ^`},
		{"key twice", "count: 1\nserver:\n  wait: 1s\ncount: 2\n", `x.yaml:4:1: mapping key "count" already defined at [1:1]
   1 | count: 1
   2 | server:
   3 |   wait: 1s
>  4 | count: 2
       ^`},
		{"wrong type", "count: many\n", `x.yaml:1:8: expected a whole number
>  1 | count: many
              ^`},
		{"bad size", "server:\n  max_body: 12\n", `x.yaml:2:13: "12" is not a size: write a number and a unit, such as 512MiB, 8GiB or 64KiB
   1 | server:
>  2 |   max_body: 12
                   ^`},
		{"section is a list", "server: [a]\n", `x.yaml:1:9: sequence was used where mapping is expected
>  1 | server: [a]
               ^`},
		{"bad duration", "server:\n  wait: 5\n", `x.yaml:2:9: expected a duration with a unit, such as 30s or 5m
   1 | server:
>  2 |   wait: 5
               ^`},
		{"a tag that is not of the type", "server:\n  listen: !x 0\n", "x.yaml: the file cannot be read as YAML (runtime error: invalid memory address or nil pointer dereference): write plain keys and values, without tags"},
		{"two documents", "count: 1\n---\ncount: 2\n", "x.yaml: the file holds more than one YAML document (a line of ---), only one is read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Decode("x.yaml", []byte(c.yaml), new(root))
			if err == nil {
				t.Fatal("no error")
			}
			if d := cmp.Diff(c.want, err.Error()); d != "" {
				t.Error(d)
			}
		})
	}
	if err := Decode("x.yaml", make([]byte, MaxBytes+1), new(root)); err == nil || !strings.Contains(err.Error(), "at most 1048576") {
		t.Errorf("huge file: %v", err)
	}
}

func TestLocate(t *testing.T) {
	data := []byte("server:\n  listen:\n    - a\n    - b\n")
	err := Locate("x.yaml", data, Under("server", Invalid("listen[1]", "b is no address")))
	want := `x.yaml:4:7: server.listen[1]: b is no address
   1 | server:
   2 |   listen:
   3 |     - a
>  4 |     - b
             ^`
	if d := cmp.Diff(want, err.Error()); d != "" {
		t.Error(d)
	}
	if got := Under("server", Under("listen", Invalid("[1]", "x"))).Error(); got != "server.listen[1]: x" {
		t.Errorf("an entry of a list: %s", got)
	}
	err = Locate("x.yaml", data, Invalid("engine.threads", "must be positive"))
	if want := "x.yaml: engine.threads: must be positive"; err.Error() != want {
		t.Errorf("a value that the file does not hold: %q, want %q", err, want)
	}
	other := errors.New("other")
	if got := Locate("x.yaml", data, other); got != other {
		t.Errorf("another error became %v", got)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv(Env, "")
	write := func(name string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if _, err := Find("missing.yaml"); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("a missing file that the flag names: %v", err)
	}
	here := write("hearth.yaml")
	if got, err := Find(""); err != nil || got != here {
		t.Errorf("Find = %q, %v, want %q", got, err, here)
	}
	env := write("env.yaml")
	t.Setenv(Env, env)
	if got, err := Find(""); err != nil || got != env {
		t.Errorf("Find = %q, %v, want %q", got, err, env)
	}
	flag := write("flag.yaml")
	if got, err := Find(flag); err != nil || got != flag {
		t.Errorf("Find = %q, %v, want %q", got, err, flag)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0B": 0, "17B": 17, "1KiB": 1024, "512MiB": 512 << 20, "1.5GiB": 3 << 29, "2TiB": 2 << 40, "3kB": 3000, "1 MB": 1e6,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
		if back, err := ParseSize(want.String()); err != nil || back != want {
			t.Errorf("%v read back as %d, %v", want, back, err)
		}
	}
	for _, bad := range []string{"", "12", "MiB", "-1MiB", "NaNB", "99999999TiB", "1 mib"} {
		if got, err := ParseSize(bad); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", bad, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("server:\n  listen: [a]\n  max_body: 2MiB\n"))
	f.Add([]byte("a: &x {b: *x}\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := Decode("x", data, new(root)); err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
	})
}
