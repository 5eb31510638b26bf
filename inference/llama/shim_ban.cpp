//go:build ignore

// Texts of tokens, and the strings that are never to be written.

#include "shim_sampling.h"

#include <algorithm>
#include <stdexcept>

namespace hearth {

template <typename F> void token_texts::fill(const llama_vocab * vocab, F && write) {
    std::call_once(once, [&] {
        const int32_t     n = llama_vocab_n_tokens(vocab);
        std::string       all;
        std::vector<size_t> at(1, 0);
        std::vector<char> piece(256);
        for (int32_t t = 0; t < n; t++) {
            int32_t size = write(t, piece.data(), (int32_t) piece.size());
            if (size < 0) {
                piece.resize(-size);
                size = write(t, piece.data(), (int32_t) piece.size());
            }
            if (size < 0) {
                throw std::runtime_error("token " + std::to_string(t) + " has no text");
            }
            all.append(piece.data(), size);
            at.push_back(all.size());
        }
        bytes = std::move(all);
        start = std::move(at);
    });
}

const token_texts & token_texts::shown(const llama_vocab * vocab) {
    fill(vocab, [&](int32_t t, char * buf, int32_t cap) { return llama_token_to_piece(vocab, t, buf, cap, 0, false); });
    return *this;
}

const token_texts & token_texts::detokenized(const llama_vocab * vocab) {
    fill(vocab, [&](int32_t t, char * buf, int32_t cap) { return llama_detokenize(vocab, &t, 1, buf, cap, false, true); });
    return *this;
}

int32_t token_texts::owner(size_t at) const {
    return (int32_t) (std::upper_bound(start.begin(), start.end(), at) - start.begin()) - 1;
}

ban_list::ban_list(const llama_vocab * vocab, const token_texts & texts, std::vector<std::string> list)
    : vocab(vocab), texts(texts), banned(std::move(list)), whole(texts.count(), false) {
    const std::string & all = texts.all();
    for (const auto & b : banned) {
        longest = std::max(longest, b.size());
        for (size_t at = all.find(b); at != std::string::npos; at = all.find(b, at + 1)) {
            const int32_t t = texts.owner(at);
            if (texts.owner(at + b.size() - 1) == t && !llama_vocab_is_eog(vocab, t)) {
                whole[t] = true;
            }
        }
    }
}

bool ban_list::forbids(int32_t token) const {
    if (whole[token]) {
        return true;
    }
    const std::string_view text = texts.of(token);
    for (const auto & rest : rests) {
        if (text.size() >= rest.size() && text[0] == rest[0] && text.compare(0, rest.size(), rest) == 0) {
            return !llama_vocab_is_eog(vocab, token);
        }
    }
    return false;
}

void ban_list::accept(int32_t token) {
    tail += texts.of(token);
    if (tail.size() >= longest) {
        tail.erase(0, tail.size() - (longest - 1));
    }
    rests.clear();
    for (const auto & b : banned) {
        for (size_t n = std::min(b.size() - 1, tail.size()); n > 0; n--) {
            if (tail.compare(tail.size() - n, n, b, 0, n) == 0) {
                rests.push_back(b.substr(n));
            }
        }
    }
    // of two of which one begins the other, the shorter decides
    std::sort(rests.begin(), rests.end());
    const auto begins = [](const std::string & a, const std::string & b) { return b.compare(0, a.size(), a) == 0; };
    rests.erase(std::unique(rests.begin(), rests.end(), begins), rests.end());
}

} // namespace hearth
