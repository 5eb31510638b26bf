// The grammars of clients: rules that Go has read and bounded, and the machine
// that steps over them in bounded time and memory.
#pragma once

#include "shim_forced.h"

#include <stdexcept>

namespace hearth {

// What is wrong with a client's grammar while it is used, as that client is told.
struct grammar_error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Rules as hearth_sampler_rules takes them.
struct rule_tables {
    std::vector<int32_t> places, alts, rules, classes, ranges;
    int32_t              root = 0;
};

// A recognizer of prefixes: all derivations of the text so far at once, as the
// stacks of a pushdown automaton that share their lower parts. Where two
// derivations go on with the same place of the rules after the same character,
// they are one node with several parents, so neither ambiguous nor nullable
// rules multiply them: places and parents bound what a character costs, and a
// budget bounds what a token does. (Scott and Johnstone, GLL Parsing, 2010;
// the graph of stacks is Tomita's.)
//
// One thread at a time.
class rule_machine {
  public:
    // Throws grammar_error if the start alone is above the budget.
    rule_machine(const llama_vocab * vocab, const token_texts & texts, const ordered_tokens & order, rule_tables rules);

    // Whether the text so far may go on with token, or end, if token ends answers.
    bool fits(llama_token token);
    // Sets the logits of what does not fit to -INFINITY.
    void mask(llama_token_data_array * candidates);
    // Advances over text that fits; false, and nothing changes, if it does not.
    bool accept(std::string_view text);
    bool accept(llama_token token);
    // What follows the text so far; see shim_forced.h.
    void foresee(const spacing & lines, bool guess, foreseen & out);

  private:
    // Steps that one token may cost, all that is tried for it together: some tens
    // of milliseconds.
    static constexpr int64_t MAX_WORK = 3000000;
    // Those that looking ahead behind a token may cost.
    static constexpr int64_t MAX_FORESIGHT = 20000;

    // A place of the rules to go on with, above a node.
    struct top {
        int32_t place, node;
    };
    // Where to go on when what is above has ended.
    struct node {
        int32_t place;
        int32_t first;  // edge, or -1
        int64_t step;   // in which it came to be
        int64_t popped; // in which what is above last ended
    };
    struct edge {
        int32_t parent, next;
    };
    // The derivations after some bytes.
    struct state {
        size_t   tops_from, tops_to; // in tops
        size_t   nodes, edges;       // how many there are
        uint32_t value;              // of a character that has begun,
        int32_t  length, missing;    // of so many bytes, and how many it lacks
        bool     ended;              // the text may end here
    };

    void charge(int64_t n);
    bool matches(int32_t place, uint32_t low, uint32_t high) const;
    bool step_byte(const state & from, unsigned char byte, state & to);
    void step_character(const state & from, uint32_t character, state & to);
    void close(state & to);
    void push(int32_t place, int32_t node);
    void pop(int32_t node);
    void call(int32_t place, int32_t node);
    bool once(int32_t kind, int32_t a, int32_t b);
    bool alive(const state & s) const;
    bool walk(std::string_view text, size_t from, size_t & reached);
    void settle(state & to);
    void collect();

    const llama_vocab *    vocab;
    const token_texts &    texts;
    const ordered_tokens & order;
    const rule_tables      rules;

    std::vector<node>    nodes; // the first is the bottom
    std::vector<edge>    edges;
    std::vector<top>     tops;
    std::vector<state>   path; // the first is the text so far, then one for each byte tried
    std::vector<top>     todo;
    std::vector<int32_t> latest; // by place: the node that was last made for it

    // What was seen in one step: an open-addressed table, emptied by counting on.
    struct mark {
        uint64_t key;
        int64_t  step;
    };
    std::vector<mark> seen;
    size_t            n_seen = 0;

    int64_t step       = 0;
    int64_t work       = 0; // since the last token
    size_t  collect_at = 1024;
};

} // namespace hearth
