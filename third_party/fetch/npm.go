package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
)

// nodeName is how Node.js and its packages call this processor.
var nodeName = map[string]string{"amd64": "x64", "arm64": "arm64"}

// npm returns a folder that holds what tests/npm/package-lock.json lists, every
// file of it checked against the sums written there: packages under
// node_modules, and bin/node, the Node.js that runs them. The machine's own
// Node.js only runs npm.
func (a *app) npm(ctx context.Context) (string, error) {
	from := filepath.Join(a.root, "tests", "npm")
	var texts []string
	for _, name := range []string{"package.json", "package-lock.json"} {
		raw, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return "", err
		}
		texts = append(texts, string(raw))
	}
	arch, ok := nodeName[runtime.GOARCH]
	if !ok {
		return "", fmt.Errorf("there is no Node.js package for %s", runtime.GOARCH)
	}
	key := treeKey(append(slices.Clone(texts), arch)...)
	dest := a.path("npm", key)
	unlock, err := a.lock("npm-" + key)
	if err != nil {
		return "", err
	}
	defer unlock()
	complete := filepath.Join(dest, "complete")
	if _, err := os.Stat(complete); err == nil {
		return dest, nil
	}
	if err := os.RemoveAll(dest); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(dest, "bin"), 0o755); err != nil {
		return "", err
	}
	for i, name := range []string{"package.json", "package-lock.json"} {
		if err := os.WriteFile(filepath.Join(dest, name), []byte(texts[i]), 0o644); err != nil {
			return "", err
		}
	}
	// No install program of a package runs: of what it would fetch no checksum is known.
	args := []string{"ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"}
	if a.thirdPartyDir == "" {
		args = append(args, "--prefer-offline", "--cache", a.path("downloads", "npm"))
	} else {
		args = append(args, "--offline", "--cache", filepath.Join(a.thirdPartyDir, "npm"))
	}
	a.logf("fetch the Node.js packages of the tests")
	cmd := exec.CommandContext(ctx, "npm", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dest, a.messages, a.messages
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("npm ci of tests/npm: %w", err)
	}
	program := filepath.Join("..", "node_modules", "node-linux-"+arch, "bin", "node")
	if err := os.Symlink(program, filepath.Join(dest, "bin", "node")); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, filepath.Join(dest, "bin", "node"), "--version").CombinedOutput(); err != nil {
		return "", fmt.Errorf("run the Node.js of the tests: %w\n%s", err, out)
	}
	return dest, os.WriteFile(complete, nil, 0o644)
}
