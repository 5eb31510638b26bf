//go:build ignore

// The pool of sampling threads.

#include "shim_context.h"

namespace hearth {

sample_pool::sample_pool(int n_threads) : scratches(std::max(n_threads, 1)) {
    for (int id = 1; id < n_threads; id++) {
        threads.emplace_back([this, id] { worker(id); });
    }
}

sample_pool::~sample_pool() {
    {
        std::lock_guard<std::mutex> lock(mutex);
        stop = true;
    }
    wake.notify_all();
    for (auto & t : threads) {
        t.join();
    }
}

void sample_pool::drain(const std::function<void(int, scratch &)> & f, scratch & s) {
    for (int i = next.fetch_add(1); i < n_rows; i = next.fetch_add(1)) {
        f(i, s);
    }
}

void sample_pool::worker(int id) {
    uint64_t seen = 0;
    while (true) {
        std::unique_lock<std::mutex> lock(mutex);
        wake.wait(lock, [&] { return stop || generation != seen; });
        if (stop) {
            return;
        }
        seen = generation;
        lock.unlock();
        drain(*job, scratches[id]);
        lock.lock();
        if (--busy == 0) {
            done.notify_one();
        }
    }
}

void sample_pool::run(int n, bool parallel, const std::function<void(int, scratch &)> & f) {
    if (!parallel || n < 2 || threads.empty()) {
        for (int i = 0; i < n; i++) {
            f(i, scratches[0]);
        }
        return;
    }
    {
        std::lock_guard<std::mutex> lock(mutex);
        job    = &f;
        n_rows = n;
        busy   = (int) threads.size();
        next.store(0);
        generation++;
    }
    wake.notify_all();
    drain(f, scratches[0]);
    std::unique_lock<std::mutex> lock(mutex);
    done.wait(lock, [&] { return busy == 0; });
}

} // namespace hearth
