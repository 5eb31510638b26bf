package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestPinsOfTheProject(t *testing.T) {
	root, err := findRoot()
	must(t, err)
	file := filepath.Join(root, "third_party", "pins.json")
	pins, err := loadPins(file)
	must(t, err)
	for _, set := range []string{"source", "model", "tools", "cuda"} {
		if len(inSet(pins, set)) == 0 {
			t.Errorf("no pin of set %s", set)
		}
	}
	for _, name := range []string{"llama.cpp", "cmake", "ninja"} {
		if _, err := named(pins, name); err != nil {
			t.Error(err)
		}
	}
	// Where files come from is the machine's own affair.
	for _, name := range append(requirements(root), file) {
		raw, err := os.ReadFile(name)
		must(t, err)
		if strings.Contains(string(raw), "://") {
			t.Errorf("%s holds an address", name)
		}
	}
	licences, err := os.ReadFile(filepath.Join(root, "third_party", "LICENSES.md"))
	must(t, err)
	for _, p := range pins {
		if !strings.Contains(string(licences), p.Package) {
			t.Errorf("LICENSES.md does not say %s", p.Package)
		}
	}
}

// requirements are the files of the Python environments.
func requirements(root string) []string {
	var files []string
	for _, folder := range []string{"", "searxng", "llamaindex"} {
		files = append(files, filepath.Join(root, "tests", folder, "requirements.txt"))
	}
	return files
}

// TestRequirementsHaveSums holds each package of the Python environments to a
// version and a checksum.
func TestRequirementsHaveSums(t *testing.T) {
	root, err := findRoot()
	must(t, err)
	var raw []byte
	for _, name := range requirements(root) {
		one, err := os.ReadFile(name)
		must(t, err)
		raw = append(append(raw, one...), '\n')
	}
	pinned := regexp.MustCompile(`^[a-z0-9-]+==[0-9][^ ]* .*--hash=sha256:[0-9a-f]{64}$`)
	text := strings.ReplaceAll(string(raw), "\\\n", "")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !pinned.MatchString(line) {
			t.Errorf("not a version with checksums: %s", line)
		}
	}
}

func TestLoadPinsRefuses(t *testing.T) {
	good := `{"name":"n","set":"source","package":"p","version":"1","file":"f.tar.gz","sha256":"` +
		sumOf("x") + `","bytes":1,"licence":"MIT","use":"u"}`
	for name, text := range map[string]string{
		"not JSON":          `{`,
		"unknown field":     `{"files":[` + strings.Replace(good, `"use"`, `"uses":"","use"`, 1) + `]}`,
		"twice":             `{"files":[` + good + `,` + good + `]}`,
		"path as file":      `{"files":[` + strings.Replace(good, "f.tar.gz", "../f.tar.gz", 1) + `]}`,
		"dots as file":      `{"files":[` + strings.Replace(good, "f.tar.gz", "..", 1) + `]}`,
		"short sum":         `{"files":[` + strings.Replace(good, sumOf("x"), "abcd", 1) + `]}`,
		"no size":           `{"files":[` + strings.Replace(good, `"bytes":1`, `"bytes":0`, 1) + `]}`,
		"unknown set":       `{"files":[` + strings.Replace(good, `"source"`, `"sauce"`, 1) + `]}`,
		"no licence":        `{"files":[` + strings.Replace(good, `"MIT"`, `""`, 1) + `]}`,
		"member outside":    `{"files":[` + strings.Replace(good, `"use"`, `"member":{"path":"../m","sha256":"`+sumOf("m")+`","bytes":1},"use"`, 1) + `]}`,
		"member's sum":      `{"files":[` + strings.Replace(good, `"use"`, `"member":{"path":"m","sha256":"","bytes":1},"use"`, 1) + `]}`,
		"member, no length": `{"files":[` + strings.Replace(good, `"use"`, `"member":{"path":"m","sha256":"`+sumOf("m")+`"},"use"`, 1) + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pins.json")
			must(t, os.WriteFile(file, []byte(text), 0o644))
			if _, err := loadPins(file); err == nil {
				t.Error("accepted")
			}
		})
	}
	file := filepath.Join(t.TempDir(), "pins.json")
	must(t, os.WriteFile(file, []byte(`{"files":[`+good+`]}`), 0o644))
	if pins, err := loadPins(file); err != nil || len(pins) != 1 {
		t.Errorf("the good one: %v, %v", pins, err)
	}
}
