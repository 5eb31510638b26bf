package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// venv returns the python of an environment that holds what a file of requirements
// names, such as tests/requirements.txt, every file of it checked against the sums
// written there.
func (a *app) venv(ctx context.Context, file string) (string, error) {
	requirements := filepath.Join(a.root, filepath.FromSlash(file))
	raw, err := os.ReadFile(requirements)
	if err != nil {
		return "", err
	}
	about, err := exec.CommandContext(ctx, "python3", "-c",
		"import sys; print('%d.%d' % sys.version_info[:2], sys.version.split()[0], sys.executable)").Output()
	if err != nil {
		return "", fmt.Errorf("ask python3 for its version: %w; 'make prerequisites' says what to install", err)
	}
	if v, ok := parseVersion(string(about)); !ok || !v.atLeast(version{3, 10}) {
		return "", fmt.Errorf("the tests need Python 3.10 or later; python3 is %s", strings.TrimSpace(string(about)))
	}
	series, _, _ := strings.Cut(string(about), " ")
	key := treeKey(string(raw), string(about))
	dest := a.path("venv", key)
	python := filepath.Join(dest, "bin", "python")
	unlock, err := a.lock("venv-" + key)
	if err != nil {
		return "", err
	}
	defer unlock()
	complete := filepath.Join(dest, "complete")
	if _, err := os.Stat(complete); err == nil {
		return python, nil
	}
	if err := os.RemoveAll(dest); err != nil {
		return "", err
	}
	// A folder that replaces the network is flat, or a copy of downloads/.
	wheels := []string{a.thirdPartyDir, filepath.Join(a.thirdPartyDir, "python")}
	if a.thirdPartyDir == "" {
		wheels = []string{a.path("downloads", "python")}
		a.logf("fetch the Python packages of %s", file)
		if err := a.pip(ctx, file, "download", "--dest", wheels[0], "-r", requirements); err != nil {
			return "", err
		}
	}
	install := []string{"--no-index"}
	for _, dir := range wheels {
		install = append(install, "--find-links", dir)
	}
	a.logf("make the Python environment of %s", file)
	// Without pip of its own, so that no package for that is needed: the
	// machine's pip installs into it.
	if out, err := exec.CommandContext(ctx, "python3", "-m", "venv", "--without-pip", dest).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make the Python environment: %w\n%s", err, out)
	}
	packages := filepath.Join(dest, "lib", "python"+series, "site-packages")
	if err := a.pip(ctx, file, "install", append(install, "--target", packages, "-r", requirements)...); err != nil {
		return "", err
	}
	return python, os.WriteFile(complete, nil, 0o644)
}

// pip runs the machine's pip. Only wheels are taken: a source package would run
// its build program, of which no checksum is known.
func (a *app) pip(ctx context.Context, file, command string, args ...string) error {
	all := append([]string{
		"-m", "pip", command, "--no-deps", "--require-hashes", "--only-binary", ":all:",
		"--disable-pip-version-check", "--no-input",
	}, args...)
	if !isTerminal(a.messages) {
		all = append(all, "--quiet") // pip's progress bars are for terminals
	}
	cmd := exec.CommandContext(ctx, "python3", all...)
	cmd.Stdout, cmd.Stderr = a.messages, a.messages
	cmd.Env = append(os.Environ(), "PIP_ROOT_USER_ACTION=ignore") // it warns, though --target installs for nobody else
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pip %s of %s: %w", command, file, err)
	}
	return nil
}
