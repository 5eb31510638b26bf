//go:build ignore

// Loading a model, and what the file says about it.

#include "shim_forced.h"

#include "common.h"
#include "fit.h"
#include "json.h"

#include "llama-ext.h"
#include "llama-model.h"

#include <stdexcept>

using namespace hearth;

struct hearth_progress : counted<HEARTH_KIND_PROGRESS> {
    std::atomic<float> value{ 0 };
    std::atomic<bool>  cancelled{ false };
};

hearth_progress * hearth_progress_new(void) {
    return new (std::nothrow) hearth_progress;
}

float hearth_progress_get(const hearth_progress * p) {
    return p->value.load();
}

void hearth_progress_cancel(hearth_progress * p) {
    p->cancelled.store(true);
}

int32_t hearth_progress_cancelled(const hearth_progress * p) {
    return p->cancelled.load();
}

void hearth_progress_free(hearth_progress * p) {
    delete p;
}

static bool on_progress(float value, void * arg) {
    auto * p = (hearth_progress *) arg;
    p->value.store(value);
    return !p->cancelled.load();
}

static bool is_gpu(ggml_backend_dev_t dev) {
    const auto type = ggml_backend_dev_type(dev);
    return type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU;
}

// The named devices, without the CPU, which is always there.
static std::vector<ggml_backend_dev_t> find_devices(const std::string & names) {
    std::vector<ggml_backend_dev_t> found;
    for (const auto & name : string_split<std::string>(names, '\n')) {
        if (name.empty()) {
            continue;
        }
        ggml_backend_dev_t dev = ggml_backend_dev_by_name(name.c_str());
        if (!dev) {
            std::string known;
            for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
                known += (i ? ", " : "") + std::string(ggml_backend_dev_name(ggml_backend_dev_get(i)));
            }
            throw std::invalid_argument("no device \"" + name + "\" here; there is: " + known);
        }
        if (ggml_backend_dev_type(dev) != GGML_BACKEND_DEVICE_TYPE_CPU) {
            found.push_back(dev);
        }
    }
    return found;
}

static bool any_gpu() {
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        if (is_gpu(ggml_backend_dev_get(i))) {
            return true;
        }
    }
    return false;
}

static ggml_type kv_ggml_type(int32_t kv) {
    switch (kv) {
        case HEARTH_KV_Q8_0: return GGML_TYPE_Q8_0;
        case HEARTH_KV_Q4_0: return GGML_TYPE_Q4_0;
        default:             return GGML_TYPE_F16;
    }
}

// Lets llama.cpp choose layers and split so that model and context fit into the
// free memory of the devices. common_fit_params swaps the global logger, so one
// at a time; where nothing fits, all layers stay on the CPU.
static void fit(const char * path, const hearth_model_params & p, llama_model_params & mp, std::vector<float> & split,
                std::vector<llama_model_tensor_buft_override> & overrides) {
    static std::mutex           mutex;
    std::lock_guard<std::mutex> lock(mutex);

    auto cp         = llama_context_default_params();
    cp.n_ctx        = p.fit_cells;
    cp.n_seq_max    = std::max<uint32_t>(p.fit_sequences, 1);
    cp.n_batch      = p.fit_batch ? p.fit_batch : cp.n_batch;
    cp.n_ubatch     = p.fit_ubatch ? p.fit_ubatch : cp.n_ubatch;
    cp.n_outputs_max = cp.n_seq_max;
    cp.type_k       = kv_ggml_type(p.fit_kv_type);
    cp.type_v       = kv_ggml_type(p.fit_kv_type);
    cp.kv_unified   = p.fit_unified != 0;
    cp.offload_kqv  = p.fit_offload_kqv != 0;
    cp.swa_full     = p.fit_window_only == 0;

    std::vector<size_t> margins(llama_max_devices(), size_t(1) << 30);
    const auto status = common_fit_params(path, &mp, &cp, split.data(), overrides.data(), margins.data(), p.fit_cells,
                                          nullptr, GGML_LOG_LEVEL_ERROR);
    if (status != COMMON_PARAMS_FIT_STATUS_SUCCESS) {
        mp.n_gpu_layers = 0;
        overrides[0]    = { nullptr, nullptr };
    }
}

hearth_model * hearth_model_load(const char * path, const hearth_model_params * p, const char * devices, const float * split_in,
                                 int32_t n_split, hearth_progress * progress, char ** err) {
    return guard<hearth_model *>(err, nullptr, [&]() -> hearth_model * {
        take_logged_error();
        auto named = find_devices(devices);
        named.push_back(nullptr);

        if (n_split > (int32_t) llama_max_devices()) {
            throw std::invalid_argument("the tensor split has more shares than llama.cpp knows devices (" + std::to_string(llama_max_devices()) + ")");
        }
        std::vector<float> split(std::max<size_t>(llama_max_devices(), 1), 0.0f);
        std::copy(split_in, split_in + n_split, split.begin());
        std::vector<llama_model_tensor_buft_override> overrides(llama_max_tensor_buft_overrides() + 1, { nullptr, nullptr });

        auto mp       = llama_model_default_params();
        mp.devices    = p->any_device ? nullptr : named.data();
        mp.split_mode = (llama_split_mode) p->split_mode;
        mp.vocab_only = p->vocab_only != 0;
        mp.load_mode  = p->use_mmap ? (p->use_mlock ? LLAMA_LOAD_MODE_MMAP_MLOCK : LLAMA_LOAD_MODE_MMAP)
                                    : (p->use_mlock ? LLAMA_LOAD_MODE_MLOCK : LLAMA_LOAD_MODE_NONE);
        if (n_split > 0) {
            mp.tensor_split = split.data();
        }
        const bool has_gpu = p->any_device ? any_gpu() : named.size() > 1;
        if (p->gpu_layers == HEARTH_LAYERS_AUTO && has_gpu && !mp.vocab_only && n_split == 0) {
            fit(path, *p, mp, split, overrides);
            mp.tensor_split          = split.data();
            mp.tensor_buft_overrides = overrides[0].pattern ? overrides.data() : nullptr;
        } else if (p->gpu_layers >= 0) {
            mp.n_gpu_layers = p->gpu_layers;
        }
        if (progress) {
            mp.progress_callback           = on_progress;
            mp.progress_callback_user_data = progress;
        }

        auto m        = std::make_unique<hearth_model>();
        m->habits     = std::make_shared<writing_habits>();
        m->vocab_only = mp.vocab_only;
        m->model      = llama_model_load_from_file(path, mp);
        if (!m->model) {
            const std::string why = take_logged_error();
            throw std::runtime_error(why.empty() ? "llama.cpp cannot load it" : why);
        }
        m->vocab   = llama_model_get_vocab(m->model);
        m->n_vocab = llama_vocab_n_tokens(m->vocab);
        if (llama_vocab_type(m->vocab) == LLAMA_VOCAB_TYPE_NONE || m->n_vocab <= 0) {
            throw std::runtime_error("the file has no vocabulary");
        }
        const int32_t all = llama_model_n_layer(m->model) + 1;
        if (has_gpu && !mp.vocab_only) {
            m->n_gpu_layers = mp.n_gpu_layers < 0 ? all : std::min(mp.n_gpu_layers, all);
        }
        return m.release();
    });
}

void hearth_model_free(hearth_model * m) {
    delete m;
}

char * hearth_model_info(hearth_model * m, char ** err) {
    return guard<char *>(err, nullptr, [&] {
        char text[256] = { 0 };
        auto j = common_json::object();
        llama_model_meta_val_str(m->model, "general.architecture", text, sizeof(text));
        j["architecture"] = std::string(text);
        text[0] = 0;
        llama_model_desc(m->model, text, sizeof(text));
        j["description"]   = std::string(text);
        j["quantization"]  = llama_ftype_name(llama_model_ftype(m->model));
        j["params"]        = (uint64_t) llama_model_n_params(m->model);
        j["tensor_bytes"]  = (uint64_t) llama_model_size(m->model);
        j["train_context"] = (int64_t) llama_model_n_ctx_train(m->model);
        j["layers"]        = (int64_t) llama_model_n_layer(m->model);
        j["vocabulary"]    = (int64_t) m->n_vocab;
        j["gpu_layers"]    = (int64_t) m->n_gpu_layers;
        j["chat_template"] = llama_model_chat_template(m->model, nullptr) != nullptr;
        j["recurrent"]     = llama_model_is_recurrent(m->model);
        j["hybrid"]        = llama_model_is_hybrid(m->model);
        j["window"]        = (int64_t) llama_model_n_swa(m->model);
        // what does not look backwards alone cannot continue a text
        j["embeds_only"]   = !llama_model_is_diffusion(m->model) &&
                             (!m->model->hparams.causal_attn || (llama_model_has_encoder(m->model) && !llama_model_has_decoder(m->model)));
        j["has_decoder"]   = llama_model_has_decoder(m->model);
        j["has_encoder"]   = llama_model_has_encoder(m->model);
        // how a query and a document are put together for a model that scores
        const llama_vocab * vocab     = llama_model_get_vocab(m->model);
        const char *        rank_text = llama_model_chat_template(m->model, "rerank");
        j["rank_template"] = std::string(rank_text ? rank_text : "");
        j["bos"]           = (int64_t) (llama_vocab_get_add_bos(vocab) ? llama_vocab_bos(vocab) : LLAMA_TOKEN_NULL);
        j["sep"]           = (int64_t) (llama_vocab_get_add_sep(vocab) ? llama_vocab_sep(vocab) : LLAMA_TOKEN_NULL);
        j["eos"]           = (int64_t) (llama_vocab_get_add_eos(vocab) ? llama_vocab_eos(vocab) : LLAMA_TOKEN_NULL);
        auto devices = common_json::array();
        if (m->n_gpu_layers > 0) {
            for (int32_t i = 0; i < llama_model_n_devices(m->model); i++) {
                devices.push_back(ggml_backend_dev_name(llama_model_get_device(m->model, i)));
            }
        }
        if (m->n_gpu_layers < llama_model_n_layer(m->model) + 1) {
            devices.push_back("CPU");
        }
        j["devices"] = devices;
        return copy_string(j.dump_safe());
    });
}

char * hearth_model_meta(hearth_model * m, const char * key) {
    return guard<char *>(nullptr, nullptr, [&]() -> char * {
        char      probe[2];
        const int n = llama_model_meta_val_str(m->model, key, probe, sizeof(probe));
        if (n < 0) {
            return nullptr;
        }
        std::string value(n + 1, 0);
        llama_model_meta_val_str(m->model, key, &value[0], value.size());
        value.resize(n);
        return copy_string(value);
    });
}
