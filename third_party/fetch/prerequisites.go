package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// errPrerequisites marks a machine that lacks a program which only its own
// package manager should bring.
var errPrerequisites = errors.New("programs are missing")

// prerequisite is a program that must be there, how to see that, and the Debian
// package that brings it.
type prerequisite struct {
	what, debian string
	probe        []string
	tests        bool // only tests need it: building and serving do without
}

var prerequisiteList = []prerequisite{
	{"a C compiler", "gcc", []string{"cc", "--version"}, false},
	{"a C++ compiler", "g++", []string{"c++", "--version"}, false},
	{"the C library's headers", "libc6-dev", []string{"sh", "-c", "echo '#include <stdlib.h>' | cc -E - >/dev/null"}, false},
	{"Python 3", "python3", []string{"python3", "--version"}, false},
	{"pip for Python 3", "python3-pip", []string{"python3", "-m", "pip", "--version"}, false},
	{"git", "git", []string{"git", "--version"}, false},
	{"npm", "npm", []string{"npm", "--version"}, true},
	// Tests start their own servers. /usr/sbin is not in everybody's PATH.
	{"nginx", "nginx", []string{"sh", "-c", "PATH=$PATH:/usr/sbin nginx -v"}, true},
	{"PostgreSQL", "postgresql", []string{"sh", "-c", "ls /usr/lib/postgresql/*/bin/initdb"}, true},
	{"MariaDB", "mariadb-server-core mariadb-client-core", []string{"sh", "-c", "PATH=$PATH:/usr/sbin mariadbd --version && mariadb --version"}, true},
}

// prerequisites checks that the machine has what the build takes from it. With
// install, what the tests take is looked for, too, and what lacks is installed where
// that needs no password.
func (a *app) prerequisites(ctx context.Context, install bool) error {
	var missing, packages []string
	for _, p := range prerequisiteList {
		if p.tests && !install {
			continue
		}
		if exec.CommandContext(ctx, p.probe[0], p.probe[1:]...).Run() != nil {
			missing = append(missing, p.what)
			packages = append(packages, p.debian)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	command := "apt-get install -y --no-install-recommends " + strings.Join(packages, " ")
	if install {
		if prefix, ok := asRoot(ctx); ok {
			a.logf("%s missing; installing the Debian packages %s", strings.Join(missing, ", "), strings.Join(packages, " "))
			return a.shell(ctx, prefix+"apt-get update && "+prefix+command)
		}
	}
	return fmt.Errorf("%w: %s. On Debian or Ubuntu this installs them:\n  sudo %s",
		errPrerequisites, strings.Join(missing, ", "), command)
}

// asRoot says how to run a command as root without a password, if that is possible.
func asRoot(ctx context.Context) (prefix string, ok bool) {
	if os.Geteuid() == 0 {
		return "", true
	}
	return "sudo ", exec.CommandContext(ctx, "sudo", "-n", "true").Run() == nil
}

func (a *app) shell(ctx context.Context, command string) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stdout, cmd.Stderr = a.messages, a.messages
	// In runlevel 1 a package that brings a service does not start it.
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}
