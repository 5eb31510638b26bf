package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
)

// pin names one file that may be fetched, and what makes it the right one.
type pin struct {
	Name    string  `json:"name"`
	Set     string  `json:"set"` // which command needs it: source, model, embedding-model, tool-model, window-model, tools, cuda, chroma
	Package string  `json:"package"`
	Version string  `json:"version"`
	File    string  `json:"file"`
	SHA256  string  `json:"sha256"` // lower-case hexadecimal, 64 digits
	Bytes   int64   `json:"bytes"`
	Licence string  `json:"licence"`
	Use     string  `json:"use"`
	Member  *member `json:"member,omitempty"` // the one file inside that is used
	Made    *made   `json:"made,omitempty"`   // the one file that is made from it
}

// member is a file inside a pinned archive that is kept by itself.
type member struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// loadPins reads and checks pins.json.
func loadPins(file string) ([]pin, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read pins: %w", err)
	}
	var doc struct {
		Files []pin `json:"files"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("read pins %s: %w", file, err)
	}
	seen := map[string]bool{}
	for _, p := range doc.Files {
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("read pins %s: %s: %w", file, p.Name, err)
		}
		if seen[p.Name] {
			return nil, fmt.Errorf("read pins %s: %s is named twice", file, p.Name)
		}
		seen[p.Name] = true
	}
	return doc.Files, nil
}

func (p pin) check() error {
	for field, value := range map[string]string{
		"name": p.Name, "package": p.Package, "version": p.Version, "licence": p.Licence, "use": p.Use,
	} {
		if value == "" {
			return fmt.Errorf("%s is empty", field)
		}
	}
	switch p.Set {
	case "source", "model", "embedding-model", "tool-model", "window-model", "tools", "cuda", "chroma":
	default:
		return fmt.Errorf("set %q is none of source, model, embedding-model, tool-model, window-model, tools, cuda, chroma", p.Set)
	}
	if p.File != filepath.Base(p.File) || !filepath.IsLocal(p.File) {
		return fmt.Errorf("file %q is not a plain file name", p.File)
	}
	if err := checkSum(p.SHA256, p.Bytes); err != nil {
		return err
	}
	if p.Made != nil {
		if p.Made.File != filepath.Base(p.Made.File) || !filepath.IsLocal(p.Made.File) {
			return fmt.Errorf("made file %q is not a plain file name", p.Made.File)
		}
		return checkSum(p.Made.SHA256, p.Made.Bytes)
	}
	if p.Member != nil {
		if !filepath.IsLocal(p.Member.Path) || path.Clean(p.Member.Path) != p.Member.Path {
			return fmt.Errorf("member path %q leaves the archive", p.Member.Path)
		}
		return checkSum(p.Member.SHA256, p.Member.Bytes)
	}
	return nil
}

func checkSum(sum string, size int64) error {
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != 32 {
		return fmt.Errorf("sha256 %q is not 64 hexadecimal digits", sum)
	}
	if size <= 0 {
		return errors.New("bytes is not positive")
	}
	return nil
}

// inSet returns the pins of one set, in the order of the file.
func inSet(pins []pin, set string) []pin {
	var out []pin
	for _, p := range pins {
		if p.Set == set {
			out = append(out, p)
		}
	}
	return out
}

// named returns the pin of that name.
func named(pins []pin, name string) (pin, error) {
	for _, p := range pins {
		if p.Name == name {
			return p, nil
		}
	}
	return pin{}, fmt.Errorf("pins.json names no %q", name)
}
