//go:build ignore

// What belongs to the process: backends, devices, log, counting of handles.

#include "shim_internal.h"

#include "common.h"
#include "json.h"
#include "log.h"

#include "ggml-rpc.h"

#include <pthread.h>
#include <stdexcept>

namespace hearth {

static thread_local std::string logged_error;

static hearth_log_fn log_sink  = nullptr;
static int32_t       log_level = GGML_LOG_LEVEL_ERROR;

static void on_log(ggml_log_level level, const char * text, void *) {
    if (level == GGML_LOG_LEVEL_ERROR) {
        try {
            logged_error = text;
        } catch (...) {
            // out of memory: the text is lost, the failure itself is still reported
        }
    }
    if (log_sink && level >= log_level && level <= GGML_LOG_LEVEL_ERROR) {
        log_sink((int32_t) level, text);
    }
}

char * copy_string(const std::string & s) {
    char * out = (char *) malloc(s.size() + 1);
    if (out) {
        memcpy(out, s.data(), s.size());
        out[s.size()] = 0;
    }
    return out;
}

void set_error(char ** err, const std::string & text) {
    if (err && !*err) {
        *err = copy_string(text);
    }
}

std::string take_logged_error() {
    std::string text;
    text.swap(logged_error);
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
        text.pop_back();
    }
    // "llama_model_load: error loading model: …": the function's name tells a user nothing
    const size_t colon = text.find(": ");
    if (colon != std::string::npos && text.find(' ') > colon) {
        text.erase(0, colon + 2);
    }
    return text;
}

namespace {
struct deep_call {
    const std::function<void()> * f;
    std::exception_ptr            thrown;
};

void * deep_main(void * arg) {
    auto * call = (deep_call *) arg;
    try {
        (*call->f)();
    } catch (...) {
        call->thrown = std::current_exception();
    }
    return nullptr;
}
} // namespace

// By how much frames grow where the address sanitizer keeps its red zones in them.
#ifdef __SANITIZE_ADDRESS__
static constexpr size_t FRAME_GROWTH = 4;
#else
static constexpr size_t FRAME_GROWTH = 1;
#endif

void run_deep(size_t stack, const std::function<void()> & f) {
    stack *= FRAME_GROWTH;
    deep_call      call{ &f, nullptr };
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    int rc = pthread_attr_setstacksize(&attr, stack);
    pthread_t thread;
    if (rc == 0) {
        rc = pthread_create(&thread, &attr, deep_main, &call);
    }
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        throw std::runtime_error("cannot start a thread with a stack of " + std::to_string(stack >> 20) + " MiB");
    }
    pthread_join(thread, nullptr);
    if (call.thrown) {
        std::rethrow_exception(call.thrown);
    }
}

std::atomic<int64_t> & live(int kind) {
    static std::atomic<int64_t> counts[HEARTH_KINDS];
    return counts[kind];
}

} // namespace hearth

using namespace hearth;

void hearth_string_free(char * s) {
    free(s);
}

int64_t hearth_live(int32_t kind) {
    return kind >= 0 && kind < HEARTH_KINDS ? live(kind).load() : -1;
}

int32_t hearth_init(const char * lib_dir, hearth_log_fn log, int32_t min_level, char ** err) {
    return guard<int32_t>(err, -1, [&] {
        log_sink  = log;
        log_level = min_level;
        llama_log_set(on_log, nullptr);
        common_log_set_verbosity_thold(-1);
        llama_backend_init();
        ggml_backend_load_all_from_path(lib_dir);
        if (!ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)) {
            throw std::runtime_error("no CPU backend (libggml-cpu*.so) in " + std::string(lib_dir));
        }
        return 0;
    });
}

char * hearth_devices(char ** err) {
    return guard<char *>(err, nullptr, [&] {
        auto list = common_json::array();
        for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
            ggml_backend_dev_t dev  = ggml_backend_dev_get(i);
            const char *       kind = "accel";
            switch (ggml_backend_dev_type(dev)) {
                case GGML_BACKEND_DEVICE_TYPE_CPU:  kind = "cpu";  break;
                case GGML_BACKEND_DEVICE_TYPE_GPU:  kind = "gpu";  break;
                case GGML_BACKEND_DEVICE_TYPE_IGPU: kind = "igpu"; break;
                default: break;
            }
            size_t free = 0, total = 0;
            ggml_backend_dev_memory(dev, &free, &total);
            auto d           = common_json::object();
            d["name"]        = ggml_backend_dev_name(dev);
            d["description"] = ggml_backend_dev_description(dev);
            d["kind"]        = kind;
            d["free"]        = (uint64_t) free;
            d["total"]       = (uint64_t) total;
            list.push_back(d);
        }
        return copy_string(list.dump_safe());
    });
}

void hearth_rpc_version(int32_t * major, int32_t * minor) {
    *major = RPC_PROTO_MAJOR_VERSION;
    *minor = RPC_PROTO_MINOR_VERSION;
}

int32_t hearth_add_rpc(const char * endpoint, char ** err) {
    return guard<int32_t>(err, -1, [&] {
        ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
        if (!rpc) {
            throw std::runtime_error("the RPC backend (libggml-rpc.so) is not installed");
        }
        auto add = (decltype(ggml_backend_rpc_add_server) *) ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_add_server");
        if (!add) {
            throw std::runtime_error("the RPC backend has no ggml_backend_rpc_add_server");
        }
        ggml_backend_reg_t reg = add(endpoint);
        if (!reg) {
            throw std::runtime_error(std::string("the RPC server ") + endpoint + " has no device");
        }
        ggml_backend_register(reg);
        return 0;
    });
}
