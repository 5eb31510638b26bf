//go:build ignore

// The thread that computes batches.

#include "shim_context.h"

#include <pthread.h>
#include <unistd.h>

namespace hearth {

compute_thread::compute_thread(std::function<int32_t()> f, int done) : f(std::move(f)), done(done), thread([this] { run(); }) {}

compute_thread::~compute_thread() {
    {
        std::lock_guard<std::mutex> lock(mutex);
        state = STOP;
    }
    changed.notify_all();
    thread.join();
}

void compute_thread::start() {
    {
        std::lock_guard<std::mutex> lock(mutex);
        state = WANTED;
    }
    changed.notify_all();
}

int32_t compute_thread::result() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return state != WANTED; });
    return code;
}

void compute_thread::run() {
    pthread_setname_np(pthread_self(), "hearth-compute");
    std::unique_lock<std::mutex> lock(mutex);
    while (true) {
        changed.wait(lock, [&] { return state != IDLE; });
        if (state == STOP) {
            return;
        }
        lock.unlock();
        const int32_t rc = f();
        lock.lock();
        code = rc;
        if (state == WANTED) {
            state = IDLE;
        }
        lock.unlock();
        changed.notify_all();
        // Whoever sleeps on it finds the result there. A write that fails would
        // only mean that nobody does.
        const uint64_t one = 1;
        (void) !write(done, &one, sizeof one);
        lock.lock();
    }
}

} // namespace hearth
