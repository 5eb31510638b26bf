//go:build ignore

// The threads that compute, and the one that has batches computed and draws from them.

#include "shim_context.h"

#include <pthread.h>
#include <stdexcept>
#include <unistd.h>

namespace hearth {

compute_thread::compute_thread(std::function<int32_t()> compute, std::function<bool()> draw, int done) :
    compute(std::move(compute)), draw(std::move(draw)), done(done), thread([this] { run(); }) {}

compute_thread::~compute_thread() {
    {
        std::lock_guard<std::mutex> lock(mutex);
        stop = true;
    }
    changed.notify_all();
    thread.join();
}

void compute_thread::start(bool batch, const std::function<void()> & order) {
    {
        std::lock_guard<std::mutex> lock(mutex);
        order();
        has_batch = batch;
        computing = computing || batch;
        wanted    = true;
    }
    changed.notify_all();
}

int32_t compute_thread::result(bool & ahead) {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return !wanted; });
    ahead = went_ahead;
    return code;
}

void compute_thread::rest() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return !computing; });
}

void compute_thread::run() {
    pthread_setname_np(pthread_self(), "hearth-compute");
    std::unique_lock<std::mutex> lock(mutex);
    bool    ahead = false; // the batch that the last draw made is computed: rc tells how well
    int32_t rc    = 0;
    while (true) {
        changed.wait(lock, [&] { return wanted || stop; });
        if (stop) {
            return;
        }
        if (has_batch || !ahead) {
            rc = 0;
        }
        const bool batch = has_batch;
        lock.unlock();
        if (batch) {
            rc = compute();
        }
        ahead = rc == 0 && draw();
        lock.lock();
        code       = rc;
        went_ahead = ahead;
        computing  = ahead;
        has_batch  = false;
        wanted     = false;
        lock.unlock();
        changed.notify_all();
        // Whoever sleeps on it finds the result there. A write that fails would
        // only mean that nobody does.
        const uint64_t one = 1;
        (void) !write(done, &one, sizeof one);
        if (ahead) {
            rc = compute();
        }
        lock.lock();
        if (ahead) {
            computing = false;
            changed.notify_all();
        }
    }
}

} // namespace hearth

// ggml's own pool of threads, made once: without OpenMP a context that has none
// starts threads anew for every graph.
void hearth::attach_threads(hearth_context & c, int32_t n, int32_t n_batch) {
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (!cpu) {
        throw std::runtime_error("no CPU backend is loaded");
    }
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(cpu);
    auto make = (decltype(ggml_threadpool_new) *) ggml_backend_reg_get_proc_address(reg, "ggml_threadpool_new");
    c.free_threadpool = (decltype(ggml_threadpool_free) *) ggml_backend_reg_get_proc_address(reg, "ggml_threadpool_free");
    if (!make || !c.free_threadpool) {
        throw std::runtime_error("the CPU backend has no thread pool");
    }
    ggml_threadpool_params p;
    if (n_batch != n) {
        ggml_threadpool_params_init(&p, n_batch);
        c.threadpool_batch = make(&p);
        if (!c.threadpool_batch) {
            throw std::runtime_error("cannot start " + std::to_string(n_batch) + " threads");
        }
    }
    ggml_threadpool_params_init(&p, n);
    p.paused     = n_batch != n; // the other pool runs first
    c.threadpool = make(&p);
    if (!c.threadpool) {
        throw std::runtime_error("cannot start " + std::to_string(n) + " threads");
    }
    llama_attach_threadpool(c.ctx, c.threadpool, c.threadpool_batch);
}
