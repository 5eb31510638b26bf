package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// made is a file that is made from a pinned one, always with the same bytes.
type made struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// embeddingModel returns the path of the embedding model's GGUF file, made from
// the weights of its package where it is not in the cache yet.
func (a *app) embeddingModel(ctx context.Context) (string, error) {
	p, err := a.bertPin()
	if err != nil {
		return "", err
	}
	return a.makeBERT(ctx, p, *p.Made, p.Name, poolMean, func(*ggufFile) {})
}

// bertPin is what the embedding model is made from.
func (a *app) bertPin() (pin, error) {
	models := inSet(a.pins, "embedding-model")
	if len(models) != 1 || models[0].Made == nil {
		return pin{}, fmt.Errorf("pins.json must name exactly one embedding model, with what is made from it; it names %d", len(models))
	}
	return models[0], nil
}

// What becomes of the vectors of a text's tokens, as llama.cpp numbers it.
const (
	poolMean uint32 = 1
	poolRank uint32 = 4
)

// makeBERT returns the path of a model that is made from the package of p; head
// adds what lies above its layers.
func (a *app) makeBERT(ctx context.Context, p pin, m made, name string, pooling uint32, head func(*ggufFile)) (string, error) {
	dest := a.path("models", m.File)
	unlock, err := a.lock(m.File)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dest); err == nil {
		return dest, a.verify(dest, m.SHA256)
	}
	archive, err := a.download(ctx, p)
	if err != nil {
		return "", err
	}
	zr, err := zip.OpenReader(archive)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", archive, err)
	}
	defer zr.Close()
	f, err := convertBERT(name, pooling, func(name string) (io.ReadCloser, error) {
		return zr.Open(strings.ReplaceAll(p.Package, "-", "_") + "/model/" + name)
	})
	if err != nil {
		return "", fmt.Errorf("convert %s: %w", filepath.Base(archive), err)
	}
	head(f)
	var b bytes.Buffer
	if err := f.write(&b); err != nil {
		return "", err
	}
	return dest, a.save(&b, dest, m.File+", made from "+p.File+",", m.SHA256, m.Bytes)
}

// bertConfig is what is read of config.json.
type bertConfig struct {
	Architectures []string `json:"architectures"`
	Activation    string   `json:"hidden_act"`
	Hidden        uint32   `json:"hidden_size"`
	Intermediate  uint32   `json:"intermediate_size"`
	Epsilon       float32  `json:"layer_norm_eps"`
	Positions     uint32   `json:"max_position_embeddings"`
	Heads         uint32   `json:"num_attention_heads"`
	Layers        uint32   `json:"num_hidden_layers"`
	TokenTypes    uint32   `json:"type_vocab_size"`
}

// convertBERT puts a BERT model that pools by the mean into a GGUF file, with
// matrices in 16-bit floats. open gives the files of the model's folder. What
// the names and values mean to llama.cpp is written in its conversion/bert.py
// and src/llama-arch.cpp.
func convertBERT(name string, pooling uint32, open func(string) (io.ReadCloser, error)) (*ggufFile, error) {
	var c bertConfig
	var pool struct {
		Mean bool `json:"pooling_mode_mean_tokens"`
	}
	var tokenizer struct {
		Lower bool `json:"do_lower_case"`
	}
	for file, to := range map[string]any{"config.json": &c, "1_Pooling/config.json": &pool, "tokenizer_config.json": &tokenizer} {
		raw, err := readFile(open, file)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(raw, to); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
	}
	if len(c.Architectures) != 1 || c.Architectures[0] != "BertModel" || c.Activation != "gelu" || !pool.Mean || !tokenizer.Lower {
		return nil, fmt.Errorf("it is another kind of model than the BERT in lower case with mean pooling that is known here: %+v", c)
	}
	f := &ggufFile{}
	f.set("general.architecture", "bert")
	f.set("general.type", "model")
	f.set("general.name", name)
	f.set("general.license", "apache-2.0")
	f.set("general.file_type", uint32(1)) // mostly 16-bit floats
	f.set("bert.block_count", c.Layers)
	f.set("bert.context_length", c.Positions)
	f.set("bert.embedding_length", c.Hidden)
	f.set("bert.feed_forward_length", c.Intermediate)
	f.set("bert.attention.head_count", c.Heads)
	f.set("bert.attention.layer_norm_epsilon", c.Epsilon)
	f.set("bert.attention.causal", false)
	f.set("bert.pooling_type", pooling)
	if err := bertVocabulary(f, c.TokenTypes, open); err != nil {
		return nil, err
	}
	return f, bertTensors(f, int(c.Layers), open)
}

func readFile(open func(string) (io.ReadCloser, error), name string) ([]byte, error) {
	r, err := open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// bertVocabulary adds the WordPiece vocabulary. llama.cpp marks the beginning of
// a word, where WordPiece marks what is none.
func bertVocabulary(f *ggufFile, types uint32, open func(string) (io.ReadCloser, error)) error {
	raw, err := readFile(open, "vocab.txt")
	if err != nil {
		return err
	}
	const normal, control = 1, 3
	special := map[string]string{
		"[PAD]": "padding", "[UNK]": "unknown", "[CLS]": "cls", "[SEP]": "seperator", "[MASK]": "mask", // spelled as llama.cpp does
	}
	tokens := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	kinds := make([]int32, len(tokens))
	ids := map[string]uint32{}
	for i, t := range tokens {
		kinds[i] = normal
		if role := special[t]; role != "" {
			kinds[i], ids[role] = control, uint32(i)
		} else if rest, inside := strings.CutPrefix(t, "##"); inside {
			tokens[i] = rest
		} else {
			tokens[i] = "\u2581" + t
		}
	}
	if len(ids) != len(special) {
		return errors.New("vocab.txt lacks a special token")
	}
	f.set("tokenizer.ggml.model", "bert")
	f.set("tokenizer.ggml.token_type_count", types)
	f.set("tokenizer.ggml.tokens", tokens)
	f.set("tokenizer.ggml.token_type", kinds)
	for _, role := range []string{"unknown", "seperator", "padding", "cls", "mask"} {
		f.set("tokenizer.ggml."+role+"_token_id", ids[role])
	}
	f.set("tokenizer.ggml.bos_token_id", ids["cls"])
	return nil
}

// bertTensors adds the weights under llama.cpp's names.
func bertTensors(f *ggufFile, layers int, open func(string) (io.ReadCloser, error)) error {
	r, err := open("model.safetensors")
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := readWeights(r)
	if err != nil {
		return err
	}
	add := func(from, to string, half bool) error {
		v, shape, err := w.floats(from)
		if err != nil {
			return err
		}
		f.add(to, shape, v, half && len(shape) == 2)
		return nil
	}
	pair := func(from, to string) error {
		return errors.Join(add(from+".weight", to+".weight", true), add(from+".bias", to+".bias", false))
	}
	errs := []error{
		add("embeddings.word_embeddings.weight", "token_embd.weight", true),
		add("embeddings.position_embeddings.weight", "position_embd.weight", false),
		add("embeddings.token_type_embeddings.weight", "token_types.weight", false),
		pair("embeddings.LayerNorm", "token_embd_norm"),
	}
	for i := range layers {
		for _, n := range [][2]string{
			{"attention.self.query", "attn_q"},
			{"attention.self.key", "attn_k"},
			{"attention.self.value", "attn_v"},
			{"attention.output.dense", "attn_output"},
			{"attention.output.LayerNorm", "attn_output_norm"},
			{"intermediate.dense", "ffn_up"},
			{"output.dense", "ffn_down"},
			{"output.LayerNorm", "layer_output_norm"},
		} {
			errs = append(errs, pair(fmt.Sprintf("encoder.layer.%d.%s", i, n[0]), fmt.Sprintf("blk.%d.%s", i, n[1])))
		}
	}
	return errors.Join(errs...)
}
