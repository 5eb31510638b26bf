//go:build ignore

// Selection from a row of logits without building candidates for the whole
// vocabulary. Written with vector types so that the compiler uses what the
// processor has.

#include "shim_sampling.h"

#include <algorithm>
#include <cmath>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define HEARTH_VECTOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define HEARTH_VECTOR
#endif

namespace hearth {

typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));

static constexpr int32_t LANES = 16;
static constexpr int32_t BLOCK = 4 * LANES;

HEARTH_VECTOR static float greatest(const float * x, int32_t n) {
    float   best = -INFINITY;
    int32_t i    = 0;
    lanes   m    = lanes{} - INFINITY;
    for (; i + LANES <= n; i += LANES) {
        const lanes v = *(const lanes *) (x + i);
        m             = v > m ? v : m; // what is not a number is never greater
    }
    for (int32_t j = 0; j < LANES; j++) {
        best = m[j] > best ? m[j] : best;
    }
    for (; i < n; i++) {
        best = x[i] > best ? x[i] : best;
    }
    return best;
}

int32_t argmax(const float * logits, int32_t n) {
    const float best = greatest(logits, n);
    if (!(best > -INFINITY)) {
        return -1;
    }
    return (int32_t) (std::find(logits, logits + n, best) - logits);
}

// The first block from i on with a logit above floor, or n rounded down to blocks.
HEARTH_VECTOR static int32_t next_block(const float * x, int32_t i, int32_t n, float floor) {
    for (; i + BLOCK <= n; i += BLOCK) {
        const lanes a = *(const lanes *) (x + i);
        const lanes b = *(const lanes *) (x + i + LANES);
        const lanes c = *(const lanes *) (x + i + 2 * LANES);
        const lanes d = *(const lanes *) (x + i + 3 * LANES);
        const lanes e = a > b ? a : b;
        const lanes f = c > d ? c : d;
        const lanes m = e > f ? e : f;
        bool        any = false;
        for (int32_t j = 0; j < LANES; j++) {
            any |= m[j] > floor;
        }
        if (any) {
            break;
        }
    }
    return i;
}

static bool before(const llama_token_data & a, const llama_token_data & b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

void top_k(const float * logits, int32_t n, int32_t k, std::vector<llama_token_data> & out) {
    const size_t room  = std::max<size_t>(4 * (size_t) k, 256);
    float        floor = -INFINITY;
    out.clear();
    const auto shrink = [&] {
        std::nth_element(out.begin(), out.begin() + (k - 1), out.end(), before);
        out.resize(k);
        floor = out[k - 1].logit;
    };
    const auto scan = [&](int32_t from, int32_t to) {
        for (int32_t i = from; i < to; i++) {
            if (logits[i] > floor) {
                out.push_back({ i, logits[i], 0.0f });
            }
        }
        if (out.size() >= room) {
            shrink();
        }
    };
    int32_t i = 0;
    while ((i = next_block(logits, i, n, floor)) + BLOCK <= n) {
        scan(i, i + BLOCK);
        i += BLOCK;
    }
    scan(i, n);
    if (out.size() > (size_t) k) {
        shrink();
    }
    std::sort(out.begin(), out.end(), before);
}

double log_sum_exp(const float * logits, int32_t n) {
    const float max = greatest(logits, n);
    if (!(max > -INFINITY)) {
        return -INFINITY;
    }
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += expf(logits[i] - max);
    }
    return max + std::log(sum);
}

} // namespace hearth
