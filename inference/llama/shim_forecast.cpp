//go:build ignore

// Tokens of the text that a sampler foresees.

#include "shim_forced.h"

#include "shim_sampling.h"

#include "llama-vocab.h"

#include <algorithm>

namespace hearth {

// ---- how models write --------------------------------------------------------------

uint64_t writing_habits::key(llama_token before, llama_token last, std::string_view text) const {
    uint64_t h = 0xCBF29CE484222325u;
    for (const uint64_t n : { (uint64_t) (uint32_t) before, (uint64_t) (uint32_t) last }) {
        h = (h ^ n) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    for (const char c : text.substr(0, REACH)) {
        h = (h ^ (unsigned char) c) * 0x100000001B3u;
    }
    return h ^ h >> 32;
}

static constexpr uint64_t TOKEN_BITS = (1u << 24) - 1;

llama_token writing_habits::find(uint64_t scope, llama_token before, llama_token last, std::string_view text) const {
    const uint64_t k    = key(before, last, text) ^ scope;
    const uint64_t slot = slots[k % SLOTS].load(std::memory_order_relaxed);
    return (slot & ~TOKEN_BITS) == (k & ~TOKEN_BITS) ? (llama_token) (slot & TOKEN_BITS) - 1 : LLAMA_TOKEN_NULL;
}

void writing_habits::note(uint64_t scope, llama_token before, llama_token last, std::string_view text, llama_token token) {
    const uint64_t k = key(before, last, text) ^ scope;
    slots[k % SLOTS].store((k & ~TOKEN_BITS) | (uint64_t) (token + 1), std::memory_order_relaxed);
}

spacing writing_habits::lines() const {
    std::lock_guard<std::mutex> lock(mutex);
    return known;
}

void writing_habits::note(const spacing & lines) {
    std::lock_guard<std::mutex> lock(mutex);
    known = lines;
    known.restart();
}

// ---- one answer --------------------------------------------------------------------

// After a first guess that was wrong nothing is guessed for so many tokens, after
// each further one for twice as many.
static constexpr int32_t PAUSE = 4, MOST_DOUBLED = 8;

void forecast::accept(llama_token token, bool free) {
    pause -= pause > 0;
    if (reached < next.text.size()) {
        const std::string_view rest  = std::string_view(next.text).substr(reached);
        const std::string &    piece = vocab->token_to_piece(token);
        if (!piece.empty() && rest.substr(0, piece.size()) == piece) {
            habits.note(scope, last(1), last(0), rest, token);
            reached += piece.size();
        } else {
            reached = next.text.size();
        }
    }
    if (at < guesses.size() && guesses[at] == token) {
        misses = 0;
        if (++at == guesses.size()) {
            trust = std::min(2 * std::max(trust, (int32_t) at), most);
        }
    } else if (!guesses.empty()) {
        if (at == 0) {
            pause = PAUSE << std::min(misses++, MOST_DOUBLED);
        }
        trust = std::max<int32_t>((int32_t) at, 1);
        guesses.clear();
        at = 0;
    }
    follow(token, free);
}

void forecast::follow(llama_token token, bool free) {
    const llama_token_attr attr = vocab->token_get_attr(token);
    if (free) {
        lines.restart();
    } else {
        for (const char c : vocab->token_to_piece(token)) {
            lines.write(c);
        }
    }
    // Text is cut there to be tokenized.
    if (attr & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_USER_DEFINED | LLAMA_TOKEN_ATTR_UNKNOWN)) {
        tail.clear();
        return;
    }
    if (tail.size() == TAIL) {
        tail.erase(tail.begin());
    }
    tail.push_back(token);
}

// The tokens of text as the model would see them in its own text: behind the last
// tokens of the answer, which have to come out as they are. False: they do not.
bool forecast::behind_tail(const std::string & text, bool special, std::vector<llama_token> & out) const {
    size_t first = 0; // a text does not begin in the middle of a character
    while (first < tail.size()) {
        const std::string & piece = vocab->token_to_piece(tail[first]);
        if (!piece.empty() && ((unsigned char) piece[0] & 0xC0) != 0x80) {
            break;
        }
        first++;
    }
    std::string all;
    for (size_t i = first; i < tail.size(); i++) {
        all += vocab->token_to_piece(tail[i]);
    }
    out = vocab->tokenize(all + text, false, special);

    size_t border = out.size(), bytes = 0;
    while (border > 0 && bytes < text.size()) {
        bytes += vocab->token_to_piece(out[--border]).size();
    }
    const size_t same = std::min<size_t>(tail.size() - first, 3);
    if (bytes != text.size() || border < same || !std::equal(tail.end() - (std::ptrdiff_t) same, tail.end(), out.begin() + (std::ptrdiff_t) (border - same))) {
        return false;
    }
    out.erase(out.begin(), out.begin() + (std::ptrdiff_t) border);
    return true;
}

// How much of a text keeps its tokens whatever follows. Tokenizers cut a text where
// letters and digits, punctuation and white space meet, give a word the one
// character before it, and punctuation a space before and line ends behind it.
static size_t settled(const std::string & text) {
    const auto kind = [&](size_t i) {
        const unsigned char c = text[i];
        return is_blank(c) ? 0 : c >= 0x80 || isalnum(c) ? 1 : 2;
    };
    size_t     n    = text.size();
    const auto back = [&](int k) {
        while (n > 0 && kind(n - 1) == k) {
            n--;
        }
    };
    const int last = n > 0 ? kind(n - 1) : 0;
    back(last);
    if (last == 0) {
        back(2);
    }
    if (n > 0 && (last == 1 || text[n - 1] == ' ')) {
        n--;
    }
    return n;
}

void forecast::find_certain(const std::function<bool(llama_token)> & may) {
    const std::string text = next.text.substr(0, next.certain);
    std::vector<llama_token> tokens, marked;
    // Text that would read as a control token is left to the model.
    if (!text.empty() && (!behind_tail(text, false, tokens) || !behind_tail(text, true, marked) || tokens != marked)) {
        return;
    }
    const size_t safe = next.ends ? text.size() : settled(text);
    size_t       end  = 0;
    for (const llama_token t : tokens) {
        end += vocab->token_to_piece(t).size();
        if (end > safe || certain.size() >= HEARTH_MAX_FORESEEN / 2 || !may(t)) {
            return;
        }
        certain.push_back(t);
    }
}

void forecast::forget() {
    certain.clear();
    guesses.clear();
    at = 0;
}

void forecast::look(const grammar_state & grammar, const std::function<bool(llama_token)> & may) {
    forget();
    reached = 0;
    next.text.clear();
    next.certain = 0;
    next.ends    = false;
    grammar.foresee(lines, most > 0, next);
    if (append || next.text.empty()) {
        find_certain(may);
        size_t bytes = 0;
        for (const llama_token t : certain) {
            bytes += vocab->token_to_piece(t).size();
        }
        if (next.ends && bytes == next.text.size()) {
            llama_token end = vocab->token_eot();
            if (end == LLAMA_TOKEN_NULL || !vocab->is_eog(end)) {
                end = vocab->token_eos();
            }
            if (end != LLAMA_TOKEN_NULL && vocab->is_eog(end) && may(end)) {
                certain.push_back(end);
            }
            return;
        }
    }
    if (most > 0 && pause == 0 && !next.text.empty()) {
        guess();
    }
}

// The tokens of next.text behind those that are certain: as they were written
// before, and where they never were as the tokenizer has them.
void forecast::guess() {
    const std::string_view   text = next.text;
    std::vector<llama_token> usual; // the tokenizer's, from the byte at known on
    size_t                   known = text.size() + 1, at_usual = 0, place = 0;
    llama_token              before = last(1), latest = last(0);
    int32_t                  unseen = 0;
    const auto               pass = [&](llama_token t) {
        place += vocab->token_to_piece(t).size();
        before = latest;
        latest = t;
    };
    std::for_each(certain.begin(), certain.end(), pass);
    while (place < text.size() && guesses.size() < (size_t) most) {
        const std::string_view rest = text.substr(place);
        llama_token            t    = habits.find(scope, before, latest, rest);
        if (t == LLAMA_TOKEN_NULL || rest.substr(0, vocab->token_to_piece(t).size()) != vocab->token_to_piece(t)) {
            if (unseen++ == trust) {
                return;
            }
            while (at_usual < usual.size() && known < place) {
                known += vocab->token_to_piece(usual[at_usual++]).size();
            }
            if (known != place || at_usual == usual.size()) {
                if (place > 0 || !behind_tail(next.text, false, usual)) {
                    usual = vocab->tokenize(std::string(rest), false, false);
                }
                known    = place;
                at_usual = 0;
                if (usual.empty()) {
                    return;
                }
            }
            t = usual[at_usual];
        }
        guesses.push_back(t);
        pass(t);
    }
}

} // namespace hearth
