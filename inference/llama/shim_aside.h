// Prompts computed beside the steps, for the shim's C++ files.
#pragma once

#include "shim_internal.h"

#include "ggml.h"

#include <chrono>
#include <condition_variable>
#include <thread>

namespace hearth {

// A second llama_context that computes one batch at a time on a thread of its own,
// which stands still in the middle of the graph whenever its slice of time is over.
// Its compute threads are those of the context that it belongs to, so only one of
// both may compute at a time.
class aside {
  public:
    // params, sequences and threads are those of c; done is an eventfd of the caller.
    aside(hearth_context & c, int32_t done);
    ~aside();

    // Takes on a batch of tokens that go on from the ends of their sequences, whose
    // cells are copied.
    void    begin(int32_t n, const int32_t * token, const int32_t * pos, const int32_t * seq, int32_t n_shares, const hearth_move * shares);
    void    advance(int64_t ns);     // starts a slice; done is written when it is over
    int32_t result(bool & finished); // waits for it: 0, or the code of llama_decode
    // Gives what was computed of from[i] to to[i], which ends where that began; what
    // was not finished is given up. The memory is empty afterwards.
    void    end(int32_t n, const int32_t * from, const int32_t * to);

  private:
    using clock = std::chrono::steady_clock;
    enum stage { idle, ready, computing, paused, finished };

    struct part {
        llama_seq_id seq; // of the context that it belongs to
        llama_pos    p0, p1;
    };

    size_t      find(llama_seq_id seq) const; // its part, or how many there are
    void        run();
    void        signal();
    bool        on_node(const ggml_tensor * t, bool ask);
    static bool on_node(ggml_tensor * t, bool ask, void * self);
    void        give_up(std::unique_lock<std::mutex> & lock); // what is not finished

    hearth_context & c;
    const int32_t    done;
    llama_context *  ctx = nullptr;

    // The batch in hand; part i is sequence i here.
    std::vector<part>           parts;
    std::vector<int32_t>        token, pos, seq, n_seq_id;
    std::vector<llama_seq_id *> seq_id;
    std::vector<int8_t>         output;

    std::mutex              mutex;
    std::condition_variable changed;
    stage                   at   = idle;
    bool                    stop = false;
    std::atomic<bool>       abort{ false };
    int32_t                 rc = 0;

    // Of the slice; the thread's own while it computes.
    clock::time_point from, until;
    double            effort     = 0; // of the nodes asked for since from
    double            worked     = 0; // effort that was measured,
    double            spent      = 0; // and the nanoseconds that it took; 0: none yet

    std::thread thread; // the last member: it starts when the others are there
};

} // namespace hearth
