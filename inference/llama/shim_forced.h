// Text that a grammar leaves no choice about, and text that is likely to come
// next, for the shim's C++ files.
#pragma once

#include "shim_internal.h"

#include <functional>

namespace hearth {

// The white space of JSON, as one answer has written it so far: at each kind of
// place and each depth the form that came last, and before the first the usual one.
class spacing {
  public:
    void write(char c); // one more byte of the answer
    bool in_string() const { return quoted; }
    // Begins an answer anew, with the habits of this one.
    void restart();
    // What comes next where the grammar allows white space, and then solid.
    char next(char solid) const;

  private:
    enum kind { OBJECT_OPEN, ARRAY_OPEN, OBJECT_COMMA, ARRAY_COMMA, COLON, BEFORE_COLON, CLOSE, KINDS };
    static constexpr int DEPTHS = 8, LONGEST = 23;
    struct blank {
        int8_t size = -1; // not seen yet
        char   text[LONGEST];
    };

    int   place(char solid) const; // -1: none of the kinds
    int   level(int d) const { return d < DEPTHS ? d : DEPTHS - 1; }
    blank usual(int kind) const;
    void  indent(blank & b, int open, int from, int to) const;

    bool  quoted = false, escaped = false;
    int   depth  = 0;
    char  before = 0;          // the last byte outside of strings that is no white space
    int   size   = 0;          // of the white space behind it,
    char  written[LONGEST];    // of which this is the beginning
    char  brackets[DEPTHS] = {}; // that are open
    blank habits[KINDS][DEPTHS];
};

// Which characters a grammar allows next, as far as it matters here.
struct outlook {
    uint32_t solid  = 0;     // the only one that is no white space; 0: none
    uint32_t blank  = 0;     // one that is; 0: none
    bool     blanks = false; // several are
    bool     many   = false; // several are not
    bool     ended  = false; // the text may end

    void add(uint32_t low, uint32_t high);
};

// What will or may follow a text.
struct foreseen {
    std::string text;
    size_t      certain = 0; // so many bytes of it have to follow
    bool        ends    = false; // nothing but the end may follow the text, all of which is certain
};

static constexpr size_t FORESEEN_BYTES = 384;

inline bool is_blank(uint32_t c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void append_utf8(std::string & to, uint32_t character);

// Walks over a grammar with a cursor, which has look() and take(character).
template <typename cursor> void foresee(cursor & at, spacing l, bool guess, foreseen & out) {
    bool certain = true;
    while (out.text.size() < FORESEEN_BYTES) {
        const outlook o = at.look();
        if (o.many || o.ended) {
            out.ends = o.ended && !o.many && !o.solid && !o.blank && certain;
            return;
        }
        uint32_t c = o.solid;
        if (o.blank && !o.solid && !o.blanks) {
            c = o.blank;
        } else if (o.blank) {
            if (!guess || !o.solid || l.in_string()) {
                return;
            }
            certain = false;
            const char next = o.solid < 0x80 ? l.next((char) o.solid) : ' ';
            c               = (unsigned char) next;
        }
        if (c == 0 || !at.take(c)) {
            return;
        }
        const size_t from = out.text.size();
        append_utf8(out.text, c);
        for (size_t i = from; i < out.text.size(); i++) {
            l.write(out.text[i]);
        }
        if (certain) {
            out.certain = out.text.size();
        }
    }
}

// How the answers of one model were written where a grammar left no choice of the
// text: a model under a constraint does not always cut it into tokens as its
// tokenizer would. Used by all samplers of the model at once; what one has just
// noted may be gone. Scopes see nothing of each other but white space.
class writing_habits {
  public:
    writing_habits() : slots(SLOTS) {}
    // The token that was last drawn behind before and last, where text followed.
    llama_token find(uint64_t scope, llama_token before, llama_token last, std::string_view text) const;
    void        note(uint64_t scope, llama_token before, llama_token last, std::string_view text, llama_token token);
    // The white space of the answer that wrote some last.
    spacing lines() const;
    void   note(const spacing & lines);

  private:
    static constexpr size_t SLOTS = 1 << 14, REACH = 12;
    uint64_t key(llama_token before, llama_token last, std::string_view text) const;

    std::vector<std::atomic<uint64_t>> slots; // the key's upper bits, and the token plus one
    mutable std::mutex                 mutex; // guards known
    spacing                             known;
};

class grammar_state;

// What a sampler foresees of its answer: tokens that have to come and tokens that
// are likely to. It learns from what came of them.
class forecast {
  public:
    // most: tokens that are guessed at once; append: what is certain is given.
    forecast(const llama_vocab * vocab, writing_habits & habits, uint64_t scope, int32_t most, bool append)
        : vocab(vocab), habits(habits), scope(scope), most(most), append(append), lines(habits.lines()) {}
    ~forecast() { habits.note(lines); }

    // One more token of the answer, which was drawn. free: no grammar binds it.
    void accept(llama_token token, bool free);
    // One more token of sure().
    void follow(llama_token token, bool free);
    // Looks ahead from here. may tells whether a token may be given.
    void look(const grammar_state & grammar, const std::function<bool(llama_token)> & may);
    void forget();
    // What follows the answer whatever is drawn; a token that ends it may be the last.
    const std::vector<llama_token> & sure() const { return certain; }
    // What is likely to follow that.
    const std::vector<llama_token> & likely() const { return guesses; }

  private:
    static constexpr size_t TAIL = 8; // tokens
    bool behind_tail(const std::string & text, bool special, std::vector<llama_token> & out) const;
    void find_certain(const std::function<bool(llama_token)> & may);
    void guess();
    llama_token last(size_t back) const { return back < tail.size() ? tail[tail.size() - 1 - back] : LLAMA_TOKEN_NULL; }

    const llama_vocab * vocab;
    writing_habits &    habits;
    const uint64_t      scope;
    int32_t             most;
    bool                append;

    spacing                   lines;
    std::vector<llama_token> tail; // the last tokens of the answer
    foreseen                 next;
    std::vector<llama_token> certain, guesses;
    size_t                   at     = 0; // guesses that have come true
    size_t                   reached = 0; // bytes of next.text that were written since
    int32_t                  trust  = 4; // tokens that are guessed though nobody wrote them yet
    int32_t                  misses = 0; // times in a row that the first one was wrong
    int32_t                  pause  = 0; // tokens without a guess
};

} // namespace hearth
