package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/inference/chat"
	"hearth/inference/engine"
	"hearth/inference/llama"
	"hearth/inference/prefixstore"
	"hearth/inference/residency"
	"hearth/internal/telemetry"
	"hearth/models"
)

// loader loads models as the configuration says. It is used by one goroutine.
type loader struct {
	cfg     *Config
	log     zerolog.Logger
	metrics *telemetry.Metrics
	health  *health
}

// libDir finds the folder of the native libraries: HEARTH_LIB_DIR, or lib beside
// the folder of this program.
func libDir() (string, error) {
	if dir := os.Getenv("HEARTH_LIB_DIR"); dir != "" {
		return dir, nil
	}
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the native libraries: %w", err)
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return "", fmt.Errorf("find the native libraries: %w", err)
	}
	dir := filepath.Join(filepath.Dir(exe), "..", "lib")
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("the native libraries are not in %s, where they belong: install the program together with its folder lib, or name that by HEARTH_LIB_DIR", dir)
	}
	return dir, nil
}

// initNative loads the compute backends, once per process, and adds the devices
// of the ggml RPC servers.
func initNative(log zerolog.Logger, rpc []string) error {
	dir, err := libDir()
	if err != nil {
		return modelError(err)
	}
	err = llama.Init(dir, func(level int, msg string) {
		msg = strings.TrimSpace(msg)
		if msg == "" {
			return
		}
		event := log.Debug()
		if level >= llama.LogError {
			event = log.Warn()
		}
		event.Str("from", "llama.cpp").Msg(msg)
	})
	if err != nil {
		return modelError(err)
	}
	return addRPC(rpc)
}

// specs returns one spec for each configured model.
func (l *loader) specs() []residency.Spec {
	var all []residency.Spec
	for i := range l.cfg.Models {
		m := l.cfg.Models[i]
		all = append(all, residency.Spec{ID: m.id(), Path: m.Path, Load: func(ctx context.Context, progress func(float32)) (residency.Loaded, error) {
			return l.load(ctx, &m, progress)
		}})
	}
	return all
}

// load checks the file, loads the model, makes its context and starts its engine.
func (l *loader) load(ctx context.Context, m *ModelConfig, progress func(float32)) (_ residency.Loaded, err error) {
	h, err := models.Open(m.Path)
	if err != nil {
		return nil, err
	}
	adapters, err := m.checkAdapterFiles(h)
	if err != nil {
		return nil, err
	}
	if progress, err = l.try(ctx, m, h, progress); err != nil {
		return nil, err
	}
	p := m.placement(l.cfg.Engine.Placement)
	s := &served{log: l.log.With().Str("model", m.id()).Logger()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	options := p.context(l.cfg.Engine.Sequences)
	options.Guesses = l.cfg.Engine.Guesses()
	if s.model, err = llama.Load(m.Path, llama.ModelOptions{
		GPULayers: p.layers(), Devices: p.devices(), TensorSplit: p.TensorSplit,
		SplitMode: splitModes[p.SplitMode], Mmap: p.Mmap, Mlock: p.Mlock, Fit: &options,
	}, func(done float32) bool { progress(done); return ctx.Err() == nil }); err != nil {
		return nil, err
	}
	if s.model.Info().EmbeddingOnly && len(m.Lora) > 0 {
		return nil, fmt.Errorf("adapters of %s: %w", m.id(), errNoText)
	}
	if s.model.Info().EmbeddingOnly {
		model := s.model
		s.model = nil // no longer for s to close
		return l.loadEmbeddingOnly(m, &p, model)
	}
	adapterInfos, err := l.loadAdapters(m, adapters, s)
	if err != nil {
		return nil, err
	}
	options.Adapters = s.adapters
	if s.context, err = s.model.NewContext(options); err != nil {
		return nil, err
	}
	template, err := m.template()
	if err != nil {
		return nil, err
	}
	if s.templates, err = s.model.Templates(template); err != nil {
		return nil, err
	}
	var observer engine.Observer
	var tookBareCall func()
	if l.metrics != nil {
		metrics := l.metrics.Model(m.id())
		observer, tookBareCall = metrics, metrics.BareCall
	}
	scheduling := l.cfg.Engine.Config
	if scheduling.Store, err = l.store(ctx, m, h, s); err != nil {
		return nil, err
	}
	if s.engine, err = engine.New(s.context, scheduling, observer); err != nil {
		return nil, err
	}
	info := s.model.Info()
	info.ID, info.Adapters = m.id(), adapterInfos
	stats := s.engine.Stats()
	info.Context, info.Sequences = stats.Context, stats.Sequences
	info.WhyNotShared = s.context.WhyNotShared()
	if l.cfg.Engine.Prefix.Off {
		info.WhyNotShared = "it is switched off: engine.prefix_cache.off"
	}
	info.WhyNotStored = s.whyNotStored(l.cfg.Engine.Prefix)
	info.PrefixSharing = info.WhyNotShared == ""
	info.ChatTemplate = info.ChatTemplate || template != ""
	if m.embeds(h) {
		if s.vectors, err = l.embedder(m, &p, s.model, info); err != nil {
			return nil, err
		}
		info.Embedding, info.Rerank = s.vectors.Info().Embedding, s.vectors.Info().Rerank
	}
	if s.Model, err = chat.New(chat.Config{Info: info, BareCalls: l.cfg.Engine.BareCalls, ClientGrammars: l.cfg.Engine.ClientGrammars, TookBareCall: tookBareCall}, s.engine, language{s.model, s.templates}); err != nil {
		return nil, err
	}
	if l.health != nil {
		l.health.add(m.id(), s.engine)
	}
	return s, nil
}

func (m *ModelConfig) template() (string, error) {
	if m.ChatTemplate == "" {
		return "", nil
	}
	b, err := os.ReadFile(m.ChatTemplate)
	if err != nil {
		return "", fmt.Errorf("read the chat template: %w", err)
	}
	return string(b), nil
}

// context returns the options of a context for so many sequences.
func (p *Placement) context(sequences int) llama.ContextOptions {
	threads := p.Threads
	if threads == 0 {
		threads = defaultThreads()
	}
	return llama.ContextOptions{
		Cells: p.Context, Sequences: sequences, Batch: p.Batch, MicroBatch: p.MicroBatch,
		Threads: threads, ThreadsBatch: threads, KVType: p.KVType,
		FlashAttention: p.FlashAttention, Unified: p.KVLayout != "split", Streams: p.KVLayout == "auto", Aside: true, OffloadKQV: true,
		WindowOnly: !p.SWAFull,
	}
}

// served is one loaded model with all that it consists of.
type served struct {
	*chat.Model
	log       zerolog.Logger
	engine    *engine.Engine
	context   *llama.Context
	store     *prefixstore.Store // nil: prefixes that leave the cache are dropped
	templates *llama.Templates
	model     *llama.Model
	adapters  []*llama.Adapter
	vectors   *vectors // nil: it makes none
	stop      sync.Once
}

// Drain lets running requests finish until ctx ends, and ends the others.
func (s *served) Drain(ctx context.Context) {
	if s.vectors != nil {
		s.vectors.Drain(ctx)
	}
	if err := s.engine.Drain(ctx); err != nil {
		s.log.Warn().Err(err).Msg("requests that still run are ended")
	}
	s.stopEngine()
}

func (s *served) stopEngine() {
	s.stop.Do(func() {
		if err := s.engine.Close(); err != nil {
			s.log.Error().Err(err).Msg("close the engine")
		}
	})
}

// Close frees what there is, the last made first.
func (s *served) Close() error {
	var errs []error
	if s.vectors != nil {
		errs = append(errs, s.vectors.Close())
	}
	if s.engine != nil {
		s.stopEngine()
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.templates != nil {
		errs = append(errs, s.templates.Close())
	}
	if s.context != nil {
		errs = append(errs, s.context.Close())
	}
	errs = append(errs, s.closeAdapters())
	if s.model != nil {
		errs = append(errs, s.model.Close())
	}
	return errors.Join(errs...)
}

// language is what chat knows of a model: its vocabulary and its template.
type language struct {
	*llama.Model
	*llama.Templates
}

var _ chat.LanguageModel = language{}

// NewParser returns the parser behind chat's interface.
func (l language) NewParser(applyOutput []byte, parseToolCalls bool) (chat.Parser, error) {
	p, err := l.Templates.NewParser(applyOutput, parseToolCalls)
	if err != nil {
		return nil, err
	}
	return p, nil
}

var _ inference.Model = (*served)(nil)
