package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath string
	Name       string
	Dir        string
	Doc        string
	CgoFiles   []string
	Imports    []string
}

func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("go env GOMOD: %v", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Dir,Doc,CgoFiles,Imports", "./...")
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list found only %d packages: the rules below would hold of nothing", len(all))
	}
	return all
}

// allowed lists, for each package, the packages of this module that it may
// import. A package that is not listed may import none. A name that ends in
// "/..." stands for all below it.
var allowed = map[string][]string{
	"hearth/inference":                    {},
	"hearth/inference/llama":              {"hearth/inference"},
	"hearth/inference/prefixstore":        {"hearth/internal/config"},
	"hearth/inference/engine":             {"hearth/inference", "hearth/inference/prefixstore"},
	"hearth/inference/engine/enginetest":  {"hearth/inference", "hearth/inference/engine"},
	"hearth/inference/chat":               {"hearth/inference", "hearth/inference/engine", "hearth/internal/jsonschema"},
	"hearth/inference/embed":              {"hearth/inference"},
	"hearth/inference/residency":          {"hearth/inference"},
	"hearth/inference/api/openai":         {"hearth/inference"},
	"hearth/mcpserver":                    {"hearth/inference", "hearth/internal/jsonschema", "hearth/mcpserver/router", "hearth/mcpserver/schema"},
	"hearth/mcpserver/toolsapi":           {"hearth/inference", "hearth/mcpserver/router"},
	"hearth/mcpserver/schema":             {"hearth/inference", "hearth/internal/jsonschema"},
	"hearth/mcpserver/agent":              {"hearth/inference", "hearth/internal/config", "hearth/mcpserver/router"},
	"hearth/mcpserver/router":             {"hearth/inference", "hearth/internal/config", "hearth/mcpserver/schema"},
	"hearth/internal/httpserver":          {"hearth/internal/config"},
	"hearth/internal/netguard":            {"hearth/internal/config"},
	"hearth/internal/benchsuite":          {"hearth/internal/loadgen"},
	"hearth/internal/evaltools":           {"hearth/internal/subject"},
	"hearth/internal/evalforced":          {"hearth/internal/subject"},
	"hearth/internal/evalagent":           {"hearth/internal/dbserver", "hearth/internal/subject"},
	"hearth/internal/testkit":             {"hearth/internal/dbserver"},
	"hearth/internal/soak":                {"hearth/internal/subject"},
	"hearth/internal/example":             {"hearth/internal/subject"},
	"hearth/examples/database":            {"hearth/internal/dbserver", "hearth/internal/example"},
	"hearth/internal/example/exampletest": {"hearth/internal/example", "hearth/internal/testkit"},
	"hearth/examples/web":                 {"hearth/internal/example", "hearth/internal/subject"},
	"hearth/examples/assistant":           {"hearth/internal/example"},
	"hearth/cmd/hearth":                   {"hearth/inference/...", "hearth/inference", "hearth/mcpserver", "hearth/mcpserver/...", "hearth/models", "hearth/cuda", "hearth/internal/..."},
}

// connectorMay is what each package below mcpserver/connector may import: no other
// connector.
var connectorMay = []string{"hearth/inference", "hearth/internal/config", "hearth/internal/inflight", "hearth/internal/netguard", "hearth/internal/plain", "hearth/mcpserver/router"}

// rules returns what the package may import.
func rules(path string) []string {
	if strings.HasPrefix(path, "hearth/mcpserver/connector/") {
		if own, _, inside := strings.Cut(path, "/internal/"); inside {
			return append(slices.Clone(connectorMay), own) // a program that its tests build
		}
		return connectorMay
	}
	return allowed[path]
}

func permits(rules []string, imp string) bool {
	return slices.ContainsFunc(rules, func(r string) bool {
		if prefix, all := strings.CutSuffix(r, "/..."); all {
			return strings.HasPrefix(imp, prefix+"/")
		}
		return r == imp
	})
}

func TestImportsPointDownward(t *testing.T) {
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, "hearth/") || permits(rules(p.ImportPath), imp) {
				continue
			}
			t.Errorf("%s imports %s, which is not among what it may import: %v", p.ImportPath, imp, rules(p.ImportPath))
		}
	}
}

func TestRulesNameRealPackages(t *testing.T) {
	var have []string
	for _, p := range packages(t) {
		have = append(have, p.ImportPath)
	}
	for name := range allowed {
		if !slices.Contains(have, name) {
			t.Errorf("there is a rule for %s, but no such package", name)
		}
	}
}

func TestOnlyTheFenceSpeaksC(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.CgoFiles) > 0 && p.ImportPath != "hearth/inference/llama" {
			t.Errorf("%s says import \"C\" in %v: only inference/llama may", p.ImportPath, p.CgoFiles)
		}
	}
}

// exportedC finds a C type in the signature of an exported function or method.
var exportedC = regexp.MustCompile(`(?m)^func (\([^)]*\) )?[A-Z]\w*\([^{\n]*\bC\.`)

func TestNoCTypeLeavesTheFence(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root(t), "inference", "llama", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in the fence: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if m := exportedC.Find(text); m != nil && !strings.HasSuffix(f, "_test.go") {
			t.Errorf("%s: a C type in an exported signature: %s", filepath.Base(f), m)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if strings.TrimSpace(p.Doc) == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		if slices.Contains([]string{"util", "utils", "common", "helpers", "misc"}, p.Name) {
			t.Errorf("%s: a package's name says what it owns", p.ImportPath)
		}
	}
}

// hosts and machine paths that must never be committed. The words are split so
// that this file does not match itself.
var forbidden = regexp.MustCompile(`(pypi\.` + `org|proxy\.golang\.` + `org|registry\.` + `npmjs|deb\.` + `debian\.org|files\.python` + `hosted)|(^|[^A-Za-z0-9_./-])/(wo` + `rk|ro` + `ot)/`)

func TestNothingNamesARegistryOrAMachine(t *testing.T) {
	top := root(t)
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = top
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		path := filepath.Join(top, name)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 1<<20 {
			t.Errorf("%s has %d bytes: nothing over 1 MB is committed", name, info.Size())
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if m := forbidden.FindString(line); m != "" {
				t.Errorf("%s:%d names %q", name, i+1, m)
			}
		}
	}
}
