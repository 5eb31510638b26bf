package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// mysqlPackages are what a MySQL server for tests consists of. Debian has it in its
// unstable suite alone, which has one version at a time: it cannot be pinned, and so
// make test does without it. Debian signs what it offers, and apt checks that.
var mysqlPackages = []string{"mysql-server-core", "mysql-client-core"}

// mysql returns a folder with MySQL and all libraries that it needs, the C library
// included, so that it runs on any release of Debian and nothing of the machine
// changes.
func (a *app) mysql(ctx context.Context) (string, error) {
	unlock, err := a.lock("mysql")
	if err != nil {
		return "", err
	}
	defer unlock()
	base := a.path("mysql")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", fmt.Errorf("make the folder of MySQL: %w", err)
	}
	there, err := filepath.Glob(filepath.Join(base, "*", "usr", "sbin", "mysqld"))
	if err != nil {
		return "", err
	}
	if len(there) > 0 {
		return filepath.Join(there[len(there)-1], "..", "..", ".."), nil
	}
	work, err := os.MkdirTemp(base, "new")
	if err != nil {
		return "", fmt.Errorf("make a folder for MySQL: %w", err)
	}
	defer os.RemoveAll(work)
	packages, err := a.unstable(ctx, work, mysqlPackages)
	if err != nil {
		return "", fmt.Errorf("fetch MySQL: %w", err)
	}
	root, version := filepath.Join(work, "root"), ""
	for _, file := range packages {
		name, rest, _ := strings.Cut(filepath.Base(file), "_")
		if strings.Contains(name, "perl") {
			continue // of scripts that are not run here
		}
		if name == mysqlPackages[0] {
			version, _, _ = strings.Cut(rest, "_")
		}
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", file, root).CombinedOutput(); err != nil {
			return "", fmt.Errorf("unpack %s: %w\n%s", filepath.Base(file), err, out)
		}
	}
	if version == "" {
		return "", fmt.Errorf("fetch MySQL: apt brought no %s", mysqlPackages[0])
	}
	dest := filepath.Join(base, version)
	return dest, os.Rename(root, dest)
}

// unstable downloads packages of Debian's unstable suite, with all that they depend
// on, into work, and returns the files. It takes them from where this machine takes
// its own, with a state of apt's that is not the machine's.
func (a *app) unstable(ctx context.Context, work string, names []string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return nil, fmt.Errorf("ask apt for its sources (this needs Debian): %w", err)
	}
	mirror := debianMirror(string(out))
	if mirror == "" {
		return nil, errors.New("apt has no source of Debian's packages here")
	}
	for _, dir := range []string{"lists/partial", "state", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o755); err != nil {
			return nil, err
		}
	}
	source := filepath.Join(work, "unstable.list")
	if err := os.WriteFile(source, []byte("deb "+mirror+" unstable main\n"), 0o644); err != nil {
		return nil, err
	}
	status := filepath.Join(work, "status") // nothing is installed: what is needed comes along
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return nil, err
	}
	apt := func(args ...string) error {
		all := append([]string{
			"-o", "Dir::Etc::sourcelist=" + source, "-o", "Dir::Etc::sourceparts=/dev/null",
			"-o", "Dir::State=" + filepath.Join(work, "state"), "-o", "Dir::State::lists=" + filepath.Join(work, "lists"),
			"-o", "Dir::State::status=" + status, "-o", "Dir::Cache=" + filepath.Join(work, "cache"),
			"-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
			"-y", "-q", "--no-install-recommends",
		}, args...)
		cmd := exec.CommandContext(ctx, "apt-get", all...)
		cmd.Stdout, cmd.Stderr = a.messages, a.messages
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w", strings.Join(args, " "), err)
		}
		return nil
	}
	if err := apt("update"); err != nil {
		return nil, err
	}
	if err := apt(append([]string{"--download-only", "install"}, names...)...); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(work, "cache", "archives", "*.deb"))
}

// debianMirror returns the address of Debian's packages among apt's sources, each a
// line of label and address; empty: there is none.
func debianMirror(sources string) string {
	for line := range strings.Lines(sources) {
		if label, address, ok := strings.Cut(strings.TrimSpace(line), " "); ok && label == "Debian" {
			return address
		}
	}
	return ""
}
