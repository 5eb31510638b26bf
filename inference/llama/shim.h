// The border between Go and llama.cpp: plain C. Arrays are flat, structures that
// are deep cross as JSON text, and every function catches every C++ exception.
//
// Strings that a function returns, and error texts, are freed with
// hearth_string_free. A function that fails returns NULL or a negative number
// and sets *err; err may not be NULL where it is a parameter.
#ifndef HEARTH_SHIM_H
#define HEARTH_SHIM_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define HEARTH_API __attribute__((visibility("default")))
#else
#define HEARTH_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hearth_model     hearth_model;
typedef struct hearth_context   hearth_context;
typedef struct hearth_sampler   hearth_sampler;
typedef struct hearth_templates hearth_templates;
typedef struct hearth_parser    hearth_parser;
typedef struct hearth_progress  hearth_progress;
typedef struct hearth_adapter   hearth_adapter;

// ---- process ----------------------------------------------------------------

enum {
    HEARTH_KIND_MODEL     = 0,
    HEARTH_KIND_CONTEXT   = 1,
    HEARTH_KIND_SAMPLER   = 2,
    HEARTH_KIND_TEMPLATES = 3,
    HEARTH_KIND_PARSER    = 4,
    HEARTH_KIND_PROGRESS  = 5,
    HEARTH_KIND_ADAPTER   = 6,
    HEARTH_KINDS          = 7,
};

typedef void (*hearth_log_fn)(int32_t level, const char * text);

HEARTH_API void    hearth_string_free(char * s);
HEARTH_API int64_t hearth_live(int32_t kind); // handles of a kind that are not freed

// Loads the backends from lib_dir, once per process. log may be NULL.
HEARTH_API int32_t hearth_init(const char * lib_dir, hearth_log_fn log, int32_t min_level, char ** err);
// JSON: [{"name","description","kind","free","total"}]
HEARTH_API char *  hearth_devices(char ** err);
// The protocol that RPC servers have to speak: this major, at most this minor version.
HEARTH_API void    hearth_rpc_version(int32_t * major, int32_t * minor);
HEARTH_API int32_t hearth_add_rpc(const char * endpoint, char ** err);

// ---- model ------------------------------------------------------------------

enum {
    HEARTH_LAYERS_ALL  = -1,
    HEARTH_LAYERS_AUTO = -2,
};

typedef struct {
    int32_t  gpu_layers; // a number, HEARTH_LAYERS_ALL or HEARTH_LAYERS_AUTO
    int32_t  split_mode; // 0 none, 1 layer, 2 row
    int32_t  use_mmap;
    int32_t  use_mlock;
    int32_t  vocab_only;
    int32_t  any_device; // 0: only the named devices
    // the context that has to fit beside the layers, for HEARTH_LAYERS_AUTO
    uint32_t fit_cells;
    uint32_t fit_sequences;
    uint32_t fit_batch;
    uint32_t fit_ubatch;
    int32_t  fit_kv_type;
    int32_t  fit_unified;
    int32_t  fit_offload_kqv;
    int32_t  fit_window_only;
} hearth_model_params;

HEARTH_API hearth_progress * hearth_progress_new(void);
HEARTH_API float             hearth_progress_get(const hearth_progress * p); // 0..1
HEARTH_API void              hearth_progress_cancel(hearth_progress * p);
HEARTH_API int32_t           hearth_progress_cancelled(const hearth_progress * p);
HEARTH_API void              hearth_progress_free(hearth_progress * p);

// devices: names, one a line. split: a share for each device, or NULL.
HEARTH_API hearth_model * hearth_model_load(const char * path, const hearth_model_params * p, const char * devices,
                                            const float * split, int32_t n_split, hearth_progress * progress, char ** err);
HEARTH_API void    hearth_model_free(hearth_model * m);
HEARTH_API char *  hearth_model_info(hearth_model * m, char ** err); // JSON
HEARTH_API char *  hearth_model_meta(hearth_model * m, const char * key); // NULL: no such scalar

// ---- vocabulary -------------------------------------------------------------

enum {
    HEARTH_TOKEN_EOG     = 1,
    HEARTH_TOKEN_CONTROL = 2, // read from text only with parse_special
    HEARTH_TOKEN_APART   = 4, // searched for in a text before all others
    HEARTH_TOKEN_STRIPS  = 8, // takes the white space beside it along
};

// Texts of all tokens, one after the other; offsets has one more than there are
// tokens. Returns the bytes needed, and writes only if they fit into cap.
HEARTH_API int64_t hearth_vocab_pieces(hearth_model * m, int32_t special, char * buf, int64_t cap, int64_t * offsets, char ** err);
HEARTH_API void    hearth_vocab_flags(hearth_model * m, uint8_t * flags);
HEARTH_API const char * hearth_vocab_text(hearth_model * m, int32_t token); // as it is searched for in a text
HEARTH_API int32_t hearth_vocab_adds_bos(hearth_model * m);
// Returns the number of tokens, or minus the number needed if cap is too small,
// or INT64_MIN with *err set. stack is the size in bytes of a stack of its own,
// 0 for the caller's.
HEARTH_API int64_t hearth_tokenize(hearth_model * m, const char * text, int64_t len, int32_t add_special, int32_t parse_special,
                                   int32_t * out, int64_t cap, int64_t stack, char ** err);
HEARTH_API char *  hearth_detokenize(hearth_model * m, const int32_t * tokens, int64_t n, int64_t * len, char ** err);

// ---- context ----------------------------------------------------------------

enum {
    HEARTH_KV_F16  = 0,
    HEARTH_KV_Q8_0 = 1,
    HEARTH_KV_Q4_0 = 2,
};

typedef struct {
    uint32_t cells;
    uint32_t sequences;
    uint32_t guesses; // rows of guesses in one batch
    uint32_t batch;
    uint32_t ubatch;
    int32_t  threads;
    int32_t  threads_batch;
    int32_t  kv_type;         // HEARTH_KV_*
    int32_t  flash_attention; // -1 auto, 0 off, 1 on
    int32_t  unified;
    int32_t  offload_kqv;
    int32_t  window_only; // layers with a sliding window keep no more than it
    int32_t  done; // an eventfd, which hearth_step_start signals; it must outlive the context
    const uint32_t * hold; // see hearth_step_start; it must outlive the context
    uint32_t aside;   // cells of what is computed beside the steps
    uint32_t streams; // cells that each sequence shall have where the cells are laid out in streams
} hearth_context_params;

typedef struct {
    int32_t cells;
    int32_t sequences;
    int32_t guesses;
    int32_t holders;
    int32_t batch;
    int32_t ubatch;
    int32_t context;
    int32_t vocabulary;
    int32_t unified;
    int32_t share;
    int32_t trim_tail;
    int32_t keep; // runs of cells can be saved and loaded
    int64_t run_bytes[2]; // of the run of 0 cells, if there were one, and of each cell more
    int32_t streams; // as asked for; 0: hearth_relayout is not possible
    int32_t aside;   // as asked for; 0: nothing can be computed aside
    int32_t heads;   // attention heads of all layers
} hearth_traits;

enum {
    HEARTH_DECODE_EXCEPTION = -1000,
};

// What the memory of the CPU has to hold of each cell, in bytes; 0 where that is
// not known or not all of it: a recurrent state, layers on other devices.
HEARTH_API int64_t hearth_cell_bytes(const hearth_model * m, int32_t kv_type, int32_t window_only);
HEARTH_API hearth_context * hearth_context_new(hearth_model * m, const hearth_context_params * p, hearth_traits * traits, char ** err);
HEARTH_API void         hearth_context_free(hearth_context * c);
HEARTH_API const char * hearth_context_error(const hearth_context * c); // of the last failed decode

enum {
    HEARTH_MAX_TOP      = 20, // places for likeliest tokens, of each row
    HEARTH_MAX_FORESEEN = 64, // places for tokens that follow the drawn one
};

enum {
    HEARTH_ROW_GRAMMAR = -2, // a client's grammar cannot be followed
    HEARTH_ROW_FAILED  = -1,
    HEARTH_ROW_SKIPPED = 1,
};

// What was drawn, by row, with 0 or a HEARTH_ROW_* as status. The memory is the
// context's, until the next step.
typedef struct {
    int32_t         ahead;  // the next batch is being computed
    int32_t         failed; // a row has no logits: nothing was drawn
    const int32_t * token;
    const int32_t * status;
    const int32_t * top_token; // HEARTH_MAX_TOP places a row
    const int32_t * top_n;
    const float *   logprob;
    const float *   top_logprob;
    // Tokens that follow the drawn one: those that the grammar leaves no choice
    // about, which the sampler has accepted, and then those that are likely.
    const int32_t * next; // HEARTH_MAX_FORESEEN places a row
    const int32_t * n_sure;
    const int32_t * n_likely;
} hearth_drawn;

// Computes a batch on the context's own thread and draws a token for each row of
// it; without a batch (n is 0) it draws from the one before. The arrays are
// copied. Rows of one sampler that follow each other are a chain: each behind the
// first holds a guess, and is skipped unless the row before drew that very token.
// If more is not 0, every row drew well, no token ends a generation, nothing is
// foreseen behind one and *hold is 0, it goes ahead: each row's token becomes the next batch, which is
// computed at once, and the next step must have no batch of its own.
// When the tokens are there, 8 bytes can be read from the eventfd, and
// hearth_step_result gives the code of llama_decode or HEARTH_DECODE_EXCEPTION; it
// waits if need be, and must be called once for each start.
HEARTH_API void    hearth_step_start(hearth_context * c, int32_t n, const int32_t * token, const int32_t * pos, const int32_t * seq,
                                     const int8_t * output, int32_t n_rows, const int32_t * index, hearth_sampler * const * samplers, int32_t more);
HEARTH_API int32_t hearth_step_result(hearth_context * c, hearth_drawn * out);
HEARTH_API void    hearth_abort(hearth_context * c);
HEARTH_API int32_t hearth_seq_rm(hearth_context * c, int32_t seq, int32_t p0, int32_t p1);
HEARTH_API int32_t hearth_seq_cp(hearth_context * c, int32_t src, int32_t dst, int32_t p0, int32_t p1);
// Exchanges what two streams hold, where hearth_relayout made them; 0: it failed, and
// either may hold nothing.
HEARTH_API int32_t hearth_seq_swap(hearth_context * c, int32_t a, int32_t b);
// One sequence of a new layout: to gets what from holds, of which the first shared
// cells are those of with, which was moved before.
typedef struct {
    int32_t from, to;
    int32_t with, shared;
} hearth_move;
// Lays the cells out in one pool, or in a stream for each sequence. What no move
// names is lost. -1: nothing changed.
HEARTH_API int32_t hearth_relayout(hearth_context * c, int32_t unified, int32_t n, const hearth_move * moves, char ** err);

// Takes on a batch, whose tokens go on from the ends of their sequences and want no
// rows, to be computed beside the steps. Of the sequences that shares names the
// first cells are those of with, which comes before. The arrays are copied. 0 or -1.
HEARTH_API int32_t hearth_aside_begin(hearth_context * c, int32_t n, const int32_t * token, const int32_t * pos, const int32_t * seq,
                                      int32_t n_shares, const hearth_move * shares, char ** err);
// Computes for about ns nanoseconds. When that is over 8 bytes can be read from the
// eventfd, and hearth_aside_result gives 0 or the code of llama_decode; it waits if
// need be. No step may be computed meanwhile.
HEARTH_API void    hearth_aside_start(hearth_context * c, int64_t ns);
HEARTH_API int32_t hearth_aside_result(hearth_context * c, int32_t * finished);
// Adds what was computed of from[i] to the end of to[i], and forgets the rest, also
// what is not finished. -1: some of it may have been added.
HEARTH_API int32_t hearth_aside_end(hearth_context * c, int32_t n, const int32_t * from, const int32_t * to, char ** err);
HEARTH_API int32_t hearth_seq_pos_max(hearth_context * c, int32_t seq);
// The first position from which on seq holds all, also of the layers with a
// sliding window; -1 if it is empty.
HEARTH_API int32_t hearth_seq_pos_min(hearth_context * c, int32_t seq);
// Writes the cells of seq in [p0, p1) into buf and returns their bytes, or -1 with
// *err set: also where cap is too small, or a layer with a sliding window has given
// up a part. Only where hearth_traits.keep.
HEARTH_API int64_t hearth_state_save(hearth_context * c, int32_t seq, int32_t p0, int32_t p1, uint8_t * buf, int64_t cap, char ** err);
// Adds such cells to the end of seq, which must hold [0, p0); -1 with *err set and
// seq as it was where they do not fit or the bytes are not of this run. With more, the
// next call does the same for the run behind it: seq may hold them only after that, and
// then also where that one fails.
HEARTH_API int32_t hearth_state_load(hearth_context * c, int32_t seq, int32_t p0, int32_t p1, const uint8_t * data, int64_t size, int32_t more, char ** err);

// ---- adapters ---------------------------------------------------------------

// The model must have no context, and must outlive the adapter.
HEARTH_API hearth_adapter * hearth_adapter_load(hearth_model * m, const char * path, char ** err);
HEARTH_API void    hearth_adapter_free(hearth_adapter * a);
HEARTH_API int64_t hearth_adapter_bytes(const hearth_adapter * a);
// What the next batches are computed with; each adapter at most once. 0 or -1.
HEARTH_API int32_t hearth_context_adapt(hearth_context * c, int32_t n, hearth_adapter * const * adapters, const float * scales, char ** err);

// ---- embeddings -------------------------------------------------------------

enum {
    HEARTH_POOLING_MODEL = -1, // what the file says; mean, where it says nothing
    HEARTH_POOLING_MEAN  = 1,
    HEARTH_POOLING_CLS   = 2,
    HEARTH_POOLING_LAST  = 3,
    HEARTH_POOLING_RANK  = 4, // a score; only of a model whose file says so
};

typedef struct {
    uint32_t batch;     // tokens of one decode, all sequences together
    uint32_t sequences; // inputs of one decode
    int32_t  threads;
    int32_t  pooling;         // HEARTH_POOLING_*
    int32_t  flash_attention; // as in hearth_context_params
    int32_t  offload_kqv;
    int32_t  done; // as in hearth_context_params
} hearth_embedder_params;

typedef struct {
    int32_t batch;
    int32_t sequences;
    int32_t longest; // tokens of one input
    int32_t width;   // numbers for each input
    int32_t vocabulary;
    int32_t pooling;
} hearth_embedder_traits;

// A context that pools: hearth_step_* compute with it, without rows, and hearth_context_free
// frees it. Nothing stays in its memory from one batch to the next.
HEARTH_API hearth_context * hearth_embedder_new(hearth_model * m, const hearth_embedder_params * p, hearth_embedder_traits * traits, char ** err);
// Copies the width numbers of a sequence of the last batch to out. 0, or -1 if there are none.
HEARTH_API int32_t hearth_embedding(hearth_context * c, int32_t seq, float * out);

// ---- sampling ---------------------------------------------------------------

typedef struct {
    float    temperature;
    int32_t  top_k;
    float    top_p;
    float    min_p;
    float    repeat_penalty;
    int32_t  repeat_last_n;
    float    presence_penalty;
    float    frequency_penalty;
    uint32_t seed;
    int32_t  logprobs;
    int32_t  top_logprobs;
    int32_t  reference; // run llama.cpp's whole chain, without the fast paths
    float    typical_p;
    float    top_n_sigma;
    float    dry_multiplier;
    float    dry_base;
    int32_t  dry_allowed_length;
    int32_t  dry_last_n;
    float    xtc_probability;
    float    xtc_threshold;
    int32_t  mirostat; // 0, 1 or 2
    float    mirostat_tau;
    float    mirostat_eta;
    float    dynatemp_range;
    float    dynatemp_exponent;
    int32_t  foresee; // most likely tokens that are given behind a drawn one
    uint64_t scope;   // samplers of another one have no part in what this one learns
    int32_t  append;  // give those, too, that the grammar leaves no choice about
} hearth_sampler_params;

// How much a sampler has of what comes in arrays.
typedef struct {
    int32_t n_breakers;
    int32_t n_banned;
    int32_t n_bias;
    int32_t n_history;
} hearth_sampler_counts;

// How long the tables of a client's grammar are.
typedef struct {
    int32_t root; // the rule that it begins with
    int32_t n_places;
    int32_t n_alts;
    int32_t n_rules;   // the table has one more
    int32_t n_classes; // the table has one more
    int32_t n_ranges;  // the table has two numbers for each
} hearth_rule_counts;

// How a thinking block is marked travels with the triggers, as further kinds.
enum {
    HEARTH_MARK_THINK      = 16, // opens a block; token: its budget, negative for none
    HEARTH_MARK_THINK_OPEN = 17, // the same, and the prompt ends inside a block
    HEARTH_MARK_THINK_END  = 18, // closes it; a spent budget writes the first of them
};

// history: tokens of the prompt's end, for the penalties. strings: DRY's breakers,
// then what is banned, one after the other, with their lengths in string_len.
// A grammar's texts lie one after the other in text: GBNF, prefill, then the
// triggers' values, with their lengths in len (2 + n_triggers of them).
HEARTH_API hearth_sampler * hearth_sampler_new(hearth_model * m, const hearth_sampler_params * p, const hearth_sampler_counts * n,
                                               const int32_t * bias_token, const float * bias, const int32_t * history,
                                               const char * strings, const int64_t * string_len,
                                               const char * text, const int64_t * len, int32_t lazy,
                                               const int32_t * trigger_kind, const int32_t * trigger_token, int32_t n_triggers, char ** err);
// Gives a sampler that was made without GBNF the rules of a client's grammar. The
// tables lie one after the other in tables, as gbnfTables has them; Go has
// bounded them and made sure that they refer to nothing outside. 0 or -1.
HEARTH_API int32_t      hearth_sampler_rules(hearth_sampler * s, const hearth_rule_counts * n, const int32_t * tables, char ** err);
HEARTH_API void         hearth_sampler_free(hearth_sampler * s);
// Advances the sampler over a token that it did not draw; tests script with it.
HEARTH_API int32_t      hearth_sampler_accept(hearth_sampler * s, int32_t token, char ** err);
// Sets allowed[t] to 1 for each token t that the grammar allows next, else to 0;
// tests compare with it. 0 or -1.
HEARTH_API int32_t      hearth_sampler_allowed(hearth_sampler * s, uint8_t * allowed, char ** err);
// Looks ahead behind the last token as a draw does, into HEARTH_MAX_FORESEEN places
// of next; tests look with it. 0 or -1.
HEARTH_API int32_t      hearth_sampler_foresee(hearth_sampler * s, int32_t * next, int32_t * n_sure, int32_t * n_likely, char ** err);
HEARTH_API const char * hearth_sampler_error(const hearth_sampler * s); // of the last failed row

// Compiles GBNF without keeping it, to say whether it is any good. 0 or -1.
HEARTH_API int32_t hearth_grammar_check(hearth_model * m, const char * gbnf, char ** err);
HEARTH_API char *  hearth_schema_to_grammar(const char * schema, char ** err);

// ---- chat -------------------------------------------------------------------

enum {
    HEARTH_FIELD_MESSAGES = 0,
    HEARTH_FIELD_TOOLS    = 1,
    HEARTH_FIELD_CHOICE   = 2,
    HEARTH_FIELD_SCHEMA   = 3,
    HEARTH_FIELD_KWARGS   = 4,
};

HEARTH_API hearth_templates * hearth_templates_new(hearth_model * m, const char * override_source, char ** err);
HEARTH_API void   hearth_templates_free(hearth_templates * t);
HEARTH_API char * hearth_templates_caps(hearth_templates * t, char ** err); // JSON object of booleans
HEARTH_API char * hearth_templates_apply(hearth_templates * t, const char * input, int64_t len, int64_t * out_len, int32_t * field, char ** err);
HEARTH_API hearth_parser * hearth_parser_new(const char * spec, int64_t len, int32_t parse_tool_calls, char ** err);
HEARTH_API void   hearth_parser_free(hearth_parser * p);
HEARTH_API char * hearth_parser_parse(hearth_parser * p, const char * text, int64_t len, int32_t partial, int64_t stack, int64_t * out_len, char ** err);

#ifdef __cplusplus
}
#endif
#endif
