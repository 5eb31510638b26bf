package config

import (
	"fmt"
	"os"
	"strings"
)

// maxSecret bounds a secret, in bytes.
const maxSecret = 64 << 10

// Secret is a reference to a value that the file does not hold: "env:NAME" (a
// variable of the environment) or "file:PATH" (a file's contents without the
// line end). It prints as the reference, never as the value. The empty Secret is
// none.
type Secret string

// Check says what is wrong with the reference, by the path of the key: "" if it
// can be read. It does not read it.
func (s Secret) Check() string {
	kind, rest, _ := strings.Cut(string(s), ":")
	switch {
	case s == "":
		return ""
	case kind != "env" && kind != "file":
		return "must name where the secret is, as env:NAME or file:PATH: a secret does not stand in the configuration"
	case rest == "":
		return fmt.Sprintf("names nothing behind %q", kind+":")
	}
	return ""
}

// Value reads the secret anew: files may be replaced while the server runs. The
// value of the empty Secret is empty.
func (s Secret) Value() (string, error) {
	kind, rest, _ := strings.Cut(string(s), ":")
	switch {
	case s == "":
		return "", nil
	case kind == "env":
		v, ok := os.LookupEnv(rest)
		if !ok || v == "" {
			return "", fmt.Errorf("the environment variable %s is not set", rest)
		}
		return v, nil
	case kind == "file":
		return readSecret(rest)
	}
	return "", fmt.Errorf("secret: %s", s.Check())
}

func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read the secret: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecret {
		return "", fmt.Errorf("read the secret: %s must be a file of at most %d bytes", path, maxSecret)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the secret: %w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}
