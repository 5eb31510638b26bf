//go:build ignore

// Samplers: one a choice, each with its history, random numbers and grammar.

#include "shim_context.h"
#include "shim_sampling.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <stdexcept>

using namespace hearth;

// Above this the vocabulary is sorted as a whole; selection gains nothing.
static constexpr int32_t SELECT_MAX = 2048;

struct hearth_sampler : counted<HEARTH_KIND_SAMPLER> {
    hearth_model *                   model = nullptr;
    hearth_sampler_params            p{};
    std::vector<llama_logit_bias>    bias;
    std::unordered_map<int32_t, int> counts; // of the tokens in recent
    std::deque<int32_t>              recent;
    std::unique_ptr<grammar_state>   grammar;
    std::string                      error;

    llama_sampler * draw  = nullptr; // top-p, min-p, temperature, the draw
    llama_sampler * full  = nullptr; // reference: all of llama.cpp's chain

    ~hearth_sampler() {
        llama_sampler_free(draw);
        llama_sampler_free(full);
    }

    bool penalizes() const {
        return p.repeat_last_n > 0 && (p.repeat_penalty != 1.0f || p.frequency_penalty != 0.0f || p.presence_penalty != 0.0f);
    }
    bool greedy() const { return p.temperature <= 0.0f; }
    float bias_of(int32_t token) const {
        float sum = 0;
        for (const auto & b : bias) {
            sum += b.token == token ? b.bias : 0;
        }
        return sum;
    }
    void accept(int32_t token);
    void remember(int32_t token);
    void penalize(float * logits) const;
};

void hearth_sampler::remember(int32_t token) {
    if (!penalizes()) {
        return;
    }
    counts[token]++;
    recent.push_back(token);
    if ((int32_t) recent.size() > p.repeat_last_n) {
        const auto oldest = counts.find(recent.front());
        if (--oldest->second == 0) {
            counts.erase(oldest);
        }
        recent.pop_front();
    }
}

void hearth_sampler::accept(int32_t token) {
    if (grammar) {
        grammar->accept(token);
    }
    if (full) {
        llama_sampler_accept(full, token);
    }
    remember(token);
}

// As llama.cpp's penalties do, but only where there is something to penalize.
void hearth_sampler::penalize(float * logits) const {
    for (const auto & c : counts) {
        float & l = logits[c.first];
        if (l <= 0) {
            l *= p.repeat_penalty;
        } else {
            l /= p.repeat_penalty;
        }
        l -= float(c.second) * p.frequency_penalty + p.presence_penalty;
    }
}

static llama_sampler * new_chain() {
    auto params    = llama_sampler_chain_default_params();
    params.no_perf = true;
    return llama_sampler_chain_init(params);
}

static void add_draw(llama_sampler * chain, const hearth_sampler_params & p) {
    if (p.temperature <= 0.0f) {
        llama_sampler_chain_add(chain, llama_sampler_init_greedy());
        return;
    }
    llama_sampler_chain_add(chain, llama_sampler_init_top_p(p.top_p, 1));
    llama_sampler_chain_add(chain, llama_sampler_init_min_p(p.min_p, 1));
    llama_sampler_chain_add(chain, llama_sampler_init_temp(p.temperature));
    // llama.cpp takes its default seed for "choose one"; this is one like any other
    llama_sampler_chain_add(chain, llama_sampler_init_dist(p.seed == LLAMA_DEFAULT_SEED ? LLAMA_DEFAULT_SEED - 1 : p.seed));
}

hearth_sampler * hearth_sampler_new(hearth_model * m, const hearth_sampler_params * p, const int32_t * bias_token, const float * bias,
                                    int32_t n_bias, const char * text, const int64_t * len, int32_t lazy, const int32_t * trigger_kind,
                                    const int32_t * trigger_token, int32_t n_triggers, char ** err) {
    return guard<hearth_sampler *>(err, nullptr, [&]() -> hearth_sampler * {
        auto s   = std::make_unique<hearth_sampler>();
        s->model = m;
        s->p     = *p;
        for (int32_t i = 0; i < n_bias; i++) {
            s->bias.push_back({ bias_token[i], bias[i] });
        }
        int32_t             n_suppress = 0;
        const llama_token * suppress   = llama_vocab_get_suppress_tokens(m->vocab, &n_suppress);
        for (int32_t i = 0; i < n_suppress; i++) {
            s->bias.push_back({ suppress[i], -INFINITY });
        }
        s->draw = new_chain();
        add_draw(s->draw, *p);
        if (p->reference) {
            s->full = new_chain();
            llama_sampler_chain_add(s->full, llama_sampler_init_logit_bias(m->n_vocab, (int32_t) s->bias.size(), s->bias.data()));
            llama_sampler_chain_add(s->full, llama_sampler_init_penalties(m->n_vocab, p->repeat_last_n, p->repeat_penalty,
                                                                          p->frequency_penalty, p->presence_penalty));
            llama_sampler_chain_add(s->full, llama_sampler_init_top_k(p->top_k));
            add_draw(s->full, *p);
        }
        if (text) {
            const std::string gbnf(text, len[0]);
            const std::string prefill(text + len[0], len[1]);
            const char *      value = text + len[0] + len[1];

            std::vector<trigger> triggers;
            for (int32_t i = 0; i < n_triggers; i++) {
                trigger t;
                t.kind  = trigger_kind[i];
                t.token = trigger_token[i];
                t.value.assign(value, len[2 + i]);
                value += len[2 + i];
                triggers.push_back(std::move(t));
            }
            s->grammar = std::make_unique<grammar_state>(m->vocab, gbnf.empty() ? nullptr : m->grammars.get(m->vocab, gbnf), lazy != 0, std::move(triggers));
            s->grammar->prefill(prefill);
        }
        return s.release();
    });
}

void hearth_sampler_free(hearth_sampler * s) {
    delete s;
}

const char * hearth_sampler_error(const hearth_sampler * s) {
    return s->error.c_str();
}

int32_t hearth_sampler_accept(hearth_sampler * s, int32_t token, char ** err) {
    return guard<int32_t>(err, -1, [&] {
        s->accept(token);
        return 0;
    });
}

// ---- a row --------------------------------------------------------------------

// All tokens as candidates. A logit that is not a number, as a broken model or
// backend may give, would break the order that sorting relies on.
static void materialize(const float * logits, int32_t n, std::vector<llama_token_data> & out) {
    out.resize(n);
    bool any = false;
    for (int32_t i = 0; i < n; i++) {
        const float l = logits[i] == logits[i] ? logits[i] : -INFINITY;
        out[i]        = { i, l, 0.0f };
        any |= l > -INFINITY;
    }
    if (!any) {
        throw std::runtime_error("no token has a probability");
    }
}

static llama_token apply(llama_sampler * chain, std::vector<llama_token_data> & cand, bool sorted) {
    llama_token_data_array a{ cand.data(), cand.size(), -1, sorted };
    llama_sampler_apply(chain, &a);
    if (a.selected < 0 || (size_t) a.selected >= a.size) {
        throw std::runtime_error("the sampler chose no token");
    }
    return a.data[a.selected].id;
}

[[noreturn]] static void nothing_allowed() {
    throw std::runtime_error("the grammar allows no token of the vocabulary here");
}

// Keeps of cand what the grammar allows, in its order.
static void keep_allowed(const hearth_sampler & s, std::vector<llama_token_data> & cand) {
    llama_token_data_array a{ cand.data(), cand.size(), -1, false };
    s.grammar->mask(&a);
    size_t n = 0;
    for (const auto & c : cand) {
        if (c.logit > -INFINITY) {
            cand[n++] = c;
        }
    }
    cand.resize(n);
}

// The draw from candidates of which none was cut yet.
static llama_token draw_from(const hearth_sampler & s, std::vector<llama_token_data> & cand) {
    bool sorted = false;
    if (s.p.top_k > 0 && s.p.top_k < (int32_t) cand.size()) {
        const auto before = [](const llama_token_data & a, const llama_token_data & b) {
            return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
        };
        std::nth_element(cand.begin(), cand.begin() + (s.p.top_k - 1), cand.end(), before);
        cand.resize(s.p.top_k);
    }
    if (s.p.top_k > 0) {
        std::sort(cand.begin(), cand.end(), [](const llama_token_data & a, const llama_token_data & b) {
            return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
        });
        sorted = true;
    }
    return apply(s.draw, cand, sorted);
}

static llama_token pick(const hearth_sampler & s, const float * logits, scratch & w) {
    const int32_t n = s.model->n_vocab;
    if (s.greedy()) {
        const int32_t best = argmax(logits, n);
        if (best < 0) {
            throw std::runtime_error("no token has a probability");
        }
        return best;
    }
    if (s.p.top_k > 0 && s.p.top_k <= SELECT_MAX && s.p.top_k < n) {
        top_k(logits, n, s.p.top_k, w.cand);
        if (w.cand.empty()) {
            throw std::runtime_error("no token has a probability");
        }
        return apply(s.draw, w.cand, true);
    }
    materialize(logits, n, w.cand);
    return draw_from(s, w.cand);
}

// The token as if the grammar had masked all logits before the chain.
static llama_token pick_allowed(const hearth_sampler & s, const float * logits, scratch & w) {
    const int32_t n = s.model->n_vocab;
    if (s.greedy()) {
        // the likeliest that is allowed is nearly always among the first few
        for (const int32_t k : { 64, 1024 }) {
            if (k >= n) {
                break;
            }
            top_k(logits, n, k, w.cand);
            keep_allowed(s, w.cand);
            if (!w.cand.empty()) {
                return w.cand.front().id;
            }
        }
    }
    materialize(logits, n, w.cand);
    keep_allowed(s, w.cand);
    if (w.cand.empty()) {
        nothing_allowed();
    }
    if (s.greedy()) {
        const auto best = std::max_element(w.cand.begin(), w.cand.end(),
                                           [](const llama_token_data & a, const llama_token_data & b) { return a.logit < b.logit; });
        return best->id;
    }
    return draw_from(s, w.cand);
}

// llama.cpp's own chain over the whole vocabulary, to compare with.
static llama_token pick_reference(const hearth_sampler & s, const float * raw, scratch & w) {
    const int32_t n = s.model->n_vocab;
    materialize(raw, n, w.cand);
    llama_token t = apply(s.full, w.cand, false);
    if (s.grammar && s.grammar->constrains() && !s.grammar->allows(t)) {
        materialize(raw, n, w.cand);
        llama_token_data_array a{ w.cand.data(), w.cand.size(), -1, false };
        s.grammar->mask(&a);
        t = apply(s.full, w.cand, false);
        if (!s.grammar->allows(t)) {
            nothing_allowed();
        }
    }
    return t;
}

struct row_out {
    float *   logprob;
    int32_t * top_token;
    float *   top_logprob;
    int32_t * top_n;
};

static llama_token sample_row(hearth_sampler & s, const float * raw, scratch & w, const row_out & out) {
    const int32_t n      = s.model->n_vocab;
    const float * logits = raw;
    if (!s.bias.empty() || (s.penalizes() && !s.counts.empty())) {
        w.logits.assign(raw, raw + n);
        for (const auto & b : s.bias) {
            w.logits[b.token] += b.bias;
        }
        logits = w.logits.data();
    }
    double log_sum = 0;
    *out.top_n     = 0;
    if (s.p.logprobs) {
        log_sum = log_sum_exp(logits, n);
        if (s.p.top_logprobs > 0) {
            top_k(logits, n, s.p.top_logprobs, w.keep);
            for (const auto & c : w.keep) {
                out.top_token[*out.top_n]     = c.id;
                out.top_logprob[(*out.top_n)++] = (float) (c.logit - log_sum);
            }
        }
    }
    if (s.penalizes() && !s.counts.empty()) {
        s.penalize(w.logits.data());
    }

    llama_token t;
    if (s.full) {
        t = pick_reference(s, raw, w);
    } else {
        t = pick(s, logits, w);
        if (s.grammar && s.grammar->constrains() && !s.grammar->allows(t)) {
            t = pick_allowed(s, logits, w);
        }
    }
    if (s.p.logprobs) {
        *out.logprob = (float) (raw[t] + s.bias_of(t) - log_sum);
    }
    s.accept(t);
    return t;
}

// Microseconds that a row takes, roughly: waking a thread costs a few dozen.
static int64_t cost(const hearth_sampler & s) {
    const int64_t n = s.model->n_vocab;
    int64_t       c = n / 4000;
    if (s.grammar && s.grammar->constrains()) {
        c += 100;
    }
    if (s.p.logprobs) {
        c += n / 300;
    }
    if (!s.greedy() && (s.p.top_k <= 0 || s.p.top_k > SELECT_MAX)) {
        c += n / 50;
    }
    return c;
}

int32_t hearth_sample(hearth_context * c, int32_t n, const int32_t * index, hearth_sampler * const * samplers, int32_t * token,
                      int32_t * status, float * logprob, int32_t * top_token, float * top_logprob, int32_t * top_n, int32_t stride) {
    return guard<int32_t>(nullptr, -1, [&] {
        // the first of these waits for the backend, once for all rows
        c->rows.resize(n);
        int64_t total = 0;
        for (int32_t i = 0; i < n; i++) {
            c->rows[i] = llama_get_logits_ith(c->ctx, index[i]);
            if (!c->rows[i]) {
                return -1;
            }
            total += cost(*samplers[i]);
        }
        const std::function<void(int, scratch &)> f = [&](int i, scratch & w) {
            hearth_sampler & s = *samplers[i];
            status[i]          = -1;
            try {
                token[i]  = sample_row(s, c->rows[i], w, { logprob + i, top_token + (int64_t) i * stride, top_logprob + (int64_t) i * stride, top_n + i });
                status[i] = 0;
            } catch (const std::exception & e) {
                s.error = e.what();
            } catch (...) {
                s.error = "unknown C++ exception";
            }
        };
        c->pool->run(n, total > 150, f);
        return 0;
    });
}
