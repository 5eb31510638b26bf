package main

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"hearth/inference"
	"hearth/inference/embed"
	"hearth/inference/engine"
	"hearth/internal/audit"
	"hearth/internal/config"
	"hearth/internal/httpserver"
	"hearth/internal/telemetry"
	"hearth/mcpserver/agent"
	"hearth/mcpserver/router"
	"hearth/models"
)

// defaultConfigFile is the commented file that `hearth config default` prints.
//
//go:embed hearth.default.yaml
var defaultConfigFile string

// Config is the whole configuration file. Each section is checked by the
// package that uses it.
type Config struct {
	Server httpserver.Config `yaml:"server"`
	Models []ModelConfig     `yaml:"models"`
	Engine EngineConfig      `yaml:"engine"`
	MCP    MCPConfig         `yaml:"mcp"`
	// Connectors offer tools to the models and to MCP clients.
	Connectors []ConnectorConfig `yaml:"connectors"`
	// Builtin is how calls of Hearth's own tools are treated.
	Builtin   router.Options   `yaml:"builtin"`
	Policy    router.Config    `yaml:"policy"`
	Agent     agent.Config     `yaml:"agent"`
	Telemetry telemetry.Config `yaml:"telemetry"`
	Audit     audit.Config     `yaml:"audit"`
}

// EngineConfig is how models are computed, unless a model says otherwise.
type EngineConfig struct {
	Placement     `yaml:",inline"`
	engine.Config `yaml:",inline"`
	// Weights are the shares of principals, by their names; the others have 1.
	Weights map[string]float64 `yaml:"weights"`
	// Embeddings is how inputs are embedded.
	Embeddings embed.Config `yaml:"embeddings"`
	// RPC are the ggml RPC servers, host:port, whose devices this process uses.
	RPC   []string    `yaml:"rpc"`
	Trial TrialConfig `yaml:"trial"`
	// BareCalls takes an answer that is nothing but the JSON of a tool call as the
	// call, where a request does not say otherwise.
	BareCalls bool `yaml:"bare_tool_calls"`
	// ClientGrammars lets requests bring a grammar of their own.
	ClientGrammars bool `yaml:"client_grammars"`
}

// MCPConfig is the MCP endpoint at /mcp.
type MCPConfig struct {
	Enabled bool `yaml:"enabled"`
	// CallTimeout ends a tool call; 0: none.
	CallTimeout time.Duration `yaml:"call_timeout"`
	// MaxCalls bounds the calls that one session has in flight.
	MaxCalls int `yaml:"max_calls"`
	// FirstLists bounds how long the first lists over stdio wait for connectors that
	// do not know yet what they offer; 0: not at all.
	FirstLists time.Duration `yaml:"first_lists"`
	// Servers are named servers at /mcp/NAME, each with a selection of its own.
	Servers []MCPServerConfig `yaml:"servers"`
}

// MCPServerConfig is a named MCP server: what its patterns name of all that /mcp
// has, and nothing else. A * stands for any text.
type MCPServerConfig struct {
	Name      string   `yaml:"name"`
	Tools     []string `yaml:"tools"`
	Resources []string `yaml:"resources"` // by URI
	Prompts   []string `yaml:"prompts"`
}

var mcpServerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Check says what is wrong with the section.
func (c *MCPConfig) Check() error {
	if c.MaxCalls < 1 || c.MaxCalls > 4096 {
		return config.Invalid("max_calls", "must be between 1 and 4096, got %d", c.MaxCalls)
	}
	if c.CallTimeout < 0 || c.CallTimeout > 24*time.Hour {
		return config.Invalid("call_timeout", "must be between 0 (none) and 24h, got %v", c.CallTimeout)
	}
	if c.FirstLists < 0 || c.FirstLists > 10*time.Minute {
		return config.Invalid("first_lists", "must be between 0 (no waiting) and 10m, got %v", c.FirstLists)
	}
	if len(c.Servers) > 64 {
		return config.Invalid("servers", "must be at most 64, got %d", len(c.Servers))
	}
	names := map[string]int{}
	for i, s := range c.Servers {
		field := fmt.Sprintf("servers[%d].", i)
		if !mcpServerName.MatchString(s.Name) {
			return config.Invalid(field+"name", "must match %s, got %q: it is the end of the path /mcp/NAME", mcpServerName, s.Name)
		}
		if first, twice := names[s.Name]; twice {
			return config.Invalid(field+"name", "%q is the name of servers[%d], too", s.Name, first)
		}
		names[s.Name] = i
		for list, patterns := range map[string][]string{"tools": s.Tools, "resources": s.Resources, "prompts": s.Prompts} {
			if slices.Contains(patterns, "") {
				return config.Invalid(field+list, "an empty pattern names nothing: leave it out")
			}
		}
	}
	return nil
}

// ModelConfig is one served model. What it leaves out is as in the section engine.
type ModelConfig struct {
	// ID is the name that requests use; empty: made from the file's name.
	ID   string `yaml:"id"`
	Path string `yaml:"path"`
	// ChatTemplate is a file with a Jinja template that replaces the model's own.
	ChatTemplate string    `yaml:"chat_template"`
	Context      int       `yaml:"context"`
	GPULayers    *Layers   `yaml:"gpu_layers"`
	Device       []string  `yaml:"device"`
	TensorSplit  []float32 `yaml:"tensor_split"`
	KVType       string    `yaml:"kv_type"`
	// Embeddings says whether the model makes vectors, too; nil: if its file
	// says how they are pooled. A model that makes no text always does.
	Embeddings *bool `yaml:"embeddings"`
	// Pooling is how; empty: as the file says, and mean where it says nothing.
	Pooling inference.Pooling `yaml:"pooling"`
	// Lora are the adapters that requests to this model may use.
	Lora []AdapterConfig `yaml:"lora"`
}

// defaultConfig returns what holds where the file is silent. It is what
// hearth.default.yaml says; a test compares them.
func defaultConfig() Config {
	return Config{
		Server: httpserver.DefaultConfig(),
		Engine: EngineConfig{
			Placement: defaultPlacement(), Config: engine.DefaultConfig(), Embeddings: embed.DefaultConfig(),
			Trial: TrialConfig{Stall: 2 * time.Minute}, BareCalls: true, ClientGrammars: true,
		},
		MCP:       MCPConfig{Enabled: true, MaxCalls: 64, FirstLists: 10 * time.Second},
		Policy:    router.DefaultConfig(),
		Agent:     agent.DefaultConfig(),
		Telemetry: telemetry.DefaultConfig(),
		Audit:     audit.DefaultConfig(),
	}
}

// loadConfig finds and reads the configuration. The path is empty if there is none.
func loadConfig(flag string) (cfg Config, path string, err error) {
	cfg = defaultConfig()
	if path, err = config.Find(flag); err != nil {
		return cfg, "", configError(err)
	}
	if path == "" {
		return cfg, "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return cfg, path, configError(fmt.Errorf("read the configuration: %w", err))
	}
	if err := config.Decode(path, data, &cfg); err != nil {
		return cfg, path, configError(err)
	}
	cfg.resolvePaths(filepath.Dir(path))
	if err := cfg.check(); err != nil {
		return cfg, path, configError(config.Locate(path, data, err))
	}
	return cfg, path, nil
}

// clone returns a copy that shares nothing that flags change.
func (c *Config) clone() Config {
	d := *c
	d.Models = slices.Clone(c.Models)
	return d
}

// resolvePaths makes file names relative to the configuration file.
func (c *Config) resolvePaths(dir string) {
	for i := range c.Models {
		paths := []*string{&c.Models[i].Path, &c.Models[i].ChatTemplate}
		for k := range c.Models[i].Lora {
			paths = append(paths, &c.Models[i].Lora[k].Path)
		}
		for _, p := range paths {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(dir, *p)
			}
		}
	}
	if p := &c.Engine.Prefix.Dir; *p != "" && !filepath.IsAbs(*p) {
		*p = filepath.Join(dir, *p)
	}
	c.resolveConnectors(dir)
	if c.Audit.File != "" && !filepath.IsAbs(c.Audit.File) {
		c.Audit.File = filepath.Join(dir, c.Audit.File)
	}
}

// check reports the first value that cannot be used as a *config.FieldError.
func (c *Config) check() error {
	if err := c.Server.Check(); err != nil {
		return config.Under("server", err)
	}
	if err := c.Engine.Placement.check(); err != nil {
		return config.Under("engine", err)
	}
	if err := checkWeights(c.Engine.Weights); err != nil {
		return config.Under("engine", err)
	}
	if err := checkRPC(c.Engine.RPC); err != nil {
		return config.Under("engine", err)
	}
	if err := c.Engine.Trial.check(); err != nil {
		return config.Under("engine.trial", err)
	}
	var inv *inference.InvalidError
	if err := c.Engine.Config.Validate(); errors.As(err, &inv) {
		return config.Invalid("engine."+inv.Field, "%s", inv.Reason)
	} else if err != nil {
		return err
	}
	if err := c.Engine.Embeddings.Validate(); errors.As(err, &inv) {
		return config.Invalid("engine.embeddings."+inv.Field, "%s", inv.Reason)
	} else if err != nil {
		return err
	}
	if err := c.checkModels(); err != nil {
		return err
	}
	if err := c.MCP.Check(); err != nil {
		return config.Under("mcp", err)
	}
	if err := c.checkConnectors(); err != nil {
		return err
	}
	if err := c.Builtin.Check(); err != nil {
		return config.Under("builtin", err)
	}
	if err := c.Policy.Check(); err != nil {
		return config.Under("policy", err)
	}
	if err := c.Agent.Check(); err != nil {
		return config.Under("agent", err)
	}
	if field, reason := c.Telemetry.Check(); field != "" {
		return config.Invalid("telemetry."+field, "%s", reason)
	}
	return nil
}

func (c *Config) checkModels() error {
	ids := map[string]int{}
	for i := range c.Models {
		m := &c.Models[i]
		at := fmt.Sprintf("models[%d]", i)
		if m.Path == "" {
			return config.Invalid(at, "has no path: name its GGUF file")
		}
		if len(m.ID) > 128 {
			return config.Invalid(at+".id", "has %d bytes, at most 128 are possible", len(m.ID))
		}
		if first, twice := ids[m.id()]; twice {
			return config.Invalid(at, "has the same id %q as models[%d]: give one of them another id", m.id(), first)
		}
		ids[m.id()] = i
		p := m.placement(c.Engine.Placement)
		if err := p.check(); err != nil {
			return config.Under(at, err)
		}
		if err := m.checkLora(); err != nil {
			return config.Under(at, err)
		}
		switch m.Pooling {
		case "", inference.PoolingMean, inference.PoolingCLS, inference.PoolingLast:
		default:
			return config.Invalid(at+".pooling", "%q is unknown: use one of mean, cls, last, or leave it out for what the file says", m.Pooling)
		}
	}
	return nil
}

func (m *ModelConfig) id() string {
	if m.ID != "" {
		return m.ID
	}
	return models.DefaultID(m.Path)
}

// placement is that of the section engine with what the model says itself.
func (m *ModelConfig) placement(p Placement) Placement {
	if m.Context != 0 {
		p.Context = m.Context
	}
	if m.GPULayers != nil {
		p.GPULayers = *m.GPULayers
	}
	if m.Device != nil {
		p.Device = m.Device
	}
	if m.TensorSplit != nil {
		p.TensorSplit = m.TensorSplit
	}
	if m.KVType != "" {
		p.KVType = m.KVType
	}
	return p
}

// checkWeights reports the first weight out of its range, by the order of names.
func checkWeights(weights map[string]float64) error {
	for _, name := range slices.Sorted(maps.Keys(weights)) {
		if w := weights[name]; !(w >= inference.MinWeight && w <= inference.MaxWeight) {
			return config.Invalid("weights."+name, "must be between %v and %v, got %v: a principal without an entry has 1", inference.MinWeight, inference.MaxWeight, w)
		}
	}
	return nil
}

// caller is who with the weight that the configuration gives the principal.
func (c *EngineConfig) caller(who inference.Caller) inference.Caller {
	who.Weight = c.Weights[who.Principal]
	return who
}
