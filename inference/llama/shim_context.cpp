//go:build ignore

// Contexts: creation, the probes that find out what a memory can do, decode, and
// operations on sequences.

#include "shim_context.h"

#include "llama-kv-cache-iswa.h"
#include "llama-kv-cache.h"
#include "llama-model.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

using namespace hearth;

hearth_context::~hearth_context() {
    compute.reset();
    beside.reset();
    pool.reset();
    for (llama_context * each : { ctx, other }) {
        if (each) {
            llama_free(each);
        }
    }
    if (free_threadpool) {
        free_threadpool(threadpool);
        free_threadpool(threadpool_batch);
    }
}

bool hearth::on_abort(void * arg) {
    return ((std::atomic<bool> *) arg)->load(std::memory_order_relaxed);
}

void hearth::make_room(hearth_context & c) {
    const int32_t n = c.traits.batch;
    c.token.resize(n);
    c.pos.resize(n);
    c.seq.resize(n);
    c.output.resize(n);
    c.n_seq_id.assign(n, 1);
    for (llama_seq_id & id : c.seq) {
        c.seq_id.push_back(&id);
    }
    c.drawing.make_room(c.traits.sequences + c.traits.guesses);
}

void drawing::make_room(size_t n) {
    if (n <= rows.size()) {
        return;
    }
    rows.resize(n);
    index.reserve(n);
    samplers.reserve(n);
    chains.reserve(n);
    token.resize(n);
    status.resize(n);
    logprob.resize(n);
    top_n.resize(n);
    next.resize(n * HEARTH_MAX_FORESEEN);
    n_sure.resize(n);
    n_likely.resize(n);
    top_token.resize(n * HEARTH_MAX_TOP);
    top_logprob.resize(n * HEARTH_MAX_TOP);
}

static void set_batch(hearth_context & c, int32_t n, const int32_t * token, const int32_t * pos, const int32_t * seq, const int8_t * output) {
    c.n_tokens = n;
    std::copy(token, token + n, c.token.begin());
    std::copy(pos, pos + n, c.pos.begin());
    std::copy(seq, seq + n, c.seq.begin());
    std::copy(output, output + n, c.output.begin());
    c.abort.store(false);
}

// Computes the batch in hand. Where a token has an output row it returns when
// the logits are there, also those that a GPU computes.
int32_t hearth::decode(hearth_context & c) noexcept {
    try {
        take_logged_error();
        if (c.embeds && c.mem) {
            llama_memory_clear(c.mem, false);
        }
        const llama_batch b{ c.n_tokens,        c.token.data(),  nullptr,        c.pos.data(),
                             c.n_seq_id.data(), c.seq_id.data(), c.output.data() };
        const int32_t rc = llama_decode(c.ctx, b);
        if (rc != 0) {
            c.error = take_logged_error();
        } else if (std::any_of(c.output.begin(), c.output.begin() + c.n_tokens, [](int8_t o) { return o != 0; })) {
            llama_synchronize(c.ctx);
        }
        return rc;
    } catch (const std::exception & e) {
        c.error = e.what();
    } catch (...) {
        c.error = "unknown C++ exception";
    }
    return HEARTH_DECODE_EXCEPTION;
}

namespace {

// The probes decode a few arbitrary tokens of the vocabulary.
class prober {
  public:
    explicit prober(hearth_context & c) : c(c), first_row(c.model->n_vocab), row(c.model->n_vocab) {}

    // n tokens of sequence seq from position p0; the logits of the last in out, which
    // may be NULL.
    bool decode(int n, int p0, llama_seq_id seq, std::vector<float> * out) {
        std::vector<int32_t> token(n), pos(n), seqs(n, seq);
        std::vector<int8_t>  output(n, 0);
        for (int i = 0; i < n; i++) {
            token[i] = (int32_t) (((uint64_t) (p0 + i + 1) * 2654435761u) % (uint64_t) c.model->n_vocab);
            pos[i]   = p0 + i;
        }
        output[n - 1] = out != nullptr;
        set_batch(c, n, token.data(), pos.data(), seqs.data(), output.data());
        if (hearth::decode(c) != 0) {
            return false;
        }
        if (!out) {
            return true;
        }
        const float * l = llama_get_logits_ith(c.ctx, n - 1);
        if (!l) {
            return false;
        }
        std::copy(l, l + c.model->n_vocab, out->begin());
        return true;
    }

    // Same likeliest token, and logits that differ by no more than rounding does
    // where cells lie elsewhere: a few percent of their spread once quantized
    // weights have amplified it. What a wrong state gives differs by all of it.
    bool equal() const {
        double mean = 0, spread = 0, moved = 0;
        size_t best_a = 0, best_b = 0;
        for (size_t i = 0; i < row.size(); i++) {
            mean += first_row[i] / row.size();
            best_a = first_row[i] > first_row[best_a] ? i : best_a;
            best_b = row[i] > row[best_b] ? i : best_b;
        }
        for (size_t i = 0; i < row.size(); i++) {
            spread += (first_row[i] - mean) * (first_row[i] - mean);
            moved += (first_row[i] - row[i]) * (first_row[i] - row[i]);
        }
        return best_a == best_b && std::sqrt(moved) <= 0.15 * std::sqrt(spread);
    }

    hearth_context &   c;
    std::vector<float> first_row, row;
};

} // namespace

// A memory whose cells can be held by several sequences: plain attention, or one
// such cache for all layers that see everything beside one for those with a
// sliding window. Where the latter has as many cells, a copied prefix is exact
// wherever hearth_seq_pos_min says that nothing of its window is gone.
static bool shares_cells(const hearth_context & c, bool window_only) {
    if (llama_model_is_recurrent(c.model->model) || llama_model_is_hybrid(c.model->model)) {
        return false; // a state cannot be copied up to a position
    }
    if (dynamic_cast<llama_kv_cache *>(c.mem)) {
        return true;
    }
    const auto * windowed = dynamic_cast<llama_kv_cache_iswa *>(c.mem);
    return windowed && !window_only && windowed->get_swa()->get_size() == windowed->get_base()->get_size();
}

// Sequence ids above those that may be decoded can hold cells in a cache that
// all sequences share. Undocumented, so it is tried; only where the cache
// is known to be of the plain kind, because others abort.
static int32_t probe_holders(hearth_context & c) {
    if (!c.traits.unified) {
        return 0;
    }
    const auto end  = (llama_seq_id) llama_max_parallel_sequences();
    const auto good = [&](llama_seq_id s) {
        llama_memory_seq_cp(c.mem, 0, s, 0, -1);
        return llama_memory_seq_pos_max(c.mem, s) == llama_memory_seq_pos_max(c.mem, 0) && llama_memory_seq_rm(c.mem, s, -1, -1) &&
               llama_memory_seq_pos_max(c.mem, s) == -1;
    };
    // Each walks over all cells, so those between the first and the last are not tried.
    if (c.traits.sequences == end || !good(c.traits.sequences)) {
        return 0;
    }
    return good(end - 1) ? end - c.traits.sequences : 1;
}

// Whether cells that were saved in two runs, and loaded again, give the tokens of
// computed ones, which sequence 0 holds. The logits behind them are in first_row.
static void probe_keep(prober & p, int prefix, int tail) {
    hearth_context & c = p.c;
    hearth_traits &  t = c.traits;
    if (!can_keep_runs(c)) {
        return;
    }
    try {
        const int            cut    = prefix / 3;
        const int64_t        size[] = { save_run(c, 0, 0, cut, nullptr, 0), save_run(c, 0, cut, prefix, nullptr, 0) };
        std::vector<uint8_t> first(size[0]), second(size[1]);
        save_run(c, 0, 0, cut, first.data(), first.size());
        save_run(c, 0, cut, prefix, second.data(), second.size());
        t.run_bytes[1] = (size[1] - size[0]) / (prefix - 2 * cut);
        t.run_bytes[0] = size[0] - cut * t.run_bytes[1];
        llama_memory_clear(c.mem, true);
        load_run(c, 0, 0, cut, first.data(), first.size(), true);
        load_run(c, 0, cut, prefix, second.data(), second.size(), false);
    } catch (const std::exception &) {
        return; // a memory of another form
    }
    t.keep = llama_memory_seq_pos_max(c.mem, 0) == prefix - 1 && p.decode(tail, prefix, 0, &p.row) && p.equal();
}

static void probe(hearth_context & c, bool window_only) {
    hearth_traits & t       = c.traits;
    // As few as can tell: all of this is computed before the first request is.
    const int       tail    = 1;
    const int       prefix  = std::min<int>({ 12, t.context - tail, t.cells / 2 - tail, t.batch });
    const bool      shares  = shares_cells(c, window_only);
    if (prefix < 4) {
        return; // too small a context to share anything worthwhile
    }
    prober p(c);
    if (!p.decode(prefix, 0, 0, nullptr)) {
        throw std::runtime_error("a first decode failed: " + c.error);
    }
    t.holders = shares ? probe_holders(c) : 0;
    if (!p.decode(tail, prefix, 0, &p.first_row)) {
        throw std::runtime_error("a first decode failed: " + c.error);
    }
    t.trim_tail = llama_memory_seq_rm(c.mem, 0, prefix, -1) && llama_memory_seq_pos_max(c.mem, 0) == prefix - 1 &&
                  p.decode(tail, prefix, 0, &p.row) && p.equal();

    if (t.trim_tail && shares) {
        llama_seq_id dst = -1;
        if (t.sequences > 1) {
            dst = 1;
            if (t.unified) {
                llama_memory_seq_cp(c.mem, 0, dst, 0, prefix);
            } else {
                llama_memory_seq_cp(c.mem, 0, dst, -1, -1);
                llama_memory_seq_rm(c.mem, dst, prefix, -1);
            }
        } else if (t.holders > 0) {
            const llama_seq_id holder = t.sequences;
            llama_memory_seq_cp(c.mem, 0, holder, 0, prefix);
            llama_memory_seq_rm(c.mem, 0, -1, -1);
            llama_memory_seq_cp(c.mem, holder, 0, 0, prefix);
            dst = 0;
        }
        t.share = dst >= 0 && llama_memory_seq_pos_max(c.mem, dst) == prefix - 1 && p.decode(tail, prefix, dst, &p.row) && p.equal();
    }
    llama_synchronize(c.ctx);
    if (t.share && t.holders > 0) {
        t.holders--; // one id for runs that come and go
        probe_keep(p, prefix, tail);
    }
    llama_synchronize(c.ctx);
    llama_memory_clear(c.mem, true);
    take_logged_error();
    c.error.clear();
}

static ggml_type cache_type(int32_t kv) {
    switch (kv) {
        case HEARTH_KV_Q8_0: return GGML_TYPE_Q8_0;
        case HEARTH_KV_Q4_0: return GGML_TYPE_Q4_0;
        default:             return GGML_TYPE_F16;
    }
}

int64_t hearth_cell_bytes(const hearth_model * m, int32_t kv_type, int32_t window_only) {
    const auto & hp = m->model->hparams;
    if (m->n_gpu_layers > 0 || llama_model_is_recurrent(m->model) || llama_model_is_hybrid(m->model)) {
        return 0;
    }
    const ggml_type type = cache_type(kv_type);
    int64_t         sum  = 0;
    for (uint32_t il = 0; il < hp.n_layer(); il++) {
        if (hp.has_kv(il) && !(window_only && hp.is_swa(il))) {
            sum += ggml_row_size(type, hp.n_embd_k_gqa(il)) + (hp.is_mla() ? 0 : ggml_row_size(type, hp.n_embd_v_gqa(il)));
        }
    }
    return sum;
}

hearth_context * hearth_context_new(hearth_model * m, const hearth_context_params * p, hearth_traits * traits, char ** err) {
    return guard<hearth_context *>(err, nullptr, [&]() -> hearth_context * {
        take_logged_error();
        if (m->vocab_only) {
            throw std::invalid_argument("the model was loaded without its weights");
        }
        if (!llama_model_has_decoder(m->model) || llama_model_has_encoder(m->model) || llama_model_is_diffusion(m->model)) {
            throw std::invalid_argument("the model does not generate text token by token");
        }
        auto c   = std::make_unique<hearth_context>();
        c->model = m;

        auto cp                = llama_context_default_params();
        cp.n_ctx               = p->cells;
        cp.n_seq_max           = p->sequences;
        cp.n_batch             = p->batch;
        cp.n_ubatch            = p->ubatch;
        cp.n_outputs_max       = p->sequences + p->guesses;
        cp.n_threads           = p->threads;
        cp.n_threads_batch     = p->threads_batch;
        cp.type_k              = cache_type(p->kv_type);
        cp.type_v              = cache_type(p->kv_type);
        cp.flash_attn_type     = (llama_flash_attn_type) p->flash_attention;
        cp.kv_unified          = p->unified != 0;
        cp.offload_kqv         = p->offload_kqv != 0;
        cp.swa_full            = p->window_only == 0;
        cp.no_perf             = true;
        cp.abort_callback      = on_abort;
        cp.abort_callback_data = &c->abort;

        c->params = cp;
        c->ctx    = llama_init_from_model(m->model, cp);
        if (!c->ctx) {
            const std::string why = take_logged_error();
            throw std::runtime_error(why.empty() ? "llama.cpp cannot create it" : why);
        }
        c->mem = llama_get_memory(c->ctx);
        if (!c->mem) {
            throw std::invalid_argument("the model has no memory of what it read, so it cannot generate");
        }
        attach_threads(*c, p->threads, p->threads_batch);

        hearth_traits & t = c->traits;
        t.cells      = (int32_t) llama_n_ctx(c->ctx);
        t.sequences  = (int32_t) p->sequences;
        t.guesses    = (int32_t) p->guesses;
        t.batch      = (int32_t) llama_n_batch(c->ctx);
        t.ubatch     = (int32_t) llama_n_ubatch(c->ctx);
        t.context    = (int32_t) llama_n_ctx_seq(c->ctx);
        t.vocabulary = m->n_vocab;
        t.unified    = p->unified != 0;

        make_room(*c);
        c->hold = p->hold;
        c->done = p->done;
        c->pool = std::make_unique<sample_pool>(p->threads);
        probe(*c, p->window_only != 0);
        t.heads = attention_heads(*m);
        if (t.unified && t.share && t.trim_tail && t.sequences > 1 && copies_cells(*c)) {
            t.streams = (int32_t) p->streams;
        }
        if (t.share && t.trim_tail && (t.keep || !t.unified) && copies_aside(*c)) {
            t.aside = (int32_t) p->aside;
        }
        c->compute = std::make_unique<compute_thread>([c = c.get()] { return decode(*c); }, [c = c.get()] { return draw(*c); }, p->done);
        *traits    = t;
        return c.release();
    });
}

void hearth_context_free(hearth_context * c) {
    delete c;
}

const char * hearth_context_error(const hearth_context * c) {
    return c->error.c_str();
}

void hearth_step_start(hearth_context * c, int32_t n, const int32_t * token, const int32_t * pos, const int32_t * seq, const int8_t * output,
                       int32_t n_rows, const int32_t * index, hearth_sampler * const * samplers, int32_t more) {
    if (n > 0) {
        end_staging(*c);
    }
    c->compute->start(n > 0, [&] {
        if (n > 0) {
            set_batch(*c, n, token, pos, seq, output);
        }
        c->drawing.make_room(n_rows);
        c->drawing.index.assign(index, index + n_rows);
        c->drawing.samplers.assign(samplers, samplers + n_rows);
        c->drawing.more = more != 0;
    });
}

int32_t hearth_step_result(hearth_context * c, hearth_drawn * out) {
    bool          ahead = false;
    const int32_t rc    = c->compute->result(ahead);
    drawing &     d     = c->drawing;
    *out                = { ahead, d.failed, d.token.data(), d.status.data(), d.top_token.data(), d.top_n.data(), d.logprob.data(), d.top_logprob.data(),
                            d.next.data(), d.n_sure.data(), d.n_likely.data() };
    return rc;
}

void hearth_abort(hearth_context * c) {
    c->abort.store(true);
}

static bool is_empty(const hearth_context & c) {
    const int32_t ids = c.traits.sequences + (c.traits.unified ? c.traits.holders : 0);
    for (int32_t id = 0; id < ids; id++) {
        if (llama_memory_seq_pos_max(c.mem, id) >= 0) {
            return false;
        }
    }
    return true;
}

int32_t hearth_seq_rm(hearth_context * c, int32_t seq, int32_t p0, int32_t p1) {
    return guard<int32_t>(nullptr, 0, [&] {
        c->compute->rest();
        end_staging(*c);
        if (!c->traits.unified && p0 <= 0 && p1 < 0 && copies_cells(*c)) {
            give_back(*c, seq);
        }
        const bool removed = llama_memory_seq_rm(c->mem, seq, p0, p1);
        if (removed && p0 <= 0 && p1 < 0 && is_empty(*c)) {
            // An emptied memory goes on where it stopped, a cleared one starts at
            // its first cell: from there the same tokens give the same bits.
            llama_memory_clear(c->mem, false);
        }
        return (int32_t) removed;
    });
}

int32_t hearth_seq_cp(hearth_context * c, int32_t src, int32_t dst, int32_t p0, int32_t p1) {
    return guard<int32_t>(nullptr, -1, [&] {
        c->compute->rest();
        end_staging(*c);
        if (c->traits.unified) {
            llama_memory_seq_cp(c->mem, src, dst, p0, p1);
        } else if (copies_cells(*c)) {
            copy_prefix(*c, src, dst, p1 < 0 ? INT32_MAX : p1);
        } else {
            // Whole streams, used or not: llama.cpp aborts on a part of one.
            llama_memory_seq_cp(c->mem, src, dst, -1, -1);
            if (p1 >= 0) {
                llama_memory_seq_rm(c->mem, dst, p1, -1);
            }
        }
        return 0;
    });
}

int32_t hearth_seq_pos_max(hearth_context * c, int32_t seq) {
    return guard<int32_t>(nullptr, -1, [&] {
        c->compute->rest();
        return (int32_t) llama_memory_seq_pos_max(c->mem, seq);
    });
}

int32_t hearth_seq_pos_min(hearth_context * c, int32_t seq) {
    return guard<int32_t>(nullptr, -1, [&] {
        c->compute->rest();
        return (int32_t) llama_memory_seq_pos_min(c->mem, seq);
    });
}
