package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Env is the environment variable that names the configuration file.
const Env = "HEARTH_CONFIG"

// Default places, tried in this order when neither flag nor environment name a file.
var places = []string{"hearth.yaml", "/etc/hearth/hearth.yaml"}

// Find returns the path of the configuration file: flag if not empty, else what
// the environment names, else the first of ./hearth.yaml and
// /etc/hearth/hearth.yaml that exists. An empty path means that there is none.
// A file that was named and is not there is an error; one that was only looked
// for is not.
func Find(flag string) (string, error) {
	for _, named := range []struct{ path, by string }{{flag, "--config"}, {os.Getenv(Env), Env}} {
		if named.path == "" {
			continue
		}
		if _, err := os.Stat(named.path); err != nil {
			return "", fmt.Errorf("the configuration file that %s names cannot be read: %w", named.by, err)
		}
		return named.path, nil
	}
	for _, p := range places {
		_, err := os.Stat(p)
		if err == nil {
			return filepath.Abs(p)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for the configuration: %w", err)
		}
	}
	return "", nil
}
