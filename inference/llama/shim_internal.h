// What the shim's C++ files share; Go does not see it.
#pragma once

#include "shim.h"

#include "llama.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

struct llama_grammar;

namespace hearth {

class writing_habits;

char * copy_string(const std::string & s);
void   set_error(char ** err, const std::string & text);

// Text of the last error that llama.cpp logged on this thread, then forgotten.
// llama.cpp says why a load failed only in its log.
std::string take_logged_error();

// Runs f on a thread with a stack of that many bytes: tokenizers, template and
// grammar parsers recurse as deep as their input is long. What f throws is
// thrown again here.
void run_deep(size_t stack, const std::function<void()> & f);

std::atomic<int64_t> & live(int kind);

// Counts the living objects of a kind.
template <int kind> struct counted {
    counted() { live(kind).fetch_add(1); }
    ~counted() { live(kind).fetch_sub(1); }
    counted(const counted &) = delete;
    counted & operator=(const counted &) = delete;
};

// Calls f and turns whatever it throws into failure and *err.
template <typename R, typename F> R guard(char ** err, R failure, F && f) noexcept {
    try {
        return f();
    } catch (const std::exception & e) {
        set_error(err, e.what());
    } catch (...) {
        set_error(err, "unknown C++ exception");
    }
    return failure;
}

// Compiled grammars by their GBNF text, the least recently used dropped first.
class grammar_cache {
  public:
    std::shared_ptr<const llama_grammar> get(const llama_vocab * vocab, const std::string & gbnf);

  private:
    using entry = std::pair<std::string, std::shared_ptr<const llama_grammar>>;
    std::mutex       mutex;
    std::list<entry> order; // most recent first
    std::unordered_map<std::string, std::list<entry>::iterator> index;
    size_t bytes = 0;
};

// The texts of all tokens, one after the other. Made when first asked for: few
// samplers need them.
class token_texts {
  public:
    // As text that a reader sees; control tokens have none.
    const token_texts & shown(const llama_vocab * vocab);
    // As llama.cpp detokenizes each by itself, control tokens included.
    const token_texts & detokenized(const llama_vocab * vocab);

    int32_t          count() const { return (int32_t) start.size() - 1; }
    std::string_view of(int32_t token) const { return std::string_view(bytes).substr(start[token], start[token + 1] - start[token]); }
    // All texts, and whose the byte at is.
    const std::string & all() const { return bytes; }
    int32_t             owner(size_t at) const;

  private:
    template <typename F> void fill(const llama_vocab * vocab, F && write);

    std::once_flag      once;
    std::string         bytes;
    std::vector<size_t> start; // one more than there are tokens
};

// All tokens that have text of their own, in the order of their texts, so that
// what two neighbours have in common is tried once.
class ordered_tokens {
  public:
    const ordered_tokens & filled(const llama_vocab * vocab, const token_texts & texts);

    std::vector<int32_t> token;
    std::vector<int32_t> same; // bytes that the text has in common with the one before

  private:
    std::once_flag once;
};

std::shared_ptr<const llama_grammar> compile_grammar(const llama_vocab * vocab, const std::string & gbnf);

} // namespace hearth

struct hearth_model : hearth::counted<HEARTH_KIND_MODEL> {
    llama_model *         model   = nullptr;
    const llama_vocab *   vocab   = nullptr;
    int32_t               n_vocab = 0;
    int32_t               n_gpu_layers = 0;
    bool                  vocab_only   = false;
    hearth::grammar_cache grammars;
    hearth::token_texts   shown, detokenized; // for samplers
    hearth::ordered_tokens ordered;           // of shown

    std::shared_ptr<hearth::writing_habits> habits; // in grammars

    ~hearth_model() { llama_model_free(model); }
};
