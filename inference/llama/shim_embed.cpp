//go:build ignore

// Contexts that pool: they turn inputs into vectors instead of generating.

#include "shim_context.h"

#include "llama-model.h"

#include <algorithm>
#include <stdexcept>

using namespace hearth;

// What the model's file asks for, where the caller leaves it to the file.
static enum llama_pooling_type pooling_of(const hearth_model & m, int32_t wanted) {
    const enum llama_pooling_type own = m.model->hparams.pooling_type;
    if (wanted != HEARTH_POOLING_MODEL) {
        return (enum llama_pooling_type) wanted;
    }
    return own == LLAMA_POOLING_TYPE_UNSPECIFIED || own == LLAMA_POOLING_TYPE_NONE ? LLAMA_POOLING_TYPE_MEAN : own;
}

// The numbers that a model has for a document, of which the first is its score:
// Qwen3 gives the probabilities of yes and of no.
static uint32_t scores_of(const hearth_model & m) {
    return m.model->arch == LLM_ARCH_QWEN3 || m.model->arch == LLM_ARCH_QWEN3VL ? 2 : 1;
}

static void check_model(const hearth_model & m, enum llama_pooling_type pooling) {
    if (m.vocab_only) {
        throw std::invalid_argument("the model was loaded without its weights");
    }
    if (llama_model_is_diffusion(m.model) || (llama_model_has_encoder(m.model) && llama_model_has_decoder(m.model))) {
        throw std::invalid_argument("the model cannot embed: it is neither an encoder nor a decoder alone");
    }
    if (llama_model_is_recurrent(m.model) || llama_model_is_hybrid(m.model)) {
        throw std::invalid_argument("the model cannot embed: its state is recurrent, and there is nothing to pool");
    }
    if (pooling == LLAMA_POOLING_TYPE_RANK) {
        if (!m.model->cls && !m.model->cls_out) {
            throw std::invalid_argument("the model's file says that it scores documents, and has no weights for the score");
        }
        if (llama_model_n_cls_out(m.model) != scores_of(m)) {
            throw std::invalid_argument("the model sorts texts into " + std::to_string(llama_model_n_cls_out(m.model)) +
                                        " classes, and has no one score for a document");
        }
    }
}

hearth_context * hearth_embedder_new(hearth_model * m, const hearth_embedder_params * p, hearth_embedder_traits * traits, char ** err) {
    return guard<hearth_context *>(err, nullptr, [&]() -> hearth_context * {
        take_logged_error();
        const enum llama_pooling_type pooling = pooling_of(*m, p->pooling);
        check_model(*m, pooling);
        auto c    = std::make_unique<hearth_context>();
        c->model  = m;
        c->embeds = true;

        auto cp     = llama_context_default_params();
        cp.n_ctx    = p->batch;
        cp.n_batch  = p->batch;
        cp.n_ubatch = p->batch; // an input must be whole in one micro-batch
        cp.n_seq_max           = p->sequences;
        cp.n_threads           = p->threads;
        cp.n_threads_batch     = p->threads;
        cp.flash_attn_type     = (llama_flash_attn_type) p->flash_attention;
        cp.kv_unified          = true; // streams would cut a batch into several micro-batches
        cp.offload_kqv         = p->offload_kqv != 0;
        cp.embeddings          = true;
        cp.pooling_type        = pooling;
        cp.no_perf             = true;
        cp.abort_callback      = on_abort;
        cp.abort_callback_data = &c->abort;

        c->ctx = llama_init_from_model(m->model, cp);
        if (!c->ctx) {
            const std::string why = take_logged_error();
            throw std::runtime_error(why.empty() ? "llama.cpp cannot create it" : why);
        }
        c->mem = llama_get_memory(c->ctx);
        attach_threads(*c, p->threads, p->threads);

        hearth_embedder_traits & t = *traits;
        t.batch      = (int32_t) std::min(llama_n_batch(c->ctx), llama_n_ubatch(c->ctx));
        t.sequences  = (int32_t) p->sequences;
        t.vocabulary = m->n_vocab;
        t.pooling    = (int32_t) pooling;
        t.longest    = std::min(t.batch, (int32_t) llama_n_ctx_seq(c->ctx));
        if (const int32_t train = llama_model_n_ctx_train(m->model); train > 0) {
            t.longest = std::min(t.longest, train); // there may be no more positions than that
        }
        // llama.cpp has n_embd_out numbers for a text, and n_cls_out for a document
        t.width  = pooling == LLAMA_POOLING_TYPE_RANK ? (int32_t) llama_model_n_cls_out(m->model) : llama_model_n_embd_out(m->model);
        c->width = t.width;

        c->traits.batch      = t.batch;
        c->traits.sequences  = t.sequences;
        c->traits.vocabulary = t.vocabulary;
        make_room(*c);
        c->compute = std::make_unique<compute_thread>([c = c.get()] { return decode(*c); }, [] { return false; }, p->done);
        return c.release();
    });
}

int32_t hearth_embedding(hearth_context * c, int32_t seq, float * out) {
    return guard<int32_t>(nullptr, -1, [&]() -> int32_t {
        const float * v = llama_get_embeddings_seq(c->ctx, seq);
        if (!v) {
            return -1;
        }
        std::copy(v, v + c->width, out);
        return 0;
    });
}
