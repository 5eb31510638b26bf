// The context and its pool of sampling threads, for the shim's C++ files.
#pragma once

#include "shim_internal.h"

#include "ggml-cpu.h"

#include <condition_variable>
#include <thread>

namespace hearth {

// What one thread needs to sample a row; kept, so that a row allocates nothing.
struct scratch {
    std::vector<float>            logits;
    std::vector<llama_token_data> cand;
    std::vector<llama_token_data> keep;
};

// A few threads that sleep between steps. run calls f(row, scratch) for every
// row, on the caller's thread and on the pool's, and returns when all are done.
class sample_pool {
  public:
    explicit sample_pool(int n_threads);
    ~sample_pool();
    void run(int n_rows, bool parallel, const std::function<void(int, scratch &)> & f);

  private:
    void worker(int id);
    void drain(const std::function<void(int, scratch &)> & f, scratch & s);

    std::vector<scratch>     scratches; // [0] is the caller's
    std::vector<std::thread> threads;
    std::mutex               mutex;
    std::condition_variable  wake, done;
    const std::function<void(int, scratch &)> * job = nullptr;
    std::atomic<int> next{ 0 };
    int      n_rows     = 0;
    int      busy       = 0;
    uint64_t generation = 0;
    bool     stop       = false;
};

// A thread that computes one batch at a time. The goroutine that wants the batch
// is parked meanwhile: a thread of Go's that waits inside C keeps its runtime's
// monitor awake, which takes the cores from those that compute.
class compute_thread {
  public:
    // f is called on the thread for each start; done is an eventfd of the caller.
    compute_thread(std::function<int32_t()> f, int done);
    ~compute_thread();
    void    start();  // the batch before must be done
    int32_t result(); // waits until the batch is done

  private:
    void run();

    std::function<int32_t()> f;
    int                      done;
    std::mutex               mutex;
    std::condition_variable  changed;
    enum { IDLE, WANTED, STOP } state = IDLE;
    int32_t                  code = 0;
    std::thread              thread; // the last member: it starts when the others are there
};

} // namespace hearth

struct hearth_context : hearth::counted<HEARTH_KIND_CONTEXT> {
    hearth_model *  model = nullptr;
    llama_context * ctx   = nullptr;
    llama_memory_t  mem   = nullptr;
    hearth_traits   traits{};

    ggml_threadpool *                 threadpool       = nullptr;
    ggml_threadpool *                 threadpool_batch = nullptr;
    decltype(ggml_threadpool_free) *  free_threadpool  = nullptr;

    std::atomic<bool> abort{ false };
    std::string       error;

    // The batch in hand, copied: it is read on another thread than it came from.
    int32_t                     n_tokens = 0;
    std::vector<int32_t>        token, pos, seq;
    std::vector<int8_t>         output;
    std::vector<int32_t>        n_seq_id; // all ones
    std::vector<llama_seq_id *> seq_id;   // into seq
    std::vector<const float *>  rows;

    bool embeds = false; // made by hearth_embedder_new: each batch begins with an empty memory

    std::unique_ptr<hearth::sample_pool>    pool;
    std::unique_ptr<hearth::compute_thread> compute;

    ~hearth_context();
};

namespace hearth {

// Shared by the two kinds of context.
void      attach_threads(hearth_context & c, int32_t n, int32_t n_batch);
bool      on_abort(void * flag); // an std::atomic<bool>
int32_t   decode(hearth_context & c) noexcept; // computes the batch in hand

} // namespace hearth
