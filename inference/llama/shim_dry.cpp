//go:build ignore

// DRY: tokens that would extend a repetition are penalized by its length. What
// llama.cpp computes over all candidates is computed here for those concerned.

#include "shim_sampling.h"

#include <algorithm>
#include <cmath>

namespace hearth {

// As llama.cpp cuts the tokens of a breaker that follow its first.
static constexpr size_t MAX_TAIL = 20;

dry_state::dry_state(const llama_vocab * vocab, const token_texts & texts, const hearth_sampler_params & p, const std::vector<std::string> & list)
    : multiplier(p.dry_multiplier), base(p.dry_base), allowed(p.dry_allowed_length), recent(p.dry_last_n) {
    for (const auto & b : list) {
        add_breaker(vocab, texts, b);
    }
}

static std::vector<int32_t> tokens_of(const llama_vocab * vocab, const std::string & text) {
    std::vector<int32_t> out(text.size() + 8);
    const int32_t n = llama_tokenize(vocab, text.data(), (int32_t) text.size(), out.data(), (int32_t) out.size(), false, false);
    out.resize(std::min<size_t>(std::max(n, 0), MAX_TAIL));
    return out;
}

// A token begins a breaker if its text holds it, or ends with its beginning: then
// the tokens of the rest have to follow.
void dry_state::add_breaker(const llama_vocab * vocab, const token_texts & texts, const std::string & breaker) {
    std::vector<std::vector<int32_t>> tails(breaker.size()); // by what the token has of it
    for (int32_t t = 0; t < texts.count(); t++) {
        const std::string_view word = texts.of(t);
        if (word.find(breaker) != std::string_view::npos) {
            breakers[t].emplace_back();
            continue;
        }
        const size_t most = std::min(word.size(), breaker.size() - 1);
        for (size_t n = most; n > 0; n--) {
            if (word.substr(word.size() - n) != std::string_view(breaker).substr(0, n)) {
                continue;
            }
            if (tails[n].empty()) {
                tails[n] = tokens_of(vocab, breaker.substr(n));
            }
            auto & have = breakers[t];
            if (std::find(have.begin(), have.end(), tails[n]) == have.end()) {
                have.push_back(tails[n]);
            }
        }
    }
}

void dry_state::accept(int32_t token) {
    recent[next] = token;
    next         = (next + 1) % recent.size();
    size         = std::min<int32_t>(size + 1, (int32_t) recent.size());
}

// How long a repetition may be: back to the last breaker.
int32_t dry_state::reach() const {
    for (int32_t i = 0; i < size; i++) {
        const auto begins = breakers.find(at(i));
        if (begins == breakers.end()) {
            continue;
        }
        int32_t longest_tail = -1;
        for (const auto & tail : begins->second) {
            const int32_t n = (int32_t) tail.size();
            if (n <= longest_tail || n > i) {
                continue;
            }
            int32_t k = 0;
            while (k < n && tail[k] == at(i - k - 1)) {
                k++;
            }
            longest_tail = k == n ? n : longest_tail;
        }
        if (longest_tail >= 0) {
            return i - longest_tail;
        }
    }
    return size;
}

void dry_state::penalize(float * logits) {
    if (size <= allowed) {
        return;
    }
    const int32_t limit = reach();
    if (limit < allowed) {
        return;
    }
    // same[k]: how many of the latest tokens also end k tokens earlier; the
    // Z-algorithm on the reversed text
    same.assign(size, 0);
    longest.clear();
    for (int32_t k = 1, left = 0, right = 0; k < size; k++) { // [left, right) is the match that reaches furthest
        int32_t n = k < right ? std::min(right - k, same[k - left]) : 0;
        while (k + n < size && at(n) == at(k + n)) {
            n++;
        }
        same[k] = n;
        if (k + n > right) {
            left  = k;
            right = k + n;
        }
        const int32_t repeats = std::min(n, limit);
        if (repeats >= allowed) {
            int32_t & most = longest.try_emplace(at(k - 1), repeats).first->second;
            most           = std::max(most, repeats);
        }
    }
    // the greatest exponent that a float can hold
    const int max_exponent = base > 1.000001f ? int(88.7228391f / std::log(base)) : 0;
    for (const auto & token : longest) {
        const auto begins = breakers.find(token.first);
        if (begins != breakers.end() && std::any_of(begins->second.begin(), begins->second.end(), [](const auto & tail) { return tail.empty(); })) {
            continue; // it is a breaker itself
        }
        int exponent = token.second - allowed;
        if (max_exponent > 0) {
            exponent = std::min(exponent, max_exponent);
        }
        logits[token.first] -= float(multiplier * std::pow(base, exponent));
    }
}

} // namespace hearth
