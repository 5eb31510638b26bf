//go:build ignore

// Walking along a grammar: where there is one way to go on it is taken, and where
// white space is left to the model the way that its answer took before.

#include "shim_forced.h"

#include "shim_sampling.h"

namespace hearth {

void outlook::add(uint32_t low, uint32_t high) {
    if (low != high) {
        many = true;
    } else if (is_blank(low)) {
        blanks = blanks || (blank && blank != low);
        blank  = low;
    } else {
        many  = many || (solid && solid != low);
        solid = low;
    }
}

void append_utf8(std::string & to, uint32_t c) {
    if (c < 0x80) {
        to += (char) c;
        return;
    }
    if (c < 0x800) {
        to += (char) (0xC0 | c >> 6);
    } else {
        if (c < 0x10000) {
            to += (char) (0xE0 | c >> 12);
        } else {
            to += (char) (0xF0 | c >> 18);
            to += (char) (0x80 | (c >> 12 & 0x3F));
        }
        to += (char) (0x80 | (c >> 6 & 0x3F));
    }
    to += (char) (0x80 | (c & 0x3F));
}

// Walks over llama.cpp's grammar, which is as it was when the walk is over.
class stack_cursor {
  public:
    explicit stack_cursor(llama_grammar & g) : g(g) {}
    ~stack_cursor() {
        if (moved) {
            g.stacks = std::move(saved);
        }
    }
    stack_cursor(const stack_cursor &) = delete;
    stack_cursor & operator=(const stack_cursor &) = delete;

    outlook look() const {
        outlook o;
        for (const auto & stack : g.stacks) {
            if (stack.empty()) {
                o.ended = true;
                continue;
            }
            const llama_grammar_element * e = stack.back();
            if (e->type != LLAMA_GRETYPE_CHAR) {
                o.many = true;
            } else {
                do {
                    const bool range = e[1].type == LLAMA_GRETYPE_CHAR_RNG_UPPER;
                    o.add(e->value, range ? e[1].value : e->value);
                    e += range ? 2 : 1;
                } while (e->type == LLAMA_GRETYPE_CHAR_ALT && !o.many);
            }
            if (o.many) {
                break;
            }
        }
        return o;
    }

    bool take(uint32_t c) {
        if (!moved) {
            saved = g.stacks;
            moved = true;
        }
        llama_grammar_accept(&g, c);
        return !g.stacks.empty();
    }

  private:
    llama_grammar &      g;
    llama_grammar_stacks saved;
    bool                 moved = false;
};

void grammar_state::foresee(const spacing & lines, bool guess, foreseen & out) const {
    if (!binds()) {
        return;
    }
    if (machine) {
        machine->foresee(lines, guess, out);
    } else if (grammar->partial_utf8.n_remain == 0) {
        stack_cursor at(*grammar);
        hearth::foresee(at, lines, guess, out);
    }
}

// Walks over a client's grammar.
void rule_machine::foresee(const spacing & lines, bool guess, foreseen & out) {
    struct cursor {
        rule_machine & m;
        outlook        look() const {
            const state & s = m.path.back();
            outlook       o;
            o.ended = s.ended;
            for (size_t i = s.tops_from; i < s.tops_to && !o.many; i++) {
                const int32_t c = -2 - m.rules.places[m.tops[i].place];
                for (int32_t r = m.rules.classes[c]; r < m.rules.classes[c + 1] && !o.many; r++) {
                    o.add((uint32_t) m.rules.ranges[2 * r], (uint32_t) m.rules.ranges[2 * r + 1]);
                }
            }
            return o;
        }
        bool take(uint32_t character) {
            std::string bytes;
            append_utf8(bytes, character);
            for (const char byte : bytes) {
                const state s = m.path.back();
                state       to{};
                if (!m.step_byte(s, (unsigned char) byte, to)) {
                    return false;
                }
                m.path.push_back(to);
            }
            return true;
        }
    };
    size_t reached = 0;
    walk("", 0, reached);
    if (path[0].missing > 0) {
        return;
    }
    cursor        at{ *this };
    const int64_t spent = work;
    work                = MAX_WORK - MAX_FORESIGHT;
    try {
        hearth::foresee(at, lines, guess, out);
    } catch (const grammar_error &) { // it is too dear to look any further
        todo.clear();
        n_seen = 0;
    }
    work = spent;
}

} // namespace hearth
