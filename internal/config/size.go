package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Size is a number of bytes. It is written with a unit: B, KiB, MiB, GiB, TiB,
// or the decimal kB, MB, GB, TB.
type Size int64

var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"kB", 1e3},
	{"B", 1},
}

// ParseSize reads a size such as "512MiB" or "1.5 GB".
func ParseSize(s string) (Size, error) {
	s = strings.TrimSpace(s)
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || math.IsNaN(n) || n < 0 || n*float64(u.bytes) >= math.MaxInt64 {
			break
		}
		return Size(math.Round(n * float64(u.bytes))), nil
	}
	return 0, fmt.Errorf("%q is not a size: write a number and a unit, such as 512MiB, 8GiB or 64KiB", s)
}

// String writes the size with the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range units[:4] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// UnmarshalYAML reads a size from the configuration. The error knows its place.
func (s *Size) UnmarshalYAML(n ast.Node) error {
	tok := n.GetToken()
	v, err := ParseSize(tok.Value)
	if err != nil {
		return &yaml.SyntaxError{Message: err.Error(), Token: tok}
	}
	*s = v
	return nil
}

// MarshalYAML writes the size as it is read.
func (s Size) MarshalYAML() ([]byte, error) { return []byte(s.String()), nil }
