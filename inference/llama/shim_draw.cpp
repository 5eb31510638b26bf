//go:build ignore

// The draw: from a row of logits to a token that the constraints allow, and from
// a batch to its tokens.

#include "shim_context.h"
#include "shim_sampler.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

using namespace hearth;

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

// The end of the answer, where no token is left: something is banned, so that is
// what the client asked for.
static llama_token give_up(hearth_sampler & s) {
    if (s.ban) {
        for (int32_t t = 0; t < s.model->n_vocab; t++) {
            if (llama_vocab_is_eog(s.model->vocab, t)) {
                s.grammar.reset(); // it would refuse the end
                return t;
            }
        }
        throw std::runtime_error("every token would complete a banned string, and the model has none that ends an answer");
    }
    if (s.grammar && s.grammar->follows()) {
        throw grammar_error("it allows no token of the model's vocabulary here: the next character has to be one that the model can write");
    }
    throw std::runtime_error("the grammar allows no token of the vocabulary here");
}

// Takes the probability of what is not allowed. False: nothing is left.
static bool mask(const hearth_sampler & s, std::vector<llama_token_data> & cand) {
    if (s.ban) {
        for (auto & c : cand) {
            c.logit = s.ban->forbids(c.id) ? -INFINITY : c.logit;
        }
    }
    if (s.grammar && s.grammar->constrains()) {
        llama_token_data_array a{ cand.data(), cand.size(), -1, false };
        s.grammar->mask(&a);
    }
    return std::any_of(cand.begin(), cand.end(), [](const llama_token_data & c) { return c.logit > -INFINITY; });
}

// Keeps of cand what is allowed, in its order.
static void keep_allowed(const hearth_sampler & s, std::vector<llama_token_data> & cand) {
    mask(s, cand);
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
    if (s.p.mirostat != 0) {
        return apply(s.draw, cand, sorted);
    }
    if (s.sigma) {
        llama_token_data_array a{ cand.data(), cand.size(), -1, false };
        llama_sampler_apply(s.sigma, &a);
    }
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
    if (s.selects()) {
        top_k(logits, n, s.p.top_k, w.cand);
        if (w.cand.empty()) {
            throw std::runtime_error("no token has a probability");
        }
        return apply(s.draw, w.cand, true);
    }
    materialize(logits, n, w.cand);
    return draw_from(s, w.cand);
}

// The token as if what is not allowed had been masked before the chain.
static llama_token pick_allowed(hearth_sampler & s, const float * logits, scratch & w) {
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
    if (!mask(s, w.cand)) {
        return give_up(s);
    }
    if (!s.counts_all()) {
        w.cand.erase(std::remove_if(w.cand.begin(), w.cand.end(), [](const llama_token_data & c) { return c.logit == -INFINITY; }), w.cand.end());
    }
    if (s.greedy()) {
        const auto best = std::max_element(w.cand.begin(), w.cand.end(),
                                           [](const llama_token_data & a, const llama_token_data & b) { return a.logit < b.logit; });
        return best->id;
    }
    return draw_from(s, w.cand);
}

// llama.cpp's own chain over the whole vocabulary, to compare with.
static llama_token pick_reference(hearth_sampler & s, const float * raw, scratch & w) {
    const int32_t n = s.model->n_vocab;
    materialize(raw, n, w.cand);
    llama_token t = apply(s.full, w.cand, false);
    if (s.constrained() && !s.allows(t)) {
        materialize(raw, n, w.cand);
        if (!mask(s, w.cand)) {
            return give_up(s);
        }
        t = apply(s.full, w.cand, false);
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
    if (!s.bias.empty() || s.dry || (s.penalizes() && !s.counts.empty())) {
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
    if (s.dry) {
        s.dry->penalize(w.logits.data());
    }

    llama_token t;
    if (s.full) {
        t = pick_reference(s, raw, w);
    } else {
        t = pick(s, logits, w);
        if (s.constrained() && !s.allows(t)) {
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
    if (!s.greedy() && !s.selects()) {
        c += n / 50;
    }
    return c;
}

// The tokens that were drawn become the batch in hand, one for each row.
static bool go_ahead(hearth_context & c) {
    drawing &    d = c.drawing;
    const size_t n = d.index.size();
    for (size_t i = 0; i < n; i++) {
        if (d.status[i] != 0 || d.n_sure[i] > 0 || d.n_likely[i] > 0 || llama_vocab_is_eog(c.model->vocab, d.token[i]) || c.pos[d.index[i]] + 1 >= c.traits.context ||
            (i > 0 && d.index[i] <= d.index[i - 1])) {
            return false;
        }
    }
    for (size_t i = 0; i < n; i++) {
        const int32_t from = d.index[i]; // not before i: nothing is overwritten that is still needed
        c.token[i]  = d.token[i];
        c.pos[i]    = c.pos[from] + 1;
        c.seq[i]    = c.seq[from];
        c.output[i] = 1;
    }
    c.n_tokens = (int32_t) n;
    return n > 0;
}

// Draws the rows from first to last, all of one sampler: each one behind the first
// holds a guess, and is drawn only if the row before drew that very token.
static void draw_chain(hearth_context & c, int32_t first, int32_t last, scratch & w) {
    drawing &        d = c.drawing;
    hearth_sampler & s = *d.samplers[first];
    for (int32_t i = first; i <= last; i++) {
        d.status[i] = HEARTH_ROW_SKIPPED;
        d.n_sure[i] = d.n_likely[i] = 0;
    }
    for (int32_t i = first; i <= last; i++) {
        const int64_t top = (int64_t) i * HEARTH_MAX_TOP;
        try {
            d.token[i]  = sample_row(s, d.rows[i], w, { &d.logprob[i], &d.top_token[top], &d.top_logprob[top], &d.top_n[i] });
            d.status[i] = 0;
            if (llama_vocab_is_eog(c.model->vocab, d.token[i])) {
                return;
            }
            if (i < last && c.token[d.index[i + 1]] == d.token[i]) {
                continue;
            }
            s.foresee(d.next.data() + (size_t) i * HEARTH_MAX_FORESEEN, d.n_sure[i], d.n_likely[i]);
        } catch (const grammar_error & e) {
            d.status[i] = HEARTH_ROW_GRAMMAR;
            s.error     = e.what();
        } catch (const std::exception & e) {
            d.status[i] = HEARTH_ROW_FAILED;
            s.error     = e.what();
        } catch (...) {
            d.status[i] = HEARTH_ROW_FAILED;
            s.error     = "unknown C++ exception";
        }
        return;
    }
}

bool hearth::draw(hearth_context & c) noexcept {
    drawing &     d = c.drawing;
    const int32_t n = (int32_t) d.index.size();
    d.failed        = false;
    try {
        int64_t total = 0;
        d.chains.clear();
        for (int32_t i = 0; i < n; i++) {
            d.rows[i] = llama_get_logits_ith(c.ctx, d.index[i]);
            if (!d.rows[i]) {
                d.failed = true;
                return false;
            }
            total += cost(*d.samplers[i]);
            if (i == 0 || d.samplers[i] != d.samplers[i - 1]) {
                d.chains.push_back(i);
            }
        }
        const int32_t chains = (int32_t) d.chains.size();
        c.pool->run(chains, total > 150, [&](int k, scratch & w) {
            draw_chain(c, d.chains[k], k + 1 < chains ? d.chains[k + 1] - 1 : n - 1, w);
        });
        return d.more && chains == n && __atomic_load_n(c.hold, __ATOMIC_ACQUIRE) == 0 && go_ahead(c);
    } catch (...) { // of llama.cpp, about a row that is not there
        d.failed = true;
        return false;
    }
}
