package llama

/*
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"unicode/utf8"
	"unsafe"

	"hearth/inference"
)

const (
	// MaxTextBytes is the longest text that Tokenize takes.
	MaxTextBytes = inference.MaxTextBytes
	// MaxDetokenize is the most tokens that Detokenize takes.
	MaxDetokenize = 1 << 20

	// Some tokenizers recurse for each character of a word: a longer text gets a
	// stack in proportion, a shorter one fits the usual stack.
	shallowTextBytes = 4096
	stackPerByte     = 1024
	stackBase        = 16 << 20
)

// deep bounds how many calls run on large stacks at once.
var deep = make(chan struct{}, max(2, runtime.NumCPU()))

// stackFor returns the stack that n bytes of text need, 0 for the usual one.
func stackFor(n int) C.int64_t {
	if n <= shallowTextBytes {
		return 0
	}
	return C.int64_t(stackBase + n*stackPerByte)
}

// vocabulary is the texts of all tokens, read once.
type vocabulary struct {
	text, special       []byte  // without and with the text of control tokens
	offset, specialFrom []int64 // one more than there are tokens
	flags               []uint8
}

func (v *vocabulary) read(h *C.hearth_model, n int) error {
	var err error
	if v.text, v.offset, err = pieces(h, n, 0); err != nil {
		return err
	}
	if v.special, v.specialFrom, err = pieces(h, n, 1); err != nil {
		return err
	}
	v.flags = make([]uint8, n)
	C.hearth_vocab_flags(h, (*C.uint8_t)(unsafe.SliceData(v.flags)))
	return nil
}

func pieces(h *C.hearth_model, n int, special C.int32_t) ([]byte, []int64, error) {
	var cerr *C.char
	size := C.hearth_vocab_pieces(h, special, nil, 0, nil, &cerr)
	if size < 0 {
		return nil, nil, fmt.Errorf("read the vocabulary: %w", takeError(&cerr))
	}
	text, offset := make([]byte, max(1, int(size))), make([]int64, n+1)
	got := C.hearth_vocab_pieces(h, special, (*C.char)(ptr(&text[0])), size, (*C.int64_t)(&offset[0]), &cerr)
	if got != size {
		return nil, nil, errors.New("read the vocabulary: it changed while it was read")
	}
	return text, offset, nil
}

// Piece returns the bytes of a token, which may be a part of a UTF-8 character.
// Control tokens are empty unless special is true. A token that does not exist is
// empty too. The slice must not be changed.
func (m *Model) Piece(token int32, special bool) []byte {
	v := &m.vocab
	if token < 0 || int(token) >= len(v.flags) {
		return nil
	}
	if special {
		return v.special[v.specialFrom[token]:v.specialFrom[token+1]:v.specialFrom[token+1]]
	}
	return v.text[v.offset[token]:v.offset[token+1]:v.offset[token+1]]
}

// ControlTexts returns the texts that Tokenize reads as control tokens where
// ParseSpecial is set.
func (m *Model) ControlTexts() []string {
	var texts []string
	for token, flags := range m.vocab.flags {
		if text := m.Piece(int32(token), true); flags&C.HEARTH_TOKEN_CONTROL != 0 && len(text) > 0 {
			texts = append(texts, string(text))
		}
	}
	return texts
}

// EndOfGeneration reports whether the model ends its turn with token.
func (m *Model) EndOfGeneration(token int32) bool {
	return token >= 0 && int(token) < len(m.vocab.flags) && m.vocab.flags[token]&C.HEARTH_TOKEN_EOG != 0
}

// Tokenize turns text, UTF-8 of at most MaxTextBytes, into tokens. The error is an
// InvalidError, too, for a text whose special tokens would take too long.
func (m *Model) Tokenize(text string, o inference.TokenizeOptions) ([]int32, error) {
	if len(text) > MaxTextBytes {
		return nil, inference.TextTooLong(len(text))
	}
	if !utf8.ValidString(text) {
		return nil, inference.Invalid("", "the text is not valid UTF-8")
	}
	if o.ParseSpecial && !m.cuts.special.whole && len(text) > shallowTextBytes {
		return m.tokenizeApart(text, o.AddSpecial)
	}
	return m.tokenizeParts(text, o, apartPerPart)
}

// tokenizeApart is for long texts in which control tokens are read.
func (m *Model) tokenizeApart(text string, addSpecial bool) ([]int32, error) {
	var tokens, end []int32
	var err error
	if addSpecial {
		if tokens, end, err = m.around(); err != nil {
			return nil, err
		}
	}
	for _, s := range m.cuts.special.stretches(text) {
		if s.text != "" {
			more, err := m.tokenizeParts(s.text, inference.TokenizeOptions{ParseSpecial: s.special}, apartPerPart)
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, more...)
		}
		if s.token >= 0 {
			tokens = append(tokens, s.token)
		}
	}
	return slices.Clip(append(tokens, end...)), nil
}

func (m *Model) tokenizeParts(text string, o inference.TokenizeOptions, atLeast int) ([]int32, error) {
	cut := &m.cuts.plain
	if o.ParseSpecial {
		cut = &m.cuts.special
	}
	parts, err := cut.parts(text, atLeast)
	if err != nil {
		return nil, err
	}
	if len(parts) == 1 {
		tokens, err := m.tokenizePart(text, o)
		return slices.Clip(tokens), err
	}
	var tokens, end []int32
	if o.AddSpecial {
		if tokens, end, err = m.around(); err != nil {
			return nil, err
		}
	}
	for _, part := range parts {
		more, err := m.tokenizePart(part, inference.TokenizeOptions{ParseSpecial: o.ParseSpecial})
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, more...)
	}
	return slices.Clip(append(tokens, end...)), nil
}

// tokenizePart is one call of llama.cpp.
func (m *Model) tokenizePart(text string, o inference.TokenizeOptions) ([]int32, error) {
	stack := stackFor(len(text))
	if stack > 0 {
		deep <- struct{}{}
		defer func() { <-deep }()
	}
	tokens := make([]int32, len(text)/3+16)
	err := m.use(func(h *C.hearth_model) error {
		for {
			var cerr *C.char
			n := C.hearth_tokenize(h, (*C.char)(ptr(unsafe.StringData(text))), C.int64_t(len(text)), flag(o.AddSpecial), flag(o.ParseSpecial),
				(*C.int32_t)(&tokens[0]), C.int64_t(len(tokens)), stack, &cerr)
			switch {
			case n == math.MinInt64:
				return takeError(&cerr)
			case n >= 0:
				tokens = tokens[:n]
				return nil
			}
			tokens = make([]int32, -n)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("tokenize: %w", err)
	}
	return tokens, nil
}

// Detokenize turns at most MaxDetokenize tokens into text; special tokens are
// rendered as their text.
func (m *Model) Detokenize(tokens []int32) (string, error) {
	if len(tokens) > MaxDetokenize {
		return "", inference.Invalid("tokens", "at most %d tokens can be rendered at once, got %d", MaxDetokenize, len(tokens))
	}
	for i, t := range tokens {
		if t < 0 || int(t) >= len(m.vocab.flags) {
			return "", inference.Invalid("tokens", "token %d at index %d is not in the vocabulary (0..%d)", t, i, len(m.vocab.flags)-1)
		}
	}
	if len(tokens) == 0 {
		return "", nil
	}
	var text string
	err := m.use(func(h *C.hearth_model) error {
		var cerr *C.char
		var n C.int64_t
		s := C.hearth_detokenize(h, (*C.int32_t)(&tokens[0]), C.int64_t(len(tokens)), &n, &cerr)
		if s == nil {
			return takeError(&cerr)
		}
		text = string(takeBytes(s, n))
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("detokenize: %w", err)
	}
	return text, nil
}
