//go:build ignore

// Prompts computed beside the steps.
//
// A chunk of a prompt is computed quickest in a batch of hundreds of tokens, which
// takes a second, and those who decode shall not wait for it. So it has a context
// of its own, whose graph is computed in pieces (ggml asks before each node whether
// somebody wants to look at it): after a slice of time the thread stands still, the
// other context computes a step, and the graph goes on where it stopped. Cells are
// copied in before and out afterwards, from tensor to tensor.

#include "shim_aside.h"
#include "shim_context.h"

#include <pthread.h>
#include <stdexcept>
#include <unistd.h>

using namespace hearth;

namespace {

// What a node takes to compute, in about operations; only the ratio between nodes
// matters, and that none is nothing.
double effort_of(const ggml_tensor * t) {
    const auto all = (double) ggml_nelements(t);
    switch (t->op) {
        case GGML_OP_NONE:
        case GGML_OP_VIEW:
        case GGML_OP_RESHAPE:
        case GGML_OP_PERMUTE:
        case GGML_OP_TRANSPOSE:      return 1;
        case GGML_OP_MUL_MAT:
        case GGML_OP_MUL_MAT_ID:     return 2 * all * (double) t->src[0]->ne[0];
        case GGML_OP_FLASH_ATTN_EXT: return 4 * all * (double) t->src[1]->ne[1];
        default:                     return 16 * all;
    }
}

// How much is computed before there is a measure.
constexpr double first_effort = 2e8;

// For how long what was measured counts, in nanoseconds.
constexpr double remembered = 1e9;

} // namespace

aside::aside(hearth_context & c, int32_t done) : c(c), done(done) {
    auto cp                = c.params;
    cp.n_ctx               = (uint32_t) c.traits.aside;
    cp.n_batch             = (uint32_t) c.traits.ubatch;
    cp.n_ubatch            = (uint32_t) c.traits.ubatch;
    cp.kv_unified          = true;
    cp.abort_callback_data = &abort;
    cp.cb_eval             = on_node;
    cp.cb_eval_user_data   = this;
    ctx                    = llama_init_from_model(c.model->model, cp);
    if (!ctx) {
        const std::string why = take_logged_error();
        throw std::runtime_error(why.empty() ? "llama.cpp cannot create it" : why);
    }
    llama_attach_threadpool(ctx, c.threadpool, c.threadpool_batch);
    thread = std::thread([this] { run(); });
}

aside::~aside() {
    {
        std::unique_lock<std::mutex> lock(mutex);
        give_up(lock);
        stop = true;
    }
    changed.notify_all();
    thread.join();
    llama_free(ctx);
}

size_t aside::find(llama_seq_id s) const {
    size_t k = 0;
    while (k < parts.size() && parts[k].seq != s) {
        k++;
    }
    return k;
}

void aside::begin(int32_t n, const int32_t * tokens, const int32_t * positions, const int32_t * sequences, int32_t n_shares, const hearth_move * shares) {
    std::unique_lock<std::mutex> lock(mutex);
    if (at != idle) {
        throw std::logic_error("something is computed aside");
    }
    llama_memory_t mem = llama_get_memory(ctx);
    llama_memory_clear(mem, false);
    parts.clear();
    token.assign(tokens, tokens + n);
    pos.assign(positions, positions + n);
    seq.resize(n);
    for (int32_t i = 0; i < n; i++) {
        const size_t k = find(sequences[i]);
        if (k == parts.size()) {
            parts.push_back({ sequences[i], positions[i], positions[i] });
        }
        parts[k].p1 = positions[i] + 1;
        seq[i]      = (int32_t) k;
    }
    output.assign(n, 0);
    n_seq_id.assign(n, 1);
    seq_id.resize(n);
    for (int32_t i = 0; i < n; i++) {
        seq_id[i] = &seq[i];
    }
    try {
        for (size_t k = 0; k < parts.size(); k++) {
            const hearth_move * share = nullptr;
            for (int32_t i = 0; i < n_shares; i++) {
                share = shares[i].from == parts[k].seq && find(shares[i].with) < k ? &shares[i] : share;
            }
            // What is copied takes the place of all that the sequence has.
            copy_cells(c.mem, parts[k].seq, mem, (llama_seq_id) k, share ? share->shared : 0, parts[k].p0);
            if (share) {
                llama_memory_seq_cp(mem, (llama_seq_id) find(share->with), (llama_seq_id) k, 0, share->shared);
            }
            if (llama_memory_seq_pos_max(mem, (llama_seq_id) k) != parts[k].p0 - 1) {
                throw std::runtime_error("not all cells arrived");
            }
        }
        llama_set_adapters_lora(ctx, c.loras.data(), c.loras.size(), c.scales.data());
    } catch (...) {
        llama_memory_clear(mem, true);
        throw;
    }
    rc = 0;
    at = ready;
}

void aside::advance(int64_t ns) {
    {
        std::lock_guard<std::mutex> lock(mutex);
        from   = clock::now();
        until  = from + std::chrono::nanoseconds(ns);
        effort = 0;
        if (at == ready || at == paused) {
            at = computing;
        }
    }
    changed.notify_all();
}

int32_t aside::result(bool & is_finished) {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return at != computing; });
    is_finished = at == finished;
    return rc;
}

void aside::give_up(std::unique_lock<std::mutex> & lock) {
    changed.wait(lock, [&] { return at != computing; });
    if (at == paused) {
        abort.store(true);
        at = computing;
        changed.notify_all();
        changed.wait(lock, [&] { return at == finished; });
        abort.store(false);
        rc = 2; // llama_decode's for this
    }
}

void aside::end(int32_t n, const int32_t * from, const int32_t * to) {
    std::unique_lock<std::mutex> lock(mutex);
    give_up(lock);
    const bool whole = at == finished && rc == 0;
    llama_memory_t mem = llama_get_memory(ctx);
    struct emptied {
        llama_memory_t mem;
        ~emptied() { llama_memory_clear(mem, true); } // what it took goes back to the kernel
    } clean{ mem };
    at = idle;
    if (n > 0 && !whole) {
        throw std::logic_error("it was not computed");
    }
    for (int32_t i = 0; i < n; i++) {
        const size_t k = find(from[i]);
        if (k == parts.size() || llama_memory_seq_pos_max(c.mem, to[i]) != parts[k].p0 - 1) {
            throw std::invalid_argument("the sequence is not the one that was computed");
        }
        add_cells(c, mem, (llama_seq_id) k, to[i], parts[k].p0, parts[k].p1);
    }
}

void aside::run() {
    pthread_setname_np(pthread_self(), "hearth-aside");
    std::unique_lock<std::mutex> lock(mutex);
    while (true) {
        changed.wait(lock, [&] { return at == computing || stop; });
        if (stop) {
            return;
        }
        lock.unlock();
        int32_t code = HEARTH_DECODE_EXCEPTION;
        try {
            code = llama_decode(ctx, { (int32_t) token.size(), token.data(), nullptr, pos.data(), n_seq_id.data(), seq_id.data(), output.data() });
            llama_synchronize(ctx);
        } catch (...) {
        }
        take_logged_error();
        lock.lock();
        rc = code;
        at = finished;
        lock.unlock();
        changed.notify_all();
        if (!abort.load()) {
            signal();
        }
        lock.lock();
    }
}

// Wakes who waits for the slice to end.
void aside::signal() {
    const uint64_t one = 1;
    (void) !write(done, &one, sizeof one); // if it fails, result waits
}

bool aside::on_node(ggml_tensor * t, bool ask, void * self) {
    return ((aside *) self)->on_node(t, ask);
}

// ggml computes up to the node for which the answer to ask is true, and then calls
// again; where that is false it computes no further.
bool aside::on_node(const ggml_tensor * t, bool ask) {
    using ns = std::chrono::duration<double, std::nano>;
    if (ask) {
        effort += effort_of(t);
        return spent > 0 ? effort >= worked / spent * ns(until - from).count() : effort >= first_effort;
    }
    const auto now = clock::now();
    spent += std::max(ns(now - from).count(), 1.0);
    worked += effort;
    if (spent > remembered) { // the older, the less it counts
        worked *= remembered / 2 / spent;
        spent = remembered / 2;
    }
    from   = now;
    effort = 0;
    if (ns(until - now).count() > 2e6) {
        return !abort.load(); // quicker than expected: a little more
    }
    std::unique_lock<std::mutex> lock(mutex);
    at = paused;
    lock.unlock();
    changed.notify_all();
    signal();
    lock.lock();
    changed.wait(lock, [&] { return at == computing; });
    return !abort.load();
}

int32_t hearth_aside_begin(hearth_context * c, int32_t n, const int32_t * token, const int32_t * pos, const int32_t * seq,
                           int32_t n_shares, const hearth_move * shares, char ** err) {
    return guard<int32_t>(err, -1, [&] {
        c->compute->rest();
        end_staging(*c);
        if (!c->beside) {
            c->beside = std::make_unique<aside>(*c, c->done);
        }
        c->beside->begin(n, token, pos, seq, n_shares, shares);
        return 0;
    });
}

void hearth_aside_start(hearth_context * c, int64_t ns) {
    c->compute->rest();
    c->beside->advance(ns);
}

int32_t hearth_aside_result(hearth_context * c, int32_t * finished) {
    bool          is   = false;
    const int32_t code = c->beside->result(is);
    *finished          = is;
    return code;
}

int32_t hearth_aside_end(hearth_context * c, int32_t n, const int32_t * from, const int32_t * to, char ** err) {
    return guard<int32_t>(err, -1, [&] {
        c->compute->rest();
        end_staging(*c);
        if (c->beside) {
            c->beside->end(n, from, to);
        }
        return 0;
    });
}
