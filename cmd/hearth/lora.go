package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"hearth/inference"
	"hearth/internal/config"
	"hearth/models"
)

// AdapterConfig is a LoRA adapter of a model.
type AdapterConfig struct {
	// Name is what requests call it.
	Name string `yaml:"name"`
	Path string `yaml:"path"`
	// Scale is what its change of the weights is multiplied by where a request
	// does not say; nil: 1.
	Scale *float32 `yaml:"scale"`
}

// maxAdapters is how many adapters one model may have.
const maxAdapters = 64

var adapterName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (a *AdapterConfig) scale() float32 {
	if a.Scale == nil {
		return 1
	}
	return *a.Scale
}

// checkLora reports the first adapter of m that cannot be, by the name of its
// field below the model.
func (m *ModelConfig) checkLora() error {
	if len(m.Lora) > maxAdapters {
		return config.Invalid("lora", "lists %d adapters, at most %d are possible", len(m.Lora), maxAdapters)
	}
	first := map[string]int{}
	for i := range m.Lora {
		a, at := &m.Lora[i], fmt.Sprintf("lora[%d]", i)
		if !adapterName.MatchString(a.Name) {
			return config.Invalid(at+".name", "must have 1 to 64 letters, digits, dots, dashes or underscores and begin with a letter or digit, got %q", a.Name)
		}
		if k, twice := first[a.Name]; twice {
			return config.Invalid(at+".name", "is %q like that of lora[%d]: give one of them another name", a.Name, k)
		}
		first[a.Name] = i
		if a.Path == "" {
			return config.Invalid(at, "has no path: name its GGUF file")
		}
		var inv *inference.InvalidError
		if err := inference.CheckAdapterScale(at+".scale", a.scale()); errors.As(err, &inv) {
			return config.Invalid(inv.Field, "%s", inv.Reason)
		}
	}
	return nil
}

// checkAdapterFiles holds the adapters of m against its model, whose header is h,
// and returns what their files say.
func (m *ModelConfig) checkAdapterFiles(h *models.Header) ([]*models.Adapter, error) {
	if len(m.Lora) == 0 {
		return nil, nil
	}
	base := []*models.Header{h}
	for _, path := range models.Parts(m.Path, h)[1:] {
		part, err := models.Open(path)
		if err != nil {
			return nil, err
		}
		base = append(base, part)
	}
	var all []*models.Adapter
	for i := range m.Lora {
		a := &m.Lora[i]
		file, err := models.Open(a.Path)
		if err != nil {
			return nil, fmt.Errorf("adapter %s of %s: %w", a.Name, m.id(), err)
		}
		said, err := models.CheckAdapter(base, file)
		if err != nil {
			return nil, fmt.Errorf("adapter %s of %s, %s: %w", a.Name, m.id(), a.Path, err)
		}
		all = append(all, said)
	}
	return all, nil
}

// loadAdapters loads the adapters of m beside its model. Those that were loaded
// are in s also if one fails.
func (l *loader) loadAdapters(m *ModelConfig, said []*models.Adapter, s *served) (infos []inference.AdapterInfo, err error) {
	for i := range m.Lora {
		a := &m.Lora[i]
		loaded, err := s.model.LoadAdapter(a.Path)
		if err != nil {
			return nil, err
		}
		s.adapters = append(s.adapters, loaded)
		infos = append(infos, inference.AdapterInfo{Name: a.Name, Path: a.Path, Scale: a.scale(), Bytes: loaded.Bytes()})
		l.log.Info().Str("model", m.id()).Str("adapter", a.Name).Str("path", a.Path).Int64("rank", said[i].Rank).Int("weights", said[i].Pairs).
			Int64("bytes", loaded.Bytes()).Msg("loaded a LoRA adapter")
		if n := len(said[i].Unused); n > 0 {
			l.log.Warn().Str("adapter", a.Name).Int("tensors", n).Str("first", said[i].Unused[0]).
				Msg("llama.cpp does not apply an adapter's norms: these tensors have no effect")
		}
	}
	return infos, nil
}

// closeAdapters frees them, after every context of their model.
func (s *served) closeAdapters() error {
	var errs []error
	for _, a := range s.adapters {
		errs = append(errs, a.Close())
	}
	return errors.Join(errs...)
}

// errNoText says why a model that makes vectors only has no adapters.
var errNoText = errors.New("it makes vectors and no text, and adapters are for text: leave lora out")

// adapterFlag is one value of --lora: NAME=FILE[:SCALE], to load it, or
// NAME[:SCALE], to use one that is there.
type adapterFlag struct {
	name, path string // path is empty where one is named that is there
	scale      *float32
}

func parseAdapterFlag(text string) (adapterFlag, error) {
	var f adapterFlag
	rest := text
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		if v, err := strconv.ParseFloat(text[i+1:], 32); err == nil {
			scale := float32(v)
			f.scale, rest = &scale, text[:i]
		}
	}
	var load bool
	if f.name, f.path, load = strings.Cut(rest, "="); load && f.path == "" {
		return f, usageError(fmt.Errorf("--lora %s: there is no file behind the =", text))
	}
	if !adapterName.MatchString(f.name) {
		return f, usageError(fmt.Errorf("--lora %s: %q is no name of an adapter: write NAME=FILE or NAME=FILE:SCALE, the name of letters, digits, dots, dashes and underscores", text, f.name))
	}
	if f.scale != nil {
		if err := inference.CheckAdapterScale("the scale", *f.scale); err != nil {
			return f, usageError(fmt.Errorf("--lora %s: %w", text, err))
		}
	}
	return f, nil
}

// adapterFlags reads all values of --lora.
func (f *loadFlags) adapterFlags() ([]adapterFlag, error) {
	var all []adapterFlag
	for _, text := range f.lora {
		a, err := parseAdapterFlag(text)
		if err != nil {
			return nil, err
		}
		if a.path == "" && !f.asks {
			return nil, usageError(fmt.Errorf("--lora %s: name the adapter's file, too: --lora %s=FILE", text, a.name))
		}
		all = append(all, a)
	}
	return all, nil
}

// applyLora adds the adapters that are to be loaded to the model of cfg.
func (f *loadFlags) applyLora(cfg *Config) error {
	all, err := f.adapterFlags()
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.path == "" {
			continue
		}
		if len(cfg.Models) != 1 {
			return usageError(errors.New("--lora: several models are configured: say by --model which one it is for"))
		}
		if _, err := os.Stat(a.path); err != nil {
			return modelError(fmt.Errorf("--lora: %w", err))
		}
		m := &cfg.Models[0]
		m.Lora = append(m.Lora[:len(m.Lora):len(m.Lora)], AdapterConfig{Name: a.name, Path: a.path, Scale: a.scale})
	}
	return nil
}

// leaveToServer refuses adapters that a running server would have to load.
func (f *loadFlags) leaveToServer() error {
	all, err := f.adapterFlags()
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.path != "" {
			return usageError(fmt.Errorf("--lora %s=%s: the model is a running server's, whose adapters its own configuration lists; use one of them by --lora %s, or name a model file by --model", a.name, a.path, a.name))
		}
	}
	return nil
}

// uses are the adapters that the command's requests ask for: all that --lora names.
func (f *loadFlags) uses() ([]inference.AdapterUse, error) {
	all, err := f.adapterFlags()
	if err != nil {
		return nil, err
	}
	var uses []inference.AdapterUse
	for _, a := range all {
		u := inference.AdapterUse{Name: a.name}
		if a.path == "" {
			u.Scale = a.scale // else it is the adapter's own by now
		}
		uses = append(uses, u)
	}
	return uses, nil
}

// askWithLora lets --lora say what the command's own requests use.
func askWithLora(cmd *cobra.Command, from *sourceFlags) {
	from.asks = true
	cmd.Flags().Lookup("lora").Usage = "LoRA adapter to answer with: NAME or NAME:SCALE of one that the model has, or NAME=FILE[:SCALE] to load it here (repeatable)"
}

// options are those of a request: what the flags of sampling and --lora say.
func (f *sourceFlags) options(cmd *cobra.Command, sampling *samplingFlags, m inference.Generator) (inference.Options, error) {
	o := sampling.options(cmd, m)
	var err error
	o.Adapters, err = f.uses()
	return o, err
}
