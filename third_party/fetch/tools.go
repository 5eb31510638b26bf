package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// buildTools are the two programs that drive the native build.
type buildTools struct {
	cmake, ninja string
}

// version is major and minor, as far as programs are compared here.
type version [2]int

func (v version) atLeast(w version) bool {
	return v[0] > w[0] || v[0] == w[0] && v[1] >= w[1]
}

var versionPattern = regexp.MustCompile(`(\d+)\.(\d+)`)

// parseVersion finds the first dotted number in a program's answer.
func parseVersion(text string) (version, bool) {
	m := versionPattern.FindStringSubmatch(text)
	if m == nil {
		return version{}, false
	}
	major, err1 := strconv.Atoi(m[1])
	minor, err2 := strconv.Atoi(m[2])
	return version{major, minor}, err1 == nil && err2 == nil
}

// tools finds CMake (3.18 or later: CUDA architectures need it) and Ninja (1.8
// or later) in PATH, or else unpacks the pinned ones.
func (a *app) tools(ctx context.Context) (buildTools, error) {
	cmake, err := a.tool(ctx, "cmake", version{3, 18}, func(dir string, p pin) string {
		return filepath.Join(dir, "cmake", "data", "bin", "cmake")
	})
	if err != nil {
		return buildTools{}, err
	}
	ninja, err := a.tool(ctx, "ninja", version{1, 8}, func(dir string, p pin) string {
		return filepath.Join(dir, "ninja-"+p.Version+".data", "scripts", "ninja")
	})
	return buildTools{cmake: cmake, ninja: ninja}, err
}

func (a *app) tool(ctx context.Context, name string, least version, program func(dir string, p pin) string) (string, error) {
	if found, err := exec.LookPath(name); err == nil {
		if text, err := exec.CommandContext(ctx, found, "--version").Output(); err == nil {
			if v, ok := parseVersion(string(text)); ok && v.atLeast(least) {
				return found, nil
			}
		}
	}
	p, err := named(a.pins, name)
	if err != nil {
		return "", err
	}
	dir, err := a.unpacked(ctx, name+"-"+p.Version+"-"+p.SHA256[:8], []pin{p}, everything, nil)
	if err != nil {
		return "", err
	}
	file := program(dir, p)
	// Not every wheel sets the run bit.
	if err := os.Chmod(file, 0o755); err != nil {
		return "", fmt.Errorf("%s is not in its package: %w", name, err)
	}
	return file, nil
}

// unpacked returns the folder tools/name of the cache, made from the archives of
// pins where it does not exist yet.
func (a *app) unpacked(ctx context.Context, name string, pins []pin, place func(string) (string, bool), finish func(string) error) (string, error) {
	dest := a.path("tools", name)
	unlock, err := a.lock(name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dest); err == nil {
		return dest, nil
	}
	var archives []string
	for _, p := range pins {
		archive, err := a.download(ctx, p)
		if err != nil {
			return "", err
		}
		archives = append(archives, archive)
	}
	return dest, a.unpack(dest, archives, place, finish)
}
