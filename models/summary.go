package models

import (
	"fmt"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

// Summary is what a person wants to know about a model file.
type Summary struct {
	Architecture string
	Name         string
	Quantization string
	License      string
	Params       int64  // weights in this file
	Context      uint64 // tokens the model was trained for; 0: not told
	Layers       uint64
	Embedding    uint64 // length of the hidden state
	Heads        uint64
	HeadsKV      uint64
	Vocabulary   int // number of tokens
	Tokenizer    string
	Memory       string // what is kept of the tokens read, in words
	ChatTemplate bool
	Shards       uint64 // files that the model was split into; 0 or 1: this one alone
}

// Summary picks the well-known facts out of the metadata.
func (h *Header) Summary() Summary {
	s := Summary{
		Architecture: h.Text("general.architecture"),
		Name:         h.Text("general.name"),
		License:      h.Text("general.license"),
		Tokenizer:    h.Text("tokenizer.ggml.model"),
		ChatTemplate: h.Text("tokenizer.chat_template") != "",
	}
	number := func(key string) uint64 { n, _ := h.Uint(key); return n }
	s.Context = number(s.Architecture + ".context_length")
	s.Layers = number(s.Architecture + ".block_count")
	s.Embedding = number(s.Architecture + ".embedding_length")
	s.Heads = number(s.Architecture + ".attention.head_count")
	s.HeadsKV = number(s.Architecture + ".attention.head_count_kv")
	s.Memory = h.memory(s.Architecture)
	s.Shards = number("split.count")
	if v, ok := h.Lookup(vocabularyKey); ok {
		s.Vocabulary = v.Len
	}
	for i := range h.Tensors {
		s.Params += h.Tensors[i].Elements()
	}
	if n, ok := h.Uint("general.file_type"); ok {
		s.Quantization = fileTypes[n]
	}
	if s.Quantization == "" {
		s.Quantization = h.commonType()
	}
	return s
}

// commonType is the tensor type that most weights have.
func (h *Header) commonType() string {
	weights := map[TensorType]int64{}
	for i := range h.Tensors {
		weights[h.Tensors[i].Type] += h.Tensors[i].Elements()
	}
	types := make([]TensorType, 0, len(weights))
	for t := range weights {
		types = append(types, t)
	}
	if len(types) == 0 {
		return ""
	}
	sort.Slice(types, func(i, j int) bool {
		if weights[types[i]] != weights[types[j]] {
			return weights[types[i]] > weights[types[j]]
		}
		return types[i] < types[j]
	})
	return types[0].String()
}

var (
	quantSuffix = regexp.MustCompile(`(?i)[.\-_](UD-)?(I?Q[0-9]_[0-9A-Z_]+|F16|F32|BF16|TQ[0-9]_[0-9]|MXFP4|NVFP4)(_MOE)?$`)
	shardSuffix = regexp.MustCompile(`-[0-9]{5}-of-[0-9]{5}$`)
	notInID     = regexp.MustCompile(`[^a-z0-9._-]+`)
)

// DefaultID is the id of a model that was given none: the file's name in lower
// case without folder, extension, part number and quantization, so that
// "SmolLM2-135M-Instruct.Q4_1.gguf" is served as "smollm2-135m-instruct".
func DefaultID(path string) string {
	id := filepath.Base(path)
	if ext := filepath.Ext(id); strings.EqualFold(ext, ".gguf") {
		id = strings.TrimSuffix(id, ext)
	}
	id = shardSuffix.ReplaceAllString(id, "")
	if short := quantSuffix.ReplaceAllString(id, ""); short != "" {
		id = short
	}
	id = strings.Trim(notInID.ReplaceAllString(strings.ToLower(id), "-"), "-._")
	if id == "" {
		return "model"
	}
	return id
}

// memory says what the model keeps of the tokens that it read, as far as the
// file tells, and what that means for the sharing of prefixes.
func (h *Header) memory(architecture string) string {
	for _, key := range []string{".ssm.state_size", ".wkv.head_size", ".shortconv.l_cache", ".kda.head_dim"} {
		if n, ok := h.Uint(architecture + key); ok && n > 0 {
			return "recurrent state: prefixes are not shared"
		}
	}
	if n, ok := h.Uint(architecture + ".attention.sliding_window"); ok && n > 0 {
		return fmt.Sprintf("sliding window of %d tokens: prefixes are shared unless engine.swa_full is off", n)
	}
	return "attention to all tokens: prefixes are shared"
}
