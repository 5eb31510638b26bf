package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"hearth/inference/engine"
	"hearth/inference/prefixstore"
	"hearth/models"
)

// store makes the store of prefixes for a model whose context is there; nil where
// nothing is to be kept, or can be. Without its folder it is in RAM alone.
func (l *loader) store(ctx context.Context, m *ModelConfig, h *models.Header, s *served) (*prefixstore.Store, error) {
	if s.whyNotStored(l.cfg.Engine.Prefix) != "" {
		return nil, nil
	}
	o := prefixstore.Options{
		Config: l.cfg.Engine.Prefix.Config, Block: engine.BlockTokens(s.context.Traits()),
		Trouble: func(err error) { s.log.Warn().Err(err).Msg("prefixes on disk") },
	}
	if l.metrics != nil {
		o.Observer = l.metrics.Model(m.id())
	}
	if o.Disk > 0 {
		err := l.storeOnDisk(ctx, m, h, &o)
		if err == nil {
			s.store, err = prefixstore.New(o)
		}
		switch {
		case err == nil:
			s.log.Info().Str("folder", o.Dir).Int("blocks", s.store.Len()).Msg("prefixes are kept on disk")
			return s.store, nil
		case errors.Is(err, prefixstore.ErrInUse):
			s.log.Warn().Str("folder", o.Dir).Msg("another process keeps its prefixes there, so these are kept in RAM alone: name another folder by engine.prefix_cache.dir")
		default:
			s.log.Error().Err(err).Msg("prefixes cannot be kept on disk, so they are kept in RAM alone")
		}
		o.Disk = 0
	}
	var err error
	s.store, err = prefixstore.New(o)
	return s.store, err
}

// storeOnDisk fills in where the files of a model are, and what they depend on.
func (l *loader) storeOnDisk(ctx context.Context, m *ModelConfig, h *models.Header, o *prefixstore.Options) error {
	if o.Dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find the cache, where engine.prefix_cache.dir names no folder: %w", err)
		}
		o.Dir = filepath.Join(base, "hearth", "prefixes")
	}
	o.Dir = filepath.Join(o.Dir, digestOf(m.id())[:16])
	build, err := nativeIdentity()
	if err != nil {
		return err
	}
	digests, err := openTrialCache()
	if err != nil {
		return err
	}
	// Whatever changes what cells hold, and some of what may change their last bits.
	p := m.placement(l.cfg.Engine.Placement)
	o.Binding = fmt.Sprintf("%s%q %q %q %v %d %d %v %q %q\n", build, p.KVType, p.KVLayout, p.FlashAttention, p.SWAFull,
		p.Context, p.MicroBatch, p.GPULayers, p.Device, l.cfg.Engine.RPC)
	files := models.Parts(m.Path, h)
	for _, a := range m.Lora {
		files = append(files[:len(files):len(files)], a.Path) // in this order: a scope names them by their places
	}
	for _, f := range files {
		digest, err := digests.digest(ctx, f, func(int64) {})
		if err != nil {
			return err
		}
		o.Binding += digest + "\n"
	}
	return nil
}

// whyNotStored says why prefixes that leave the cache are not kept; empty: they are.
func (s *served) whyNotStored(p engine.PrefixConfig) string {
	switch {
	case p.Off:
		return "sharing is switched off: engine.prefix_cache.off"
	case p.RAM == 0:
		return "there is no memory for it: engine.prefix_cache.ram is 0"
	}
	return s.context.WhyNotKept()
}
