//go:build ignore

// LoRA adapters: loading them beside a model, and which of them a context
// computes with.

#include "shim_context.h"

#include "llama-adapter.h"

#include <stdexcept>

using namespace hearth;

struct hearth_adapter : counted<HEARTH_KIND_ADAPTER> {
    llama_adapter_lora * lora = nullptr;

    ~hearth_adapter() { llama_adapter_lora_free(lora); }
};

hearth_adapter * hearth_adapter_load(hearth_model * m, const char * path, char ** err) {
    return guard<hearth_adapter *>(err, nullptr, [&] {
        take_logged_error();
        if (m->vocab_only) {
            throw std::invalid_argument("the model was loaded without its weights");
        }
        auto a  = std::make_unique<hearth_adapter>();
        a->lora = llama_adapter_lora_init(m->model, path);
        if (!a->lora) {
            const std::string why = take_logged_error();
            throw std::runtime_error(why.empty() ? "llama.cpp cannot load it" : why);
        }
        if (llama_adapter_get_alora_n_invocation_tokens(a->lora) > 0) {
            throw std::invalid_argument("it is an activated LoRA (aLoRA), which is not supported");
        }
        return a.release();
    });
}

void hearth_adapter_free(hearth_adapter * a) {
    delete a;
}

int64_t hearth_adapter_bytes(const hearth_adapter * a) {
    int64_t n = 0;
    for (const auto & buf : a->lora->bufs) {
        n += (int64_t) ggml_backend_buffer_get_size(buf.get());
    }
    return n;
}

int32_t hearth_context_adapt(hearth_context * c, int32_t n, hearth_adapter * const * adapters, const float * scales, char ** err) {
    return guard<int32_t>(err, -1, [&] {
        c->compute->rest();
        c->loras.clear();
        c->scales.assign(scales, scales + n);
        for (int32_t i = 0; i < n; i++) {
            c->loras.push_back(adapters[i]->lora);
        }
        llama_set_adapters_lora(c->ctx, c->loras.data(), c->loras.size(), c->scales.data());
        return 0;
    });
}
