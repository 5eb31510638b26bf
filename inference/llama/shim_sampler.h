// A sampler, for the shim's C++ files.
#pragma once

#include "shim_sampling.h"

#include <deque>

namespace hearth {

// Above this the vocabulary is sorted as a whole; selection gains nothing.
constexpr int32_t SELECT_MAX = 2048;

llama_sampler * new_chain();
// Adds the stages that follow top-k, with the draw.
void            add_draw(llama_sampler * chain, const hearth_sampler & s);
// All of llama.cpp's stages, for tests to compare with.
llama_sampler * reference_chain(const hearth_sampler & s, const std::vector<std::string> & breakers);

} // namespace hearth

struct hearth_sampler : hearth::counted<HEARTH_KIND_SAMPLER> {
    hearth_model *                         model = nullptr;
    hearth_sampler_params                  p{};
    std::vector<llama_logit_bias>          bias;
    std::unordered_map<int32_t, int>       counts; // of the tokens in recent
    std::deque<int32_t>                    recent;
    std::unique_ptr<hearth::grammar_state> grammar;
    std::unique_ptr<hearth::dry_state>     dry;
    std::unique_ptr<hearth::ban_list>      ban;
    std::unique_ptr<hearth::forecast>      forecast; // or NULL
    std::string                            error;

    llama_sampler * draw  = nullptr; // what follows top-k, with the draw
    llama_sampler * sigma = nullptr; // top-n-sigma, or NULL
    llama_sampler * full  = nullptr; // reference: all of llama.cpp's chain

    ~hearth_sampler() {
        llama_sampler_free(draw);
        llama_sampler_free(sigma);
        llama_sampler_free(full);
    }

    // Mirostat has its own draw: of the other stages only the temperature is left.
    bool penalizes() const {
        return p.mirostat == 0 && p.repeat_last_n > 0 && (p.repeat_penalty != 1.0f || p.frequency_penalty != 0.0f || p.presence_penalty != 0.0f);
    }
    bool moves_top() const { return p.mirostat == 0 && (narrows_typical() || cuts_top() || p.dynatemp_range > 0.0f); }
    bool narrows_typical() const { return p.typical_p > 0.0f && p.typical_p < 1.0f; }
    bool cuts_top() const { return p.xtc_probability > 0.0f && p.xtc_threshold <= 0.5f; }
    bool greedy() const { return p.temperature <= 0.0f && !moves_top(); }
    // Whether tokens without a probability make a difference, so that they must
    // stay among the candidates as llama.cpp leaves them there.
    bool counts_all() const { return p.mirostat != 0 || sigma || moves_top(); }
    // Whether the candidates are selected from the logits as they lie.
    bool selects() const { return p.mirostat == 0 && !sigma && p.top_k > 0 && p.top_k <= hearth::SELECT_MAX && p.top_k < model->n_vocab; }
    bool constrained() const { return ban || (grammar && grammar->constrains()); }
    bool allows(int32_t token) const {
        return !(ban && ban->forbids(token)) && !(grammar && grammar->constrains() && !grammar->allows(token));
    }
    float bias_of(int32_t token) const {
        float sum = 0;
        for (const auto & b : bias) {
            sum += b.token == token ? b.bias : 0;
        }
        return sum;
    }
    void accept(int32_t token);
    // Looks ahead behind the last token, and accepts what is sure to follow.
    void foresee(int32_t * next, int32_t & n_sure, int32_t & n_likely);
    void look_back(int32_t token);
    void remember(int32_t token);
    void penalize(float * logits) const;
};
