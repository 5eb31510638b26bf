//go:build ignore

// The machine that steps over the grammars of clients.

#include "shim_machine.h"

#include "llama-vocab.h"

#include <algorithm>
#include <cmath>

namespace hearth {

// What the derivations of one answer may hold: 2 MB.
static constexpr size_t MAX_NODES = 32768;
static constexpr size_t MAX_EDGES = 131072;

// What one character may be tried at, and what all that is tried for one token
// may be at once.
static constexpr size_t MAX_SEEN = 131072;
static constexpr size_t MAX_TOPS = 262144;

static constexpr int32_t END    = -1; // as in gbnf.go
static constexpr int32_t BOTTOM = 0;

const ordered_tokens & ordered_tokens::filled(const llama_vocab * vocab, const token_texts & texts) {
    std::call_once(once, [&] {
        for (int32_t t = 0; t < texts.count(); t++) {
            const auto text = texts.of(t);
            if (!text.empty() && text.find('\0') == text.npos && !llama_vocab_is_eog(vocab, t)) {
                token.push_back(t);
            }
        }
        std::sort(token.begin(), token.end(), [&](int32_t a, int32_t b) { return texts.of(a) < texts.of(b); });
        same.resize(token.size());
        for (size_t i = 1; i < token.size(); i++) {
            const auto a = texts.of(token[i - 1]), b = texts.of(token[i]);
            same[i] = (int32_t) (std::mismatch(a.begin(), a.begin() + std::min(a.size(), b.size()), b.begin()).first - a.begin());
        }
    });
    return *this;
}

rule_machine::rule_machine(const llama_vocab * vocab, const token_texts & texts, const ordered_tokens & order, rule_tables rules_)
    : vocab(vocab), texts(texts), order(order), rules(std::move(rules_)), latest(rules.places.size(), -1), seen(256, mark{ 0, 0 }) {
    nodes.push_back({ END, -1, 0, 0 });
    state start{};
    step++;
    for (int32_t a = rules.rules[rules.root]; a < rules.rules[rules.root + 1]; a++) {
        push(rules.alts[a], BOTTOM);
    }
    close(start);
    settle(start);
}

[[noreturn]] static void too_ambiguous(const std::string & what) {
    throw grammar_error("the grammar is too ambiguous here: more than " + what +
                        " would be needed for one token; let fewer alternatives begin alike, and repeat nothing that may be empty");
}

[[noreturn]] static void too_deep() {
    throw grammar_error("the grammar has to remember too much of the answer: more than " + std::to_string(MAX_NODES) +
                        " places to come back to, or " + std::to_string(MAX_EDGES) + " ways there; nest less deeply, or write repetitions with * or +");
}

void rule_machine::charge(int64_t n) {
    work += n;
    if (work > MAX_WORK) {
        too_ambiguous(std::to_string(MAX_WORK) + " steps");
    }
}

// Whether this is the first time in the step that kind, a and b come together.
bool rule_machine::once(int32_t kind, int32_t a, int32_t b) {
    if (2 * (n_seen + 1) > seen.size()) {
        if (n_seen >= MAX_SEEN) {
            too_ambiguous(std::to_string(MAX_SEEN) + " derivations of one character");
        }
        std::vector<mark> old(2 * seen.size(), mark{ 0, 0 });
        old.swap(seen);
        for (const auto & m : old) {
            if (m.step == step) {
                size_t i = (m.key * 0x9E3779B97F4A7C15u >> 20) & (seen.size() - 1);
                while (seen[i].step == step) {
                    i = (i + 1) & (seen.size() - 1);
                }
                seen[i] = m;
            }
        }
    }
    const uint64_t key = (uint64_t) (uint32_t) a << 32 | (uint64_t) (uint32_t) b << 1 | (uint64_t) kind;
    size_t         i   = (key * 0x9E3779B97F4A7C15u >> 20) & (seen.size() - 1);
    while (seen[i].step == step) {
        if (seen[i].key == key) {
            return false;
        }
        i = (i + 1) & (seen.size() - 1);
    }
    seen[i] = { key, step };
    n_seen++;
    return true;
}

// A derivation that goes on with place above node.
void rule_machine::push(int32_t place, int32_t node) {
    charge(1);
    if (once(0, place, node)) {
        todo.push_back({ place, node });
    }
}

// The rule above a node has ended: every parent goes on.
void rule_machine::pop(int32_t n) {
    nodes[n].popped = step;
    for (int32_t e = nodes[n].first; e >= 0; e = edges[e].next) {
        push(nodes[n].place, edges[e].parent);
    }
}

// The reference at place, above node, is entered.
void rule_machine::call(int32_t place, int32_t parent) {
    const int32_t rule  = rules.places[place];
    int32_t       above = parent; // a reference that ends its alternative leaves nothing to come back to
    if (rules.places[place + 1] != END) {
        above = latest[place + 1];
        if (above < 0 || (size_t) above >= nodes.size() || nodes[above].step != step || nodes[above].place != place + 1) {
            above = (int32_t) nodes.size();
            nodes.push_back({ place + 1, -1, step, 0 });
            latest[place + 1] = above;
        }
        if (once(1, above, parent)) {
            edges.push_back({ parent, nodes[above].first });
            nodes[above].first = (int32_t) edges.size() - 1;
            if (nodes[above].popped == step) {
                push(place + 1, parent);
            }
        }
        if (nodes.size() > 2 * MAX_NODES || edges.size() > 2 * MAX_EDGES) {
            too_deep();
        }
    }
    for (int32_t a = rules.rules[rule]; a < rules.rules[rule + 1]; a++) {
        push(rules.alts[a], above);
    }
}

// Follows references and ends until only places of characters are left.
void rule_machine::close(state & to) {
    to.tops_from = tops.size();
    to.ended     = false;
    while (!todo.empty()) {
        const top     t     = todo.back();
        const int32_t place = rules.places[t.place];
        todo.pop_back();
        if (place >= 0) {
            call(t.place, t.node);
        } else if (place != END) {
            tops.push_back(t);
        } else if (t.node == BOTTOM) {
            to.ended = true;
        } else {
            pop(t.node);
        }
    }
    if (tops.size() > MAX_TOPS) {
        too_ambiguous(std::to_string(MAX_TOPS) + " derivations");
    }
    to.tops_to = tops.size();
    to.nodes   = nodes.size();
    to.edges   = edges.size();
    to.value   = 0;
    to.missing = 0;
    to.length  = 0;
    n_seen     = 0;
}

// Whether the class at a place holds any of low to high.
bool rule_machine::matches(int32_t place, uint32_t low, uint32_t high) const {
    const int32_t   c    = -2 - rules.places[place];
    const int32_t * from = rules.ranges.data() + 2 * rules.classes[c];
    int32_t         n    = rules.classes[c + 1] - rules.classes[c];
    while (n > 0) { // the first range that does not end before low
        const int32_t half = n / 2;
        if ((uint32_t) from[2 * half + 1] < low) {
            from += 2 * (half + 1);
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return from != rules.ranges.data() + 2 * rules.classes[c + 1] && (uint32_t) from[0] <= high;
}

void rule_machine::step_character(const state & from, uint32_t character, state & to) {
    step++;
    charge((int64_t) (from.tops_to - from.tops_from));
    for (size_t i = from.tops_from; i < from.tops_to; i++) {
        if (matches(tops[i].place, character, character)) {
            push(tops[i].place + 1, tops[i].node);
        }
    }
    close(to);
}

// What the character that s has the beginning of may become. False if it is not
// well-formed UTF-8: too long a form, half of a UTF-16 pair, or too great.
static bool characters(uint32_t value, int32_t length, int32_t missing, uint32_t & low, uint32_t & high) {
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    low  = value << (6 * missing);
    high = std::min<uint32_t>(low | ((1u << (6 * missing)) - 1), 0x10FFFF);
    low  = std::max(low, least[length]);
    return low <= high && !(low >= 0xD800 && high <= 0xDFFF);
}

// Whether the derivations of s allow what it has of a character.
bool rule_machine::alive(const state & s) const {
    if (s.missing == 0) {
        return s.tops_to > s.tops_from || s.ended;
    }
    uint32_t low, high;
    if (!characters(s.value, s.length, s.missing, low, high)) {
        return false;
    }
    for (size_t i = s.tops_from; i < s.tops_to; i++) {
        if (matches(tops[i].place, low, high)) {
            return true;
        }
    }
    return false;
}

// The derivations after one more byte; false if there are none. from may not be
// a reference into path.
bool rule_machine::step_byte(const state & from, unsigned char byte, state & to) {
    static const int lengths[16] = { 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 2, 2, 3, 4 };
    uint32_t value, low, high;
    int32_t  missing, length;
    if (from.missing > 0) {
        if (byte >> 6 != 2) {
            return false;
        }
        value   = from.value << 6 | (byte & 0x3F);
        missing = from.missing - 1;
        length  = from.length;
    } else {
        length  = lengths[byte >> 4];
        missing = length - 1;
        if (missing < 0) {
            return false;
        }
        value = byte & ((1u << (7 - missing)) - 1);
    }
    if (!characters(value, length, missing, low, high)) {
        return false;
    }
    if (missing == 0) {
        step_character(from, value, to);
    } else {
        to         = from;
        to.value   = value;
        to.missing = missing;
        to.length  = length;
        to.ended   = false;
        charge((int64_t) (from.tops_to - from.tops_from));
    }
    return alive(to);
}

// Tries text behind path[0], of which the first from bytes are in path already.
// reached is how many there are afterwards.
bool rule_machine::walk(std::string_view text, size_t from, size_t & reached) {
    path.resize(from + 1);
    nodes.resize(path.back().nodes);
    edges.resize(path.back().edges);
    // what the last state has may lie before its own end: a character that has
    // begun shares the tops of the state before
    tops.resize(path.back().tops_to);
    for (reached = from; reached < text.size(); reached++) {
        const state s = path.back();
        state       to{};
        if (!step_byte(s, (unsigned char) text[reached], to)) {
            return false;
        }
        path.push_back(to);
    }
    return true;
}

bool rule_machine::fits(llama_token token) {
    if (llama_vocab_is_eog(vocab, token)) {
        return path[0].ended;
    }
    const auto text    = texts.of(token);
    size_t     reached = 0;
    return !text.empty() && text.find('\0') == text.npos && walk(text, 0, reached);
}

void rule_machine::mask(llama_token_data_array * candidates) {
    if (candidates->size * 8 < order.token.size()) {
        for (size_t i = 0; i < candidates->size; i++) {
            if (!fits(candidates->data[i].id)) {
                candidates->data[i].logit = -INFINITY;
            }
        }
        return;
    }
    std::vector<bool> allowed(texts.count(), false);
    size_t            reached = 0; // bytes of the token before that are in path
    walk("", 0, reached);
    for (size_t i = 0; i < order.token.size(); i++) {
        const auto text = texts.of(order.token[i]);
        const size_t same = order.same[i];
        if (same > reached) {
            continue; // fails where the one before did
        }
        allowed[order.token[i]] = walk(text, same, reached);
    }
    for (size_t i = 0; i < candidates->size; i++) {
        auto & c = candidates->data[i];
        if (!(allowed[c.id] || (path[0].ended && llama_vocab_is_eog(vocab, c.id)))) {
            c.logit = -INFINITY;
        }
    }
}

bool rule_machine::accept(llama_token token) {
    if (llama_vocab_is_eog(vocab, token)) {
        work = 0;
        return path[0].ended;
    }
    const auto text = texts.of(token);
    return !text.empty() && text.find('\0') == text.npos && accept(text);
}

bool rule_machine::accept(std::string_view text) {
    size_t reached = 0;
    if (!walk(text, 0, reached)) {
        return false;
    }
    state s = path.back();
    settle(s);
    return true;
}

// Makes s the text so far.
void rule_machine::settle(state & s) {
    tops.resize(s.tops_to);
    tops.erase(tops.begin(), tops.begin() + (std::ptrdiff_t) s.tops_from);
    s.tops_to -= s.tops_from;
    s.tops_from = 0;
    path.assign(1, s);
    work = 0;
    if (nodes.size() + edges.size() > collect_at) {
        collect();
    }
}

// Forgets the nodes that no derivation can come back to.
void rule_machine::collect() {
    std::vector<int32_t> moved(nodes.size(), -1);
    std::vector<int32_t> open;
    const auto           reach = [&](int32_t n) {
        if (moved[n] < 0) {
            moved[n] = 0;
            open.push_back(n);
        }
    };
    reach(BOTTOM);
    for (const auto & t : tops) {
        reach(t.node);
    }
    while (!open.empty()) {
        const int32_t n = open.back();
        open.pop_back();
        for (int32_t e = nodes[n].first; e >= 0; e = edges[e].next) {
            reach(edges[e].parent);
        }
    }
    std::vector<node> kept_nodes;
    std::vector<edge> kept_edges;
    for (size_t n = 0; n < nodes.size(); n++) {
        if (moved[n] == 0) {
            moved[n] = (int32_t) kept_nodes.size();
            kept_nodes.push_back(nodes[n]);
        }
    }
    for (auto & n : kept_nodes) {
        int32_t last = -1;
        for (int32_t e = n.first; e >= 0; e = edges[e].next) {
            kept_edges.push_back({ moved[edges[e].parent], last });
            last = (int32_t) kept_edges.size() - 1;
        }
        n.first = last;
    }
    if (kept_nodes.size() > MAX_NODES || kept_edges.size() > MAX_EDGES) {
        too_deep();
    }
    nodes.swap(kept_nodes);
    edges.swap(kept_edges);
    for (auto & t : tops) {
        t.node = moved[t.node];
    }
    path[0].nodes = nodes.size();
    path[0].edges = edges.size();
    collect_at    = 2 * (nodes.size() + edges.size()) + 1024;
}

} // namespace hearth
