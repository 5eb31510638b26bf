// The context and its pool of sampling threads, for the shim's C++ files.
#pragma once

#include "shim_aside.h"
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

// A thread that computes one batch at a time and draws from it. The goroutine
// that wants the tokens is parked meanwhile: a thread of Go's that waits inside C
// keeps its runtime's monitor awake, which takes the cores from those that
// compute.
//
// Where draw made the next batch from what it drew, that one is computed at once,
// while the caller still handles the tokens; the draw from it waits for the order.
class compute_thread {
  public:
    // compute computes the batch in hand; draw carries out the order, and is true
    // if it made a next batch. Both are called on the thread. done is an eventfd
    // of the caller.
    compute_thread(std::function<int32_t()> compute, std::function<bool()> draw, int done);
    ~compute_thread();

    // Has the batch in hand computed, unless batch is false, and then draws. The
    // start before must be done. order is called first, and may set what draw
    // reads, and with a batch, which is only allowed at rest, also the batch.
    void    start(bool batch, const std::function<void()> & order);
    // The code of compute, when the start is done. ahead: a next batch is being
    // computed, and the next start must be one without a batch.
    int32_t result(bool & ahead);
    void    rest(); // waits until nothing is being computed

  private:
    void run();

    std::function<int32_t()> compute;
    std::function<bool()>    draw;
    int                      done;
    std::mutex               mutex;
    std::condition_variable  changed;
    bool                     wanted     = false; // a start is not done
    bool                     has_batch  = false; // with a batch
    bool                     computing  = false;
    bool                     went_ahead = false;
    bool                     stop       = false;
    int32_t                  code       = 0;
    std::thread              thread; // the last member: it starts when the others are there
};

// Which rows of the batch in hand to draw from, and what came of it.
struct drawing {
    std::vector<int32_t>          index;
    std::vector<hearth_sampler *> samplers; // rows of one that follow each other: a guess each
    std::vector<int32_t>          chains;   // where a further sampler's rows begin
    bool                          more = false; // go ahead if nothing speaks against it

    bool                 failed = false; // a row had no logits: nothing was drawn
    std::vector<int32_t> token, status, top_token, top_n;
    std::vector<int32_t> next, n_sure, n_likely; // what is foreseen behind a row's token
    std::vector<float>   logprob, top_logprob;
    std::vector<const float *> rows;

    void make_room(size_t n); // for as many rows
};

} // namespace hearth

struct hearth_context : hearth::counted<HEARTH_KIND_CONTEXT> {
    hearth_model *  model = nullptr;
    llama_context * ctx   = nullptr;
    llama_memory_t  mem   = nullptr;
    hearth_traits   traits{};

    llama_context *                   other = nullptr; // with the cells laid out the other way; see shim_layout.cpp
    llama_context_params              params{};
    std::vector<llama_adapter_lora *> loras; // that are set
    std::vector<float>                scales;
    llama_seq_id                      staged = -1; // whose cells the pool holds in its sequence 0; see load_run
    bool                              staged_more = false; // and more of them than its stream

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

    hearth::drawing  drawing;
    const uint32_t * hold = nullptr; // not 0: do not go ahead

    int32_t width = 0; // numbers for each input of a context that embeds

    int32_t                        done = -1; // an eventfd of the caller
    std::unique_ptr<hearth::aside> beside;    // made when it is first wanted

    bool embeds = false; // made by hearth_embedder_new: each batch begins with an empty memory

    std::unique_ptr<hearth::sample_pool>    pool;
    std::unique_ptr<hearth::compute_thread> compute;

    ~hearth_context();
};

namespace hearth {

// Zeroes size bytes of private, anonymous memory, as malloc's is, by returning
// whole pages to the kernel. False: it did not take them, and nothing changed.
bool give_back(char * data, size_t size);

// Shared by the two kinds of context.
void      attach_threads(hearth_context & c, int32_t n, int32_t n_batch);
bool      on_abort(void * flag); // an std::atomic<bool>
void      make_room(hearth_context & c); // for batches of traits.batch tokens
int32_t   decode(hearth_context & c) noexcept; // computes the batch in hand
bool      copies_cells(const hearth_context & c); // from tensor to tensor, in each way below
bool      copies_aside(const hearth_context & c); // copy_cells and add_cells
void      copy_prefix(hearth_context & c, llama_seq_id src, llama_seq_id dst, llama_pos n); // dst loses what it had
// Gives sequence dst of to, which loses what it had, what sequence src of from holds
// at the positions [p0, p1), where copies_aside is true of both.
void      copy_cells(llama_memory_t from, llama_seq_id src, llama_memory_t to, llama_seq_id dst, llama_pos p0, llama_pos p1);
// Adds the cells [p0, p1) of sequence src of another memory, which holds [0, p0), too,
// to sequence dst, which ends at p0.
void      add_cells(hearth_context & c, llama_memory_t from, llama_seq_id src, llama_seq_id dst, llama_pos p0, llama_pos p1);
void      give_back(hearth_context & c, llama_seq_id seq); // the memory of its cells, which are about to be removed
// The bytes of a run of cells in the form of shim_state.cpp, where copies_cells is true.
void      write_cells(hearth_context & c, llama_seq_id seq, llama_pos p0, llama_pos p1, const std::function<void(const void *, size_t)> & put);
// The cells [p0, p1) of a stream as those of sequence 0 of the pool that is not in
// use, or back.
void      stage(hearth_context & c, llama_seq_id seq, llama_pos p0, llama_pos p1);
void      unstage(hearth_context & c, llama_seq_id seq, llama_pos p1);
void      end_staging(hearth_context & c); // before anything else happens to a sequence
int32_t   attention_heads(const hearth_model & m);
bool      draw(hearth_context & c) noexcept; // carries out c.drawing; true: the batch in hand is the next one

// By way of which sequence of a pool cells are saved and added, as llama.cpp replaces what
// one holds: the first id behind those that traits tells of. It is empty before and after.
llama_seq_id transit(const hearth_context & c);

// Runs of cells as bytes (shim_state.cpp), where there is such an id.
bool      can_keep_runs(const hearth_context & c);
int64_t   save_run(hearth_context & c, llama_seq_id seq, int32_t p0, int32_t p1, uint8_t * buf, size_t cap);
void      load_run(hearth_context & c, llama_seq_id seq, int32_t p0, int32_t p1, const uint8_t * data, size_t size, bool more);

} // namespace hearth
