//go:build ignore

// Samplers: one a choice, each with its history, random numbers and grammar.

#include "shim_context.h"
#include "shim_sampler.h"

#include <algorithm>
#include <cmath>

using namespace hearth;

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
    if (ban) {
        ban->accept(token);
    }
    look_back(token);
    if (forecast) {
        forecast->accept(token, !(grammar && grammar->binds()));
    }
}

void hearth_sampler::foresee(int32_t * next, int32_t & n_sure, int32_t & n_likely) {
    n_sure = n_likely = 0;
    if (!forecast || !grammar) {
        return;
    }
    const auto may = [this](llama_token t) { return !(ban && ban->forbids(t)) && bias_of(t) == 0.0f; };
    try {
        forecast->look(*grammar, may);
    } catch (...) { // the model draws what could have been foreseen
        forecast->forget();
    }
    for (const llama_token t : forecast->sure()) {
        if (llama_vocab_is_eog(model->vocab, t)) {
            break; // the answer is over
        }
        grammar->accept(t);
        if (ban) {
            ban->accept(t);
        }
        look_back(t);
        forecast->follow(t, !grammar->binds());
    }
    const auto & sure   = forecast->sure();
    const auto & likely = forecast->likely();
    n_sure              = (int32_t) sure.size(); // half of the places at most
    n_likely            = (int32_t) std::min(likely.size(), HEARTH_MAX_FORESEEN - sure.size());
    std::copy_n(likely.begin(), n_likely, std::copy(sure.begin(), sure.end(), next));
}

void hearth_sampler::look_back(int32_t token) {
    if (full) {
        llama_sampler_accept(full, token);
    }
    if (dry) {
        dry->accept(token);
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

hearth_sampler * hearth_sampler_new(hearth_model * m, const hearth_sampler_params * p, const hearth_sampler_counts * n, const int32_t * bias_token,
                                    const float * bias, const int32_t * history, const char * strings, const int64_t * string_len,
                                    const char * text, const int64_t * len, int32_t lazy, const int32_t * trigger_kind,
                                    const int32_t * trigger_token, int32_t n_triggers, char ** err) {
    return guard<hearth_sampler *>(err, nullptr, [&]() -> hearth_sampler * {
        auto s   = std::make_unique<hearth_sampler>();
        s->model = m;
        s->p     = *p;
        for (int32_t i = 0; i < n->n_bias; i++) {
            s->bias.push_back({ bias_token[i], bias[i] });
        }
        int32_t             n_suppress = 0;
        const llama_token * suppress   = llama_vocab_get_suppress_tokens(m->vocab, &n_suppress);
        for (int32_t i = 0; i < n_suppress; i++) {
            s->bias.push_back({ suppress[i], -INFINITY });
        }
        std::vector<std::string> breakers, banned;
        for (int32_t i = 0; i < n->n_breakers + n->n_banned; i++) {
            (i < n->n_breakers ? breakers : banned).emplace_back(strings, string_len[i]);
            strings += string_len[i];
        }
        if (p->mirostat == 0 && p->dry_multiplier != 0.0f && p->dry_last_n > 0) {
            s->dry = std::make_unique<dry_state>(m->vocab, m->detokenized.detokenized(m->vocab), *p, breakers);
        }
        if (!banned.empty()) {
            s->ban = std::make_unique<ban_list>(m->vocab, m->shown.shown(m->vocab), std::move(banned));
        }
        if (p->foresee > 0 || p->append) {
            s->forecast = std::make_unique<forecast>(m->vocab, *m->habits, p->scope, p->foresee, p->append != 0);
        }
        if (p->mirostat == 0 && p->top_n_sigma > 0.0f) {
            s->sigma = llama_sampler_init_top_n_sigma(p->top_n_sigma);
        }
        s->draw = new_chain();
        add_draw(s->draw, *s);
        if (p->reference) {
            s->full = reference_chain(*s, breakers);
        }
        for (int32_t i = 0; i < n->n_history; i++) {
            s->look_back(history[i]);
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

int32_t hearth_sampler_rules(hearth_sampler * s, const hearth_rule_counts * n, const int32_t * tables, char ** err) {
    return guard<int32_t>(err, -1, [&] {
        rule_tables rules;
        rules.root      = n->root;
        const auto take = [&](std::vector<int32_t> & to, int32_t count) {
            to.assign(tables, tables + count);
            tables += count;
        };
        take(rules.places, n->n_places);
        take(rules.alts, n->n_alts);
        take(rules.rules, n->n_rules + 1);
        take(rules.classes, n->n_classes + 1);
        take(rules.ranges, 2 * n->n_ranges);

        hearth_model *      m     = s->model;
        const token_texts & texts = m->shown.shown(m->vocab);
        if (!s->grammar) {
            s->grammar = std::make_unique<grammar_state>(m->vocab, nullptr, false, std::vector<trigger>());
        }
        s->grammar->follow(std::make_unique<rule_machine>(m->vocab, texts, m->ordered.filled(m->vocab, texts), std::move(rules)));
        return 0;
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

int32_t hearth_sampler_foresee(hearth_sampler * s, int32_t * next, int32_t * n_sure, int32_t * n_likely, char ** err) {
    return guard<int32_t>(err, -1, [&] {
        s->foresee(next, *n_sure, *n_likely);
        return 0;
    });
}

int32_t hearth_sampler_allowed(hearth_sampler * s, uint8_t * allowed, char ** err) {
    return guard<int32_t>(err, -1, [&] {
        std::vector<llama_token_data> cand(s->model->n_vocab);
        for (int32_t t = 0; t < s->model->n_vocab; t++) {
            cand[t] = { t, 1.0f, 0.0f };
        }
        if (s->grammar && s->grammar->constrains()) {
            llama_token_data_array a{ cand.data(), cand.size(), -1, false };
            s->grammar->mask(&a);
        }
        for (int32_t t = 0; t < s->model->n_vocab; t++) {
            allowed[t] = cand[t].logit > -INFINITY;
        }
        return 0;
    });
}
