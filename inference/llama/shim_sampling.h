// Parts of sampling, for the shim's C++ files.
#pragma once

#include "shim_internal.h"
#include "shim_machine.h"

#include "common.h"
#include "llama-grammar.h"

#include <regex>
#include <unordered_map>

namespace hearth {

// ---- selection from raw logits ----

// Index of the greatest logit, the first of equals; -1 if none is above -INFINITY.
int32_t argmax(const float * logits, int32_t n);
// The k greatest logits above -INFINITY, greatest first and the lower token first
// among equals, without touching more than a few candidates. out is reused.
void top_k(const float * logits, int32_t n, int32_t k, std::vector<llama_token_data> & out);
// The logarithm of the sum of exp over all logits.
double log_sum_exp(const float * logits, int32_t n);

// ---- DRY ----

// The penalty of tokens that would extend a repetition, as llama.cpp's sampler
// has it, for the few tokens that it concerns.
class dry_state {
  public:
    dry_state(const llama_vocab * vocab, const token_texts & texts, const hearth_sampler_params & p, const std::vector<std::string> & breakers);
    void accept(int32_t token);
    void penalize(float * logits);

  private:
    void    add_breaker(const llama_vocab * vocab, const token_texts & texts, const std::string & breaker);
    int32_t at(int32_t back) const { return recent[(next + recent.size() - 1 - back) % recent.size()]; } // 0: the latest
    int32_t reach() const;

    float                multiplier, base;
    int32_t              allowed;
    std::vector<int32_t> recent; // a ring
    size_t               next = 0;
    int32_t              size = 0;
    // Tokens that begin a breaker, with the tokens that must follow it.
    std::unordered_map<int32_t, std::vector<std::vector<int32_t>>> breakers;
    // Of one call, kept for their memory.
    std::vector<int32_t>                 same;
    std::unordered_map<int32_t, int32_t> longest;
};

// ---- banned strings ----

// Which tokens would complete a banned string behind the text so far.
class ban_list {
  public:
    ban_list(const llama_vocab * vocab, const token_texts & texts, std::vector<std::string> banned);
    bool forbids(int32_t token) const;
    void accept(int32_t token);

  private:
    const llama_vocab *      vocab;
    const token_texts &      texts;
    std::vector<std::string> banned;
    size_t                   longest = 0;
    std::vector<bool>        whole; // by token: its own text holds a banned string
    std::string              tail;  // of the text, shorter than the longest
    std::vector<std::string> rests; // what would complete one now; none begins another
};

// ---- grammar ----

struct trigger {
    int32_t     kind; // as common_grammar_trigger_type
    int32_t     token;
    std::string value;
    std::regex  regex; // for patterns
    bool        whole = false; // the pattern is of the whole text
};

// The thinking blocks of one sequence: where they begin and end, and what a
// spent budget writes.
class thinking_state {
  public:
    // Takes the marks out of triggers.
    thinking_state(const llama_vocab * vocab, std::vector<trigger> & triggers);

    bool open() const { return inside; }
    // The token that has to come now; LLAMA_TOKEN_NULL if any may.
    llama_token forced() const { return at < closing.size() ? closing[at] : LLAMA_TOKEN_NULL; }
    // What follows the mark in a text that begins with one that closes a block.
    std::string behind(const std::string & closed) const;
    // Lets the block go on: its end cannot be written here.
    void give_up();
    // Advances over a token. If that closed a block, closed is the mark that did,
    // with what follows it in the token.
    void accept(llama_token token, const std::string & piece, std::string & closed);

  private:
    bool         find_end(std::string & closed);
    llama_tokens end_tokens; // of the first end mark
    llama_tokens closing;    // being written, from at on
    size_t       at = 0;

    std::string              start;
    std::vector<std::string> ends;
    size_t                   longest = 0;  // mark
    bool                     inside  = false;
    int32_t                  budget  = -1; // negative: none
    int32_t                  used    = 0;
    std::string              tail; // the end of the text, where a mark may have begun
};

// A grammar's state in one sequence: llama.cpp's, for grammars that are made
// here, or a rule_machine, for those of clients. A client's grammar leaves a
// thinking block alone in which the prompt ends. Until a trigger is seen a lazy grammar
// allows everything; the text so far is kept to be replayed from the trigger on.
class grammar_state {
  public:
    grammar_state(const llama_vocab * vocab, std::shared_ptr<const llama_grammar> compiled, bool lazy, std::vector<trigger> triggers);
    ~grammar_state();
    grammar_state(const grammar_state &) = delete;
    grammar_state & operator=(const grammar_state &) = delete;

    // Takes a client's grammar; the state was made without another one.
    void follow(std::unique_ptr<rule_machine> machine);
    bool follows() const { return machine != nullptr; }
    // Advances over text that the prompt already holds.
    void prefill(const std::string & text);
    bool constrains() const { return machine || (grammar && !awaiting) || thinking.forced() != LLAMA_TOKEN_NULL; }
    bool allows(llama_token token) const;
    // Sets the logits of what is not allowed to -INFINITY.
    void mask(llama_token_data_array * candidates) const;
    // Throws if the grammar constrains and does not allow token.
    void accept(llama_token token);
    // Whether it is the grammar that says what comes next: a lazy one that waits,
    // or a thinking block, does not.
    bool binds() const { return (machine ? !before : grammar && !awaiting) && !thinking.open() && thinking.forced() == LLAMA_TOKEN_NULL; }
    // What follows the text so far, where the grammar binds.
    void foresee(const spacing & lines, bool guess, foreseen & out) const;

  private:
    bool fits(llama_token token) const;
    void advance(llama_token token, const std::string & piece);
    void advance_machine(llama_token token, const std::string & closed);
    void check_forced();
    bool find_trigger(size_t old_size, size_t & start) const;
    void forget();
    void replay(size_t start);

    const llama_vocab *                  vocab;
    std::shared_ptr<const llama_grammar> compiled;
    llama_grammar *                      grammar = nullptr;
    bool                                 awaiting;
    std::vector<trigger>                 triggers;
    thinking_state                       thinking;
    std::unique_ptr<rule_machine>        machine;
    bool                                 before = false; // the machine's text: the prompt's thinking block is open
    size_t                               longest_word = 0;
    std::string                          text;
    bool                                 forgot = false; // the start of the text is gone
    std::vector<std::pair<llama_token, size_t>> tokens; // with their start in text
};

} // namespace hearth
