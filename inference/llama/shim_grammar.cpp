//go:build ignore

// Grammars: compiled once, cloned for each request, advanced token by token.
// llama.cpp's own state is used directly (its functions are exported) rather
// than its sampler, which searches all text for triggers at every token and
// ends the process where a token does not fit.

#include "shim_sampling.h"

#include "common.h"
#include "json-schema-to-grammar.h"
#include "json.h"

#include "llama-vocab.h"

#include <cmath>
#include <stdexcept>

namespace hearth {

// The parser and the search for left recursion recurse; the caller has bounded
// nesting and size, and this is stack for what is within the bounds.
static constexpr size_t GRAMMAR_STACK = size_t(256) << 20;

static constexpr size_t CACHE_ENTRIES = 64;
static constexpr size_t CACHE_BYTES   = size_t(64) << 20;

// Patterns see this much of the text: std::regex recurses for each character.
static constexpr size_t PATTERN_WINDOW = 4096;

// Parses rule by rule: llama_grammar_parser::parse would print the grammar to
// the standard error and swallow the reason.
static llama_grammar * parse_grammar(const llama_vocab * vocab, const std::string & gbnf) {
    llama_grammar_parser parser(vocab);
    const char *         pos = gbnf.c_str();
    while (*pos == ' ' || *pos == '\t' || *pos == '\r' || *pos == '\n' || *pos == '#') {
        pos += *pos == '#' ? strcspn(pos, "\r\n") : 1;
    }
    while (*pos) {
        pos = parser.parse_rule(pos);
    }
    for (const auto & symbol : parser.symbol_ids) {
        if (symbol.second >= parser.rules.size() || parser.rules[symbol.second].empty()) {
            throw std::invalid_argument("the rule '" + symbol.first + "' is not defined");
        }
    }
    const auto root = parser.symbol_ids.find("root");
    if (root == parser.symbol_ids.end()) {
        throw std::invalid_argument("there is no rule 'root'");
    }
    auto rules = parser.c_rules();
    take_logged_error();
    auto * g = llama_grammar_init_impl(vocab, rules.data(), rules.size(), root->second);
    if (!g) {
        const std::string why = take_logged_error();
        throw std::invalid_argument(why.empty() ? "the grammar cannot be compiled" : why);
    }
    return g;
}

std::shared_ptr<const llama_grammar> compile_grammar(const llama_vocab * vocab, const std::string & gbnf) {
    llama_grammar * g = nullptr;
    run_deep(GRAMMAR_STACK, [&] { g = parse_grammar(vocab, gbnf); });
    return std::shared_ptr<const llama_grammar>(g, [](const llama_grammar * p) { llama_grammar_free_impl(const_cast<llama_grammar *>(p)); });
}

// What a compiled grammar holds in memory, roughly.
static size_t weigh(const llama_grammar & g) {
    size_t bytes = 0;
    for (const auto & rule : g.rules) {
        bytes += sizeof(rule) + 16 + rule.size() * sizeof(llama_grammar_element);
    }
    return bytes;
}

std::shared_ptr<const llama_grammar> grammar_cache::get(const llama_vocab * vocab, const std::string & gbnf) {
    {
        std::lock_guard<std::mutex> lock(mutex);
        const auto                  it = index.find(gbnf);
        if (it != index.end()) {
            order.splice(order.begin(), order, it->second);
            return it->second->second;
        }
    }
    // not under the lock: compiling may take a while, and twice is harmless
    auto compiled = compile_grammar(vocab, gbnf);

    std::lock_guard<std::mutex> lock(mutex);
    if (index.count(gbnf) == 0) {
        order.emplace_front(gbnf, compiled);
        index[gbnf] = order.begin();
        bytes += weigh(*compiled) + gbnf.size();
        while (order.size() > CACHE_ENTRIES || (bytes > CACHE_BYTES && order.size() > 1)) {
            bytes -= weigh(*order.back().second) + order.back().first.size();
            index.erase(order.back().first);
            order.pop_back();
        }
    }
    return compiled;
}

thinking_state::thinking_state(const llama_vocab * vocab, std::vector<trigger> & triggers) {
    std::vector<trigger> others;
    for (auto & t : triggers) {
        switch (t.kind) {
            case HEARTH_MARK_THINK:
            case HEARTH_MARK_THINK_OPEN:
                start  = t.value;
                inside = t.kind == HEARTH_MARK_THINK_OPEN;
                budget = t.token;
                break;
            case HEARTH_MARK_THINK_END:
                ends.push_back(t.value);
                break;
            default:
                others.push_back(std::move(t));
                continue;
        }
        longest = std::max(longest, t.value.size());
    }
    triggers = std::move(others);
    if (!ends.empty()) {
        end_tokens = common_tokenize(vocab, ends[0], false, true);
    }
    if (inside && budget == 0) {
        closing = end_tokens;
    }
}

void thinking_state::give_up() {
    closing.clear();
    at     = 0;
    budget = -1;
}

// Whether text ends inside a character of UTF-8.
static bool ends_in_character(const std::string & text) {
    for (size_t n = 1; n <= 3 && n <= text.size(); n++) {
        const unsigned char c = text[text.size() - n];
        if (c < 0x80) {
            return false;
        }
        if (c >= 0xC0) {
            return n < (c >= 0xF0 ? 4u : c >= 0xE0 ? 3u : 2u);
        }
    }
    return false;
}

bool thinking_state::find_end(std::string & closed) {
    size_t first = std::string::npos;
    for (const auto & end : ends) {
        first = std::min(first, tail.find(end));
    }
    if (first == std::string::npos) {
        return false;
    }
    closed = tail.substr(first);
    return true;
}

void thinking_state::accept(llama_token token, const std::string & piece, std::string & closed) {
    if (ends.empty()) {
        return;
    }
    tail += piece;
    if (!inside) {
        const size_t found = tail.find(start);
        if (found != std::string::npos) {
            tail.erase(0, found + start.size());
            inside = true;
            used   = 0;
            if (budget == 0) {
                closing = end_tokens;
            }
        }
    } else if (find_end(closed)) {
        tail.clear();
        inside = false;
    } else if (forced() == token) {
        at++; // a part of the end
        return;
    } else {
        used++;
        if (budget >= 0 && used >= budget && !ends_in_character(tail)) {
            closing = end_tokens;
        }
    }
    if (!inside) {
        closing.clear();
        at = 0;
    }
    if (tail.size() > 4 * longest + 16) {
        tail.erase(0, tail.size() - longest - 4);
    }
}

grammar_state::grammar_state(const llama_vocab * vocab, std::shared_ptr<const llama_grammar> compiled_, bool lazy, std::vector<trigger> triggers_)
    : vocab(vocab), compiled(std::move(compiled_)), awaiting(lazy), triggers(std::move(triggers_)), thinking(vocab, triggers) {
    for (auto & t : triggers) {
        switch (t.kind) {
            case COMMON_GRAMMAR_TRIGGER_TYPE_WORD:
                longest_word = std::max(longest_word, t.value.size());
                break;
            case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL:
                t.whole = true;
                t.regex = std::regex(t.value);
                break;
            case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN:
                t.whole = t.value.size() > 1 && t.value.front() == '^' && t.value.back() == '$';
                t.regex = std::regex(t.value);
                break;
            default:
                break;
        }
    }
    if (compiled) {
        grammar = llama_grammar_clone_impl(*compiled);
    }
}

grammar_state::~grammar_state() {
    if (grammar) {
        llama_grammar_free_impl(grammar);
    }
}

void grammar_state::prefill(const std::string & prefix) {
    if (awaiting || prefix.empty() || !grammar) {
        check_forced();
        return;
    }
    bool first = true;
    for (const llama_token t : common_tokenize(vocab, prefix, false, true)) {
        const std::string & piece = vocab->token_to_piece(t);
        // some tokenizers put a space before the first special token
        if (first && !piece.empty() && isspace((unsigned char) piece[0]) && !isspace((unsigned char) prefix[0])) {
            first = false;
            continue;
        }
        first = false;
        advance(t, piece);
    }
    check_forced();
}

bool grammar_state::allows(llama_token token) const {
    const llama_token forced = thinking.forced();
    return forced == LLAMA_TOKEN_NULL ? fits(token) : token == forced;
}

bool grammar_state::fits(llama_token token) const {
    if (machine) {
        return before ? !vocab->is_eog(token) : machine->fits(token);
    }
    llama_token_data       one{ token, 1.0f, 0.0f };
    llama_token_data_array array{ &one, 1, -1, false };
    llama_grammar_apply_impl(*grammar, &array);
    return one.logit != -INFINITY;
}

void grammar_state::mask(llama_token_data_array * candidates) const {
    const llama_token forced = thinking.forced();
    if (forced != LLAMA_TOKEN_NULL) {
        for (size_t i = 0; i < candidates->size; i++) {
            if (candidates->data[i].id != forced) {
                candidates->data[i].logit = -INFINITY;
            }
        }
        return;
    }
    if (machine && !before) {
        machine->mask(candidates);
    } else if (machine) {
        for (size_t i = 0; i < candidates->size; i++) {
            if (vocab->is_eog(candidates->data[i].id)) {
                candidates->data[i].logit = -INFINITY;
            }
        }
    } else {
        llama_grammar_apply_impl(*grammar, candidates);
    }
}

bool grammar_state::find_trigger(size_t old_size, size_t & start) const {
    for (const auto & t : triggers) {
        if (t.kind == COMMON_GRAMMAR_TRIGGER_TYPE_WORD) {
            // earlier text was searched when it came
            const size_t from = old_size + 1 > t.value.size() ? old_size + 1 - t.value.size() : 0;
            start             = text.find(t.value, from);
            if (start != std::string::npos) {
                return true;
            }
        } else if (t.kind == COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN || t.kind == COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL) {
            if (t.whole && (forgot || text.size() > PATTERN_WINDOW)) {
                continue;
            }
            const size_t from = text.size() > PATTERN_WINDOW ? text.size() - PATTERN_WINDOW : 0;
            std::smatch  match;
            const bool   found = t.whole ? std::regex_match(text, match, t.regex)
                                         : std::regex_search(text.begin() + from, text.end(), match, t.regex);
            if (!found) {
                continue;
            }
            size_t group = 0;
            for (size_t i = 1; i < match.size() && group == 0; i++) {
                group = match.length(i) > 0 ? i : 0;
            }
            start = (t.whole ? 0 : from) + match.position(group);
            return true;
        }
    }
    return false;
}

// Keeps what a trigger may still need of the text.
void grammar_state::forget() {
    const size_t keep = std::max(PATTERN_WINDOW, longest_word);
    if (text.size() < 4 * keep) {
        return;
    }
    size_t n = 0;
    while (n + 1 < tokens.size() && tokens[n + 1].second <= text.size() - keep) {
        n++;
    }
    const size_t cut = tokens[n].second;
    text.erase(0, cut);
    tokens.erase(tokens.begin(), tokens.begin() + n);
    for (auto & t : tokens) {
        t.second -= cut;
    }
    forgot = true;
}

// Feeds the grammar the text from the trigger on, token by token.
void grammar_state::replay(size_t start) {
    for (size_t i = 0; i < tokens.size(); i++) {
        const size_t from = std::max(start, tokens[i].second);
        const size_t to   = i + 1 < tokens.size() ? tokens[i + 1].second : text.size();
        if (to > from) {
            llama_grammar_accept_token(*grammar, tokens[i].first, text.substr(from, to - from));
        }
    }
}

// A token that the grammar does not allow is not forced: the block goes on.
void grammar_state::check_forced() {
    const llama_token forced = thinking.forced();
    if (forced != LLAMA_TOKEN_NULL && (machine || (grammar && !awaiting)) && !fits(forced)) {
        thinking.give_up();
    }
}

void grammar_state::accept(llama_token token) {
    const std::string & piece = vocab->token_to_piece(token);
    const bool          thought = thinking.open();
    std::string         closed;
    thinking.accept(token, piece, closed);
    if (machine) {
        advance_machine(token, closed);
    } else if (grammar && !(awaiting && thought)) {
        advance(token, piece);
    } else if (grammar && !closed.empty()) {
        advance(LLAMA_TOKEN_NULL, closed); // an end of thinking may be a trigger, too
    }
    check_forced();
}

void grammar_state::follow(std::unique_ptr<rule_machine> m) {
    machine = std::move(m);
    before  = thinking.open();
    check_forced();
}

std::string thinking_state::behind(const std::string & closed) const {
    size_t mark = 0;
    for (const auto & end : ends) {
        if (closed.compare(0, end.size(), end) == 0) {
            mark = std::max(mark, end.size());
        }
    }
    return closed.substr(mark);
}

// Advances a client's grammar. Of the token that closes the thinking block, blanks
// behind the mark belong to the mark.
void grammar_state::advance_machine(llama_token token, const std::string & closed) {
    if (!before) {
        if (!machine->accept(token)) {
            throw std::runtime_error("the grammar does not allow token " + std::to_string(token) + " here");
        }
        return;
    }
    before = thinking.open();
    const std::string rest = thinking.behind(closed);
    if (rest.find_first_not_of(" \t\r\n") != std::string::npos && !machine->accept(std::string_view(rest))) {
        throw grammar_error("the model went on in the token that ended its thinking, with what the grammar does not allow");
    }
}

// Advances the grammar, or the search for what starts it.
void grammar_state::advance(llama_token token, const std::string & piece) {
    if (!awaiting) {
        if (!fits(token)) {
            throw std::runtime_error("the grammar does not allow token " + std::to_string(token) + " here");
        }
        if (!vocab->is_eog(token)) {
            llama_grammar_accept_token(*grammar, token, piece);
        }
        return;
    }
    bool found = false;
    try {
        for (const auto & t : triggers) {
            if (t.kind == COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN && t.token == token && token != LLAMA_TOKEN_NULL) {
                found = true;
                llama_grammar_accept_token(*grammar, token, piece);
                break;
            }
        }
        if (!found) {
            const size_t old_size = text.size();
            tokens.emplace_back(token, old_size);
            text += piece;
            size_t start = 0;
            found        = find_trigger(old_size, start);
            if (found) {
                replay(start);
            }
        }
    } catch (const std::exception &) {
        // What looked like the start of a tool call is not one: the model was
        // free to write it, so the rest stays free and reaches the user as text.
        llama_grammar_free_impl(grammar);
        grammar = nullptr;
    }
    if (found) {
        awaiting = false;
        text.clear();
        tokens.clear();
    } else {
        forget();
    }
}

} // namespace hearth

using namespace hearth;

int32_t hearth_grammar_check(hearth_model * m, const char * gbnf, char ** err) {
    return guard<int32_t>(err, -1, [&] {
        m->grammars.get(m->vocab, gbnf);
        return 0;
    });
}

char * hearth_schema_to_grammar(const char * schema, char ** err) {
    return guard<char *>(err, nullptr, [&] {
        std::string grammar;
        run_deep(GRAMMAR_STACK, [&] {
            auto j = common_json::parse(schema);
            if (j.is_object() && j.empty()) {
                j["type"] = "object"; // an empty schema means any object
            }
            grammar = json_schema_to_grammar(j);
        });
        return copy_string(grammar);
    });
}
