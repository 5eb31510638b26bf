//go:build ignore

// The chains of llama.cpp's stages that a sampler is made of.

#include "shim_sampler.h"

namespace hearth {

// Of how many tokens Mirostat's first version estimates the distribution's shape.
static constexpr int32_t MIROSTAT_M = 100;

llama_sampler * new_chain() {
    auto params    = llama_sampler_chain_default_params();
    params.no_perf = true;
    return llama_sampler_chain_init(params);
}

void add_draw(llama_sampler * chain, const hearth_sampler & s) {
    const auto & p    = s.p;
    const auto   add  = [&](llama_sampler * stage) { llama_sampler_chain_add(chain, stage); };
    // llama.cpp takes its default seed for "choose one"; this is one like any other
    const auto   seed = p.seed == LLAMA_DEFAULT_SEED ? LLAMA_DEFAULT_SEED - 1 : p.seed;
    if (s.greedy()) {
        add(llama_sampler_init_greedy());
        return;
    }
    if (p.mirostat != 0) {
        add(llama_sampler_init_temp(p.temperature));
        add(p.mirostat == 1 ? llama_sampler_init_mirostat(s.model->n_vocab, seed, p.mirostat_tau, p.mirostat_eta, MIROSTAT_M)
                            : llama_sampler_init_mirostat_v2(seed, p.mirostat_tau, p.mirostat_eta));
        return;
    }
    if (s.narrows_typical()) {
        add(llama_sampler_init_typical(p.typical_p, 1));
    }
    add(llama_sampler_init_top_p(p.top_p, 1));
    add(llama_sampler_init_min_p(p.min_p, 1));
    if (s.cuts_top()) {
        add(llama_sampler_init_xtc(p.xtc_probability, p.xtc_threshold, 1, seed));
    }
    add(llama_sampler_init_temp_ext(p.temperature, p.dynatemp_range, p.dynatemp_exponent));
    add(llama_sampler_init_dist(seed));
}

llama_sampler * reference_chain(const hearth_sampler & s, const std::vector<std::string> & breakers) {
    const auto & p     = s.p;
    auto *       chain = new_chain();
    const auto   add   = [&](llama_sampler * stage) { llama_sampler_chain_add(chain, stage); };
    add(llama_sampler_init_logit_bias(s.model->n_vocab, (int32_t) s.bias.size(), s.bias.data()));
    if (p.mirostat == 0) {
        std::vector<const char *> texts;
        for (const auto & b : breakers) {
            texts.push_back(b.c_str());
        }
        add(llama_sampler_init_penalties(s.model->n_vocab, p.repeat_last_n, p.repeat_penalty, p.frequency_penalty, p.presence_penalty));
        add(llama_sampler_init_dry(s.model->vocab, p.dry_multiplier, p.dry_base, p.dry_allowed_length, p.dry_last_n, texts.data(), texts.size()));
        add(llama_sampler_init_top_n_sigma(p.top_n_sigma));
        add(llama_sampler_init_top_k(p.top_k));
    }
    add_draw(chain, s);
    return chain;
}

} // namespace hearth
