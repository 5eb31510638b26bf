//go:build ignore

// The white space of JSON, as an answer writes it.

#include "shim_forced.h"

#include <algorithm>

namespace hearth {

int spacing::place(char solid) const {
    if (solid == '}' || solid == ']') {
        return CLOSE;
    }
    switch (before) {
        case '{': return OBJECT_OPEN;
        case '[': return ARRAY_OPEN;
        case ',': return depth > 0 && brackets[level(depth - 1)] == '[' ? ARRAY_COMMA : OBJECT_COMMA;
        case ':': return COLON;
        case '"': return solid == ':' ? BEFORE_COLON : -1;
        default:  return -1;
    }
}

// The indentation at depth to, as that at depth from is after an opening bracket.
void spacing::indent(blank & b, int open, int from, int to) const {
    const blank & known = habits[open][level(from)];
    if (from < 1 || known.size < 1 || known.text[0] != '\n') {
        return;
    }
    const int spaces = std::min((known.size - 1) / from * to, LONGEST - 1);
    b.size           = (int8_t) (1 + spaces);
    b.text[0]        = '\n';
    std::fill(b.text + 1, b.text + b.size, spaces > 0 ? known.text[1] : ' ');
}

// What most write where this answer has not written anything yet.
spacing::blank spacing::usual(int kind) const {
    blank b;
    b.size = 0;
    switch (kind) {
        case COLON:
            b.size    = 1;
            b.text[0] = ' ';
            break;
        case OBJECT_COMMA:
        case ARRAY_COMMA:
            b.size    = 1;
            b.text[0] = ' ';
            indent(b, kind == OBJECT_COMMA ? OBJECT_OPEN : ARRAY_OPEN, depth, depth);
            break;
        case OBJECT_OPEN:
            indent(b, OBJECT_OPEN, depth - 1, depth);
            break;
        case CLOSE:
            indent(b, depth > 0 && brackets[level(depth - 1)] == '[' ? ARRAY_OPEN : OBJECT_OPEN, depth, depth - 1);
            break;
        default:
            break;
    }
    return b;
}

char spacing::next(char solid) const {
    const int kind = place(solid);
    if (kind < 0) {
        return solid;
    }
    const blank & known = habits[kind][level(depth)];
    const blank   want  = known.size >= 0 ? known : usual(kind);
    return size < want.size && std::equal(written, written + size, want.text) ? want.text[size] : solid;
}

void spacing::restart() {
    quoted = escaped = false;
    depth = size = 0;
    before       = 0;
}

void spacing::write(char c) {
    if (quoted) {
        quoted  = escaped || c != '"';
        escaped = !escaped && c == '\\';
        return;
    }
    if (is_blank((unsigned char) c)) {
        if (size < LONGEST) {
            written[size] = c;
        }
        size += size <= LONGEST;
        return;
    }
    const int kind = place(c);
    if (kind >= 0 && size <= LONGEST) {
        blank & h = habits[kind][level(depth)];
        h.size    = (int8_t) size;
        std::copy(written, written + size, h.text);
    }
    size   = 0;
    before = c;
    if (c == '"') {
        quoted = true;
    } else if (c == '{' || c == '[') {
        brackets[level(depth++)] = c;
    } else if ((c == '}' || c == ']') && depth > 0) {
        depth--;
    }
}

} // namespace hearth
