package archtest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// What these tests compare with the code is read from the sources as text, so
// that the rules hold also where the packages do not build.

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{root(t)}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// found returns the first group of every match, sorted and once each; fewer
// than least mean that the expression does not fit the source any more.
func found(t *testing.T, expression, text string, least int) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) < least {
		t.Fatalf("%s finds %q only: the source has another form now", expression, all)
	}
	return all
}

// names reports what the page does not name in the form `name`.
func names(t *testing.T, page, text, what string, all []string) {
	t.Helper()
	for _, name := range all {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("%s does not name the %s `%s`", page, what, name)
		}
	}
}

// sources joins the files of a folder that are not tests.
func sources(t *testing.T, folder ...string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(append(append([]string{root(t)}, folder...), "*.go")...))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources in %v: %v", folder, err)
	}
	var all strings.Builder
	for _, f := range files {
		if text, err := os.ReadFile(f); err != nil {
			t.Fatal(err)
		} else if !strings.HasSuffix(f, "_test.go") {
			all.Write(text)
		}
	}
	return all.String()
}

// yamlKeys returns the paths of all values of a document. An empty section is a
// value: its keys are the reader's.
func yamlKeys(at string, v any) []string {
	section, ok := v.(map[string]any)
	if !ok || len(section) == 0 {
		return []string{at}
	}
	var all []string
	for k, inside := range section {
		all = append(all, yamlKeys(strings.TrimPrefix(at+"."+k, "."), inside)...)
	}
	return all
}

// TestConfigurationPage holds docs/configuration.md against the default file,
// the fields of a model, the flags, and the variables that the code asks for.
func TestConfigurationPage(t *testing.T) {
	page := read(t, "docs", "configuration.md")
	const name = "docs/configuration.md"

	var file map[string]any
	if err := yaml.Unmarshal([]byte(read(t, "cmd", "hearth", "hearth.default.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	keys := slices.DeleteFunc(yamlKeys("", file), func(k string) bool { return k == "models" })
	config := read(t, "cmd", "hearth", "config.go")
	_, model, ok := strings.Cut(config, "type ModelConfig struct {")
	model, _, ok2 := strings.Cut(model, "\n}")
	if !ok || !ok2 {
		t.Fatal("cmd/hearth/config.go has no type ModelConfig")
	}
	for _, k := range found(t, `yaml:"(\w+)"`, model, 5) {
		keys = append(keys, "models[]."+k)
	}
	names(t, name, page, "key", keys)
	for _, k := range found(t, "(?m)^\\| `([a-z]+(?:\\[\\])?\\.[a-z_.]+)`", page, 40) {
		if !slices.Contains(keys, k) {
			t.Errorf("%s names the key `%s`, which there is not", name, k)
		}
	}

	for _, f := range found(t, `flags\.\w+\([^"]*"([a-z-]+)"`, read(t, "cmd", "hearth", "flags.go"), 8) {
		names(t, name, page, "flag", []string{"--" + f})
	}

	variables := found(t, `"(HEARTH_[A-Z_]+)"`, sources(t, "cmd", "hearth")+sources(t, "internal", "config")+
		sources(t, "internal", "testkit")+sources(t, "internal", "benchsuite")+sources(t, "third_party", "fetch"), 7)
	names(t, name, page, "variable", variables)
}

// TestAPIPage holds docs/api.md against the routes, the fields that the decoder
// looks at, the table of errors, the metrics and the tools of the MCP server.
func TestAPIPage(t *testing.T) {
	page := read(t, "docs", "api.md")
	const name = "docs/api.md"

	routes := regexp.MustCompile(`r\.(Get|Post|Put|Patch|Delete)\("([^"]+)"`)
	count := 0
	for prefix, source := range map[string]string{"/v1": read(t, "inference", "api", "openai", "api.go"), "": read(t, "cmd", "hearth", "app.go")} {
		for _, m := range routes.FindAllStringSubmatch(source, -1) {
			count++
			path := prefix + strings.ReplaceAll(m[2], "*", "{id}")
			names(t, name, page, "route", []string{strings.ToUpper(m[1]) + " " + path})
		}
	}
	if count < 9 {
		t.Errorf("only %d routes are found in the sources", count)
	}
	names(t, name, page, "route", []string{"POST /mcp", "GET /metrics"})

	decoder := sources(t, "inference", "api", "openai")
	names(t, name, page, "field", found(t, `\b(?:f|o|fn|args|bias|wrapper)\.(?:str|boolean|float|integer|list|object|take|refuse)\("(\w+)"`, decoder, 40))
	options := read(t, "inference", "api", "openai", "options.go")
	names(t, name, page, "field", found(t, `(?m)^\t"(\w+)": +"`, options, 15))
	_, inert, _ := strings.Cut(options, "var inert = []string{")
	inert, _, _ = strings.Cut(inert, "}")
	names(t, name, page, "field", found(t, `"(\w+)"`, inert, 5))

	rows := regexp.MustCompile(`Status\{HTTP: (\d+), Type: "(\w+)", Code: "(\w+)", RPC: (-\d+)`).FindAllStringSubmatch(read(t, "inference", "errors.go"), -1)
	if len(rows) < 10 {
		t.Errorf("only %d rows are found in the table of errors", len(rows))
	}
	for _, m := range rows {
		if row := fmt.Sprintf("| %s | `%s` | `%s` | %s |", m[1], m[2], m[3], m[4]); !strings.Contains(page, row) {
			t.Errorf("%s has no row %s", name, row)
		}
	}

	var metrics []string
	for _, m := range found(t, `(?:counter|gauge|histogram)\("(\w+)", "`, read(t, "internal", "telemetry", "metrics.go"), 15) {
		metrics = append(metrics, "hearth_"+m)
	}
	names(t, name, page, "metric", metrics)
	for _, m := range found(t, "`(hearth_\\w+)`", page, 15) {
		if !slices.Contains(metrics, m) {
			t.Errorf("%s names the metric %s, which there is not", name, m)
		}
	}

	tools, err := filepath.Glob(filepath.Join(root(t), "mcpserver", "testdata", "*.json"))
	if err != nil || len(tools) < 4 {
		t.Fatalf("the tools of the MCP server: %q, %v", tools, err)
	}
	for _, f := range tools {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var tool struct {
			Name        string
			InputSchema struct{ Properties map[string]any }
		}
		if err := json.Unmarshal(text, &tool); err != nil {
			t.Fatal(err)
		}
		names(t, name, page, "tool", []string{tool.Name})
		for argument := range tool.InputSchema.Properties {
			names(t, name, page, "argument of "+tool.Name, []string{argument})
		}
	}
}

// TestPagesNameRealThings: links within the repository lead somewhere, and so
// do the paths that ARCHITECTURE.md names.
func TestPagesNameRealThings(t *testing.T) {
	top := root(t)
	pages, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	if err != nil || len(pages) < 4 {
		t.Fatalf("the pages: %q, %v", pages, err)
	}
	pages = append(pages, filepath.Join(top, "README.md"), filepath.Join(top, "ARCHITECTURE.md"))
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", filepath.Base(page), m[1])
			}
		}
	}
	for _, path := range found(t, "`((?:cmd|inference|internal|mcpserver|models|tests|third_party|build|docs|cuda)/[\\w./-]*)`", read(t, "ARCHITECTURE.md"), 20) {
		if _, err := os.Stat(filepath.Join(top, path)); err != nil && !strings.HasPrefix(path, "build/out") {
			t.Errorf("ARCHITECTURE.md names %s, which is not there", path)
		}
	}
}
