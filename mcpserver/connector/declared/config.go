package declared

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"hearth/internal/config"
	"hearth/mcpserver/router"
)

// Bounds of a Config.
const (
	maxTools   = 1000
	maxTimeout = time.Hour
	// DefaultTimeout ends a call where the tool does not say when.
	DefaultTimeout = 30 * time.Second
	// DefaultOutput is how much of a program's or a host's answer is read.
	DefaultOutput = config.Size(1 << 20)
)

// Effect says what a call does.
type Effect string

// The effects.
const (
	Read    Effect = "read"
	Write   Effect = "write"
	Destroy Effect = "destroy"
)

// Config is the section tools: one entry for each tool.
type Config []Tool

// Tool is one tool that the configuration declares.
type Tool struct {
	Name string `yaml:"name"`
	// Description is for models.
	Description string `yaml:"description"`
	// Input is the JSON Schema of the arguments, of an object; empty: no arguments.
	Input map[string]any `yaml:"input"`
	// Effect is what a call does. It must be said.
	Effect Effect `yaml:"effect"`
	// Outside says that a call reaches something outside of this machine and the
	// operator's own services.
	Outside bool `yaml:"outside"`
	// Untrusted says that results hold text that strangers may have written; those
	// of a tool that reaches outside always do.
	Untrusted bool `yaml:"untrusted"`
	// Idempotent says that the same call again changes nothing more.
	Idempotent bool `yaml:"idempotent"`
	// Timeout ends a call; 0: DefaultTimeout.
	Timeout time.Duration `yaml:"timeout"`

	SQL     *SQL     `yaml:"sql"`
	HTTP    *HTTP    `yaml:"http"`
	Program *Program `yaml:"program"`
}

var toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,48}$`)

// Check reports the first value that cannot be used as a *config.FieldError.
func (c Config) Check() error {
	if len(c) > maxTools {
		return config.Invalid("", "has %d tools, at most %d are possible", len(c), maxTools)
	}
	for i := range c {
		at := fmt.Sprintf("[%d]", i)
		if first := slices.IndexFunc(c, func(o Tool) bool { return o.Name == c[i].Name }); first < i {
			return config.Invalid(at+".name", "%q is the name of the tool [%d], too: give one of them another", c[i].Name, first)
		}
		if err := c[i].check(); err != nil {
			return config.Under(at, err)
		}
	}
	return nil
}

func (t *Tool) check() error {
	switch {
	case !toolName.MatchString(t.Name):
		return config.Invalid("name", "%q must be 1 to 48 letters, digits, _ or -", t.Name)
	case t.Description == "":
		return config.Invalid("description", "is missing: say what the tool does and when to use it")
	case t.Effect != Read && t.Effect != Write && t.Effect != Destroy:
		return config.Invalid("effect", "must be read, write or destroy, got %q: what only reads is allowed, all else needs an allowance or an approval", t.Effect)
	case t.Timeout != 0 && (t.Timeout < time.Millisecond || t.Timeout > maxTimeout):
		return config.Invalid("timeout", "must be between 1ms and %v, got %v", maxTimeout, t.Timeout)
	}
	if kind, given := t.Input["type"]; given && kind != "object" {
		return config.Invalid("input", "must be the schema of an object")
	}
	if _, given := t.Input["properties"]; given && t.properties() == nil {
		return config.Invalid("input", "has properties that are no section of names and schemas")
	}
	bodies := 0
	for _, given := range []bool{t.SQL != nil, t.HTTP != nil, t.Program != nil} {
		if given {
			bodies++
		}
	}
	if bodies != 1 {
		return config.Invalid("name", "of a tool with %d bodies: give it exactly one of sql, http, program", bodies)
	}
	names := t.names()
	switch {
	case t.SQL != nil:
		return config.Under("sql", t.SQL.check(names))
	case t.HTTP != nil:
		return config.Under("http", t.HTTP.check(names))
	}
	return config.Under("program", t.Program.check(names, t.Input))
}

func (t *Tool) properties() map[string]any {
	p, _ := t.Input["properties"].(map[string]any)
	return p
}

// names are those of the arguments.
func (t *Tool) names() map[string]bool {
	out := map[string]bool{}
	for name := range t.properties() {
		out[name] = true
	}
	return out
}

// unknown is what is said of a placeholder without an argument.
func unknown(name string, names map[string]bool) string {
	return fmt.Sprintf("names the argument %q, which is not among the properties of input: %v", name, slices.Sorted(maps.Keys(names)))
}

// schema is the tool's input schema. What it does not name cannot be given.
func (t *Tool) schema() (json.RawMessage, error) {
	s := maps.Clone(t.Input)
	if s == nil {
		s = map[string]any{}
	}
	s["type"] = "object"
	if _, given := s["additionalProperties"]; !given {
		s["additionalProperties"] = false
	}
	if _, given := s["properties"]; !given {
		s["properties"] = map[string]any{}
	}
	out, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("the input of %s is no JSON Schema: %w", t.Name, err)
	}
	return out, nil
}

func (t *Tool) effects() router.Effects {
	return router.Effects{Writes: t.Effect != Read, Destroys: t.Effect == Destroy, Outside: t.Outside, Untrusted: t.Untrusted || t.Outside}
}

func (t *Tool) timeout() time.Duration {
	if t.Timeout != 0 {
		return t.Timeout
	}
	return DefaultTimeout
}

// Resolve makes the files and folders that tools name relative to dir.
func (c Config) Resolve(dir string) {
	for i := range c {
		if p := c[i].Program; p != nil && p.Dir != "" && !filepath.IsAbs(p.Dir) {
			p.Dir = filepath.Join(dir, p.Dir)
		}
	}
}
