package main

import (
	"hearth/inference/engine"
	"hearth/inference/prefixstore"
)

// store makes the store of prefixes for a model whose context is there; nil where
// nothing is to be kept, or can be.
func (l *loader) store(m *ModelConfig, s *served) (*prefixstore.Store, error) {
	if s.whyNotStored(l.cfg.Engine.Prefix) != "" {
		return nil, nil
	}
	o := prefixstore.Options{Config: l.cfg.Engine.Prefix.Config, Block: engine.BlockTokens(s.context.Traits())}
	if l.metrics != nil {
		o.Observer = l.metrics.Model(m.id())
	}
	var err error
	s.store, err = prefixstore.New(o)
	return s.store, err
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
