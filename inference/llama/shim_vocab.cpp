//go:build ignore

// Text to tokens and back.

#include "shim_internal.h"

#include <stdexcept>

using namespace hearth;

int64_t hearth_vocab_pieces(hearth_model * m, int32_t special, char * buf, int64_t cap, int64_t * offsets, char ** err) {
    return guard<int64_t>(err, -1, [&] {
        int64_t           total = 0;
        std::vector<char> piece(64);
        for (int32_t t = 0; t < m->n_vocab; t++) {
            int32_t n = llama_token_to_piece(m->vocab, t, piece.data(), (int32_t) piece.size(), 0, special != 0);
            if (n < 0) {
                piece.resize(-n);
                n = llama_token_to_piece(m->vocab, t, piece.data(), (int32_t) piece.size(), 0, special != 0);
            }
            if (n < 0) {
                throw std::runtime_error("token " + std::to_string(t) + " has no text");
            }
            if (offsets) {
                offsets[t] = total;
            }
            if (buf && total + n <= cap) {
                memcpy(buf + total, piece.data(), n);
            }
            total += n;
        }
        if (offsets) {
            offsets[m->n_vocab] = total;
        }
        return total;
    });
}

void hearth_vocab_flags(hearth_model * m, uint8_t * flags) {
    constexpr int control = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN;
    for (int32_t t = 0; t < m->n_vocab; t++) {
        const int attr = llama_vocab_get_attr(m->vocab, t);
        flags[t]       = (llama_vocab_is_eog(m->vocab, t) ? HEARTH_TOKEN_EOG : 0) | (attr & control ? HEARTH_TOKEN_CONTROL : 0) |
                   (attr & (control | LLAMA_TOKEN_ATTR_USER_DEFINED) ? HEARTH_TOKEN_APART : 0) |
                   (attr & (LLAMA_TOKEN_ATTR_LSTRIP | LLAMA_TOKEN_ATTR_RSTRIP) ? HEARTH_TOKEN_STRIPS : 0);
    }
}

const char * hearth_vocab_text(hearth_model * m, int32_t token) {
    return llama_vocab_get_text(m->vocab, token);
}

int32_t hearth_vocab_adds_bos(hearth_model * m) {
    return llama_vocab_get_add_bos(m->vocab);
}

int64_t hearth_tokenize(hearth_model * m, const char * text, int64_t len, int32_t add_special, int32_t parse_special,
                        int32_t * out, int64_t cap, int64_t stack, char ** err) {
    return guard<int64_t>(err, INT64_MIN, [&] {
        int32_t    n    = 0;
        const auto work = [&] {
            n = llama_tokenize(m->vocab, text, (int32_t) len, out, (int32_t) cap, add_special != 0, parse_special != 0);
        };
        if (stack > 0) {
            run_deep((size_t) stack, work);
        } else {
            work();
        }
        if (n == INT32_MIN) {
            throw std::runtime_error("the text has more tokens than can be counted");
        }
        return (int64_t) n;
    });
}

char * hearth_detokenize(hearth_model * m, const int32_t * tokens, int64_t n, int64_t * len, char ** err) {
    return guard<char *>(err, nullptr, [&] {
        std::string text(n * 4 + 64, 0);
        int32_t     got = llama_detokenize(m->vocab, tokens, (int32_t) n, &text[0], (int32_t) text.size(), false, true);
        if (got < 0) {
            text.resize(-got);
            got = llama_detokenize(m->vocab, tokens, (int32_t) n, &text[0], (int32_t) text.size(), false, true);
        }
        if (got < 0) {
            throw std::runtime_error("llama.cpp cannot render these tokens");
        }
        text.resize(got);
        *len = got;
        return copy_string(text);
    });
}
