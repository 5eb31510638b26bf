//go:build ignore

// The two layouts of the cells, and moving from one to the other.
//
// In one pool of cells, a prefix is shared without copying, and every token looks
// at the places of all sequences to find its own. With a stream for each sequence
// a token looks at its own places only, and a prefix has to be copied. Which is
// quicker depends on who is being served, so a context may have both: a second
// llama_context of the same model, whose cells take no memory until they are
// written (shim_clear.cpp). What is moved is copied from tensor to tensor.

#include "shim_context.h"

#include "llama-context.h"
#include "llama-io.h"
#include "llama-kv-cache-iswa.h"
#include "llama-kv-cache.h"
#include "llama-model.h"

#include <stdexcept>
#include <typeinfo>

using namespace hearth;

namespace {

// A call into the kernel for less than this costs more than it brings.
constexpr size_t worth_giving_back = 64 << 10;

// A run of bytes of cells: a few by themselves, or a part of a tensor.
struct piece {
    ggml_tensor * tensor;
    size_t        offset, size; // of small where there is no tensor
};

// What one sequence holds at the positions [p0, p1), as llama.cpp writes it for a
// state, but without a copy of the tensors. The places that a cache writes are
//   streams:u32, and for each stream: cells:u32, and if that is not 0
//     position:i32 sequences:u32 sequence:i32 ... of each cell
//     transposed:u32 layers:u32, keys and then values of each layer:
//       type:i32 bytes of a cell:u64, the cells
class cells_of final : public llama_io_write_i {
  public:
    cells_of(const llama_kv_cache & from, llama_seq_id seq, llama_pos p0, llama_pos p1) : p0(p0), p1(p1) {
        from.state_write(*this, seq);
        if (cells > 0) {
            // The streams behind this one wrote that they have no cells.
            pieces.resize(pieces.size() - (streams - empty - 1));
        }
    }

    size_t count() const { return positions.size(); }

    void write(const void * src, size_t size) override {
        switch (state) {
            case at_streams:
                streams = number(src, size);
                state   = at_cells;
                return;
            case at_cells:
                cells = number(src, size);
                empty += cells == 0;
                state = cells == 0 ? at_cells : at_position;
                return;
            case at_position:
                keep.push_back(take_position((llama_pos) number(src, size)));
                state = at_owners;
                return;
            case at_owners:
                // None: the id is one of those that only hold cells.
                owners = number(src, size);
                next_cell();
                return;
            case at_owner:
                number(src, size);
                owners--;
                next_cell();
                return;
            case at_transposed:
                if (number(src, size) != 0) {
                    throw std::runtime_error("the values lie transposed");
                }
                state = at_data;
                break;
            case at_data:
                break;
        }
        if (size == sizeof(uint64_t)) {
            memcpy(&row, src, size);
            cell = 0;
        }
        pieces.push_back({ nullptr, small.size(), size });
        small.insert(small.end(), (const char *) src, (const char *) src + size);
    }

    void write_tensor(ggml_tensor * tensor, size_t offset, size_t size) override {
        if (row == 0 || size % row != 0 || cell + size / row > keep.size() || !tensor->data) {
            throw std::runtime_error("the cells are not where they should be");
        }
        for (size_t i = 0, n = size / row; i < n;) {
            const size_t first = i;
            while (i < n && keep[cell + i] == keep[cell + first]) {
                i++;
            }
            if (keep[cell + first]) {
                pieces.push_back({ tensor, offset + first * row, (i - first) * row });
            }
        }
        cell += size / row;
    }

    size_t n_bytes() override { return 0; }

    std::vector<piece>     pieces;
    std::vector<char>      small;
    std::vector<llama_pos> positions; // of the cells that are taken

  private:
    static uint32_t number(const void * src, size_t size) {
        uint32_t n;
        if (size != sizeof n) {
            throw std::runtime_error("the cells have places of more than one dimension");
        }
        memcpy(&n, src, size);
        return n;
    }

    bool take_position(llama_pos p) {
        if (p < p0 || p >= p1) {
            return false;
        }
        positions.push_back(p);
        return true;
    }

    void next_cell() {
        state = owners > 0 ? at_owner : keep.size() < cells ? at_position : at_transposed;
    }

    enum { at_streams, at_cells, at_position, at_owners, at_owner, at_transposed, at_data } state = at_streams;

    const llama_pos   p0, p1;
    uint32_t          streams = 0, cells = 0, empty = 0, owners = 0;
    std::vector<bool> keep; // by cell, in the order of places
    uint64_t          row  = 0;
    size_t            cell = 0; // of the layer in hand
};

// Gives those cells to a cache that reads a state.
class cells_for final : public llama_io_read_i {
  public:
    cells_for(const cells_of & from, uint32_t streams) : from(from) {
        put(streams);
        put((uint32_t) from.count());
        for (const llama_pos p : from.positions) {
            put((uint32_t) p);
            put(1); // one owner, whose id is not looked at
            put(0);
        }
        for (const piece & p : from.pieces) {
            pieces.push_back(p.tensor ? p : piece{ nullptr, small.size(), p.size });
            if (!p.tensor) {
                small.insert(small.end(), from.small.begin() + p.offset, from.small.begin() + p.offset + p.size);
            }
        }
        for (uint32_t i = 1; i < streams; i++) {
            put(0);
        }
    }

    void read(void * dst, size_t size) override {
        piece & p = front(size, false);
        memcpy(dst, small.data() + p.offset, size);
        p.offset += size;
        p.size -= size;
    }

    void read_tensor(ggml_tensor * tensor, size_t offset, size_t size) override {
        while (size > 0) {
            piece &      p = front(1, true);
            const size_t n = std::min(size, p.size);
            memcpy((char *) tensor->data + offset, (const char *) p.tensor->data + p.offset, n);
            offset += n;
            size -= n;
            p.offset += n;
            p.size -= n;
        }
    }

    size_t n_bytes() override { return 0; }

  private:
    void put(uint32_t n) {
        pieces.push_back({ nullptr, small.size(), sizeof n });
        small.insert(small.end(), (const char *) &n, (const char *) &n + sizeof n);
    }

    piece & front(size_t least, bool tensor) {
        while (next < pieces.size() && pieces[next].size == 0) {
            next++;
        }
        if (next == pieces.size() || (pieces[next].tensor != nullptr) != tensor || pieces[next].size < least) {
            throw std::runtime_error("the cells do not fit");
        }
        return pieces[next];
    }

    const cells_of &   from;
    std::vector<piece> pieces;
    std::vector<char>  small;
    size_t             next = 0;
};

// The cache of a context that can be moved; NULL if it is of another kind.
llama_kv_cache * plain_cache(llama_memory_t mem) {
    return mem && typeid(*mem) == typeid(llama_kv_cache) ? static_cast<llama_kv_cache *>(mem) : nullptr;
}

// Those of which such a context has two, one for all layers that see everything and
// one for those with a sliding window; none if it is of another kind.
llama_kv_cache_iswa * windowed_cache(llama_memory_t mem) {
    return mem && typeid(*mem) == typeid(llama_kv_cache_iswa) ? static_cast<llama_kv_cache_iswa *>(mem) : nullptr;
}

// As copy_cells, of one cache; returns how many cells that were. A cache with a window
// gives only those that its sequence still sees at its end.
size_t copy_cache(const llama_kv_cache & from, llama_seq_id src, llama_kv_cache & to, llama_seq_id dst, llama_pos p0, llama_pos p1) {
    const cells_of taken(from, src, p0, p1);
    to.seq_rm(dst, -1, -1);
    if (taken.count() > 0) {
        cells_for given(taken, to.get_n_stream());
        to.state_read(given, dst);
    }
    return taken.count();
}

// Whether the cells of a context can be copied from tensor to tensor, if its caches can:
// in this machine's memory, all of them, with flash attention, and with nothing kept of
// a cell but its position.
bool lies_bare(const hearth_context & c) {
    const auto & hp = c.model->model->hparams;
    return !c.embeds && hp.n_pos_per_embd() == 1 && hp.ple_n_heads == 0 && c.model->n_gpu_layers == 0 && c.ctx->get_cparams().flash_attn;
}

// Adds the cells [p0, p1) of sequence src of one pool to sequence dst of another.
void add_cache(llama_kv_cache & from, llama_seq_id src, llama_kv_cache & to, llama_seq_id dst, llama_pos p0, llama_pos p1, llama_seq_id by) {
    const bool whole = copy_cache(from, src, to, by, p0, p1) == (size_t) (p1 - p0);
    to.seq_cp(by, dst, p0, p1);
    to.seq_rm(by, -1, -1);
    if (!whole) {
        throw std::runtime_error("not all cells are there");
    }
}

} // namespace

// A plain cache, all of whose layers see everything.
bool hearth::copies_cells(const hearth_context & c) {
    return lies_bare(c) && plain_cache(c.mem) && llama_model_n_swa(c.model->model) == 0;
}

// Such a one, or two pools where that of the layers with a window has room for as many
// cells.
bool hearth::copies_aside(const hearth_context & c) {
    const auto * both = windowed_cache(c.mem);
    return copies_cells(c) || both && lies_bare(c) && c.traits.unified && both->get_swa()->get_size() == both->get_base()->get_size() &&
                                  c.model->model->hparams.swa_type == LLAMA_SWA_TYPE_STANDARD;
}

void hearth::copy_cells(llama_memory_t from, llama_seq_id src, llama_memory_t to, llama_seq_id dst, llama_pos p0, llama_pos p1) {
    if (const auto * both = windowed_cache(from)) {
        copy_cache(*both->get_base(), src, *windowed_cache(to)->get_base(), dst, p0, p1);
        copy_cache(*both->get_swa(), src, *windowed_cache(to)->get_swa(), dst, p0, p1);
        return;
    }
    copy_cache(*plain_cache(from), src, *plain_cache(to), dst, p0, p1);
}

void hearth::add_cells(hearth_context & c, llama_memory_t from, llama_seq_id src, llama_seq_id dst, llama_pos p0, llama_pos p1) {
    if (const auto * both = windowed_cache(from)) {
        const llama_kv_cache_iswa & to = *windowed_cache(c.mem);
        add_cache(*both->get_base(), src, *to.get_base(), dst, p0, p1, transit(c));
        // Of more than a window the end does not see the beginning, which others may
        // begin with, so a window at a time is the end of a sequence of its own.
        const auto       window = (llama_pos) llama_model_n_swa(c.model->model);
        llama_kv_cache & seen   = *both->get_swa();
        for (llama_pos r0 = p0; r0 < p1; r0 += window) {
            const llama_pos r1 = std::min(r0 + window, p1);
            seen.seq_cp(src, transit(c), r0, r1);
            add_cache(seen, transit(c), *to.get_swa(), dst, r0, r1, transit(c));
            seen.seq_rm(transit(c), -1, -1);
        }
        if (to.get_base()->seq_pos_max(dst) != p1 - 1) {
            throw std::runtime_error("not all cells arrived");
        }
    } else if (c.traits.unified) {
        add_cache(*plain_cache(from), src, *plain_cache(c.mem), dst, p0, p1, transit(c));
    } else {
        copy_cells(from, src, c.mem, dst, 0, p1);
    }
    if (llama_memory_seq_pos_max(c.mem, dst) != p1 - 1) {
        throw std::runtime_error("not all cells arrived");
    }
}

void hearth::copy_prefix(hearth_context & c, llama_seq_id src, llama_seq_id dst, llama_pos n) {
    copy_cells(c.mem, src, c.mem, dst, 0, n);
}

void hearth::give_back(hearth_context & c, llama_seq_id seq) {
    // Otherwise each stream would for ever take as much as its longest sequence
    // did, and all together several times what the cells may take.
    for (const piece & p : cells_of(*plain_cache(c.mem), seq, 0, INT32_MAX).pieces) {
        if (p.tensor && p.size >= worth_giving_back) {
            give_back((char *) p.tensor->data + p.offset, p.size);
        }
    }
}

void hearth::write_cells(hearth_context & c, llama_seq_id seq, llama_pos p0, llama_pos p1,
                         const std::function<void(const void *, size_t)> & put) {
    const cells_of taken(*plain_cache(c.mem), seq, p0, p1);
    const uint32_t head[] = { (uint32_t) taken.count(), 0 };
    if (taken.count() != (size_t) (p1 - p0)) {
        throw std::runtime_error("the cache does not hold all of the cells");
    }
    put(head, sizeof head);
    put(taken.positions.data(), taken.count() * sizeof(llama_pos));
    for (const piece & p : taken.pieces) {
        put(p.tensor ? (const char *) p.tensor->data + p.offset : taken.small.data() + p.offset, p.size);
    }
}

void hearth::stage(hearth_context & c, llama_seq_id seq, llama_pos p0, llama_pos p1) {
    end_staging(c);
    c.staged = seq;
    if (p1 > p0) {
        copy_cells(c.mem, seq, llama_get_memory(c.other), 0, p0, p1);
    }
}

void hearth::unstage(hearth_context & c, llama_seq_id seq, llama_pos p1) {
    copy_cells(llama_get_memory(c.other), 0, c.mem, seq, 0, p1);
}

void hearth::end_staging(hearth_context & c) {
    if (c.staged >= 0) {
        c.staged      = -1;
        c.staged_more = false;
        llama_memory_clear(llama_get_memory(c.other), true);
    }
}

// By way of the pool that is not in use, which one of the two goes through.
int32_t hearth_seq_swap(hearth_context * c, int32_t a, int32_t b) {
    return guard<int32_t>(nullptr, 0, [&] {
        c->compute->rest();
        if (c->traits.unified || !c->other) {
            throw std::invalid_argument("the cells do not lie in streams");
        }
        if (llama_memory_seq_pos_max(c->mem, a) > llama_memory_seq_pos_max(c->mem, b)) {
            std::swap(a, b);
        }
        struct staging {
            hearth_context & c;
            ~staging() { end_staging(c); }
        } done{ *c };
        stage(*c, a, 0, INT32_MAX);
        const llama_pos ends[] = { llama_memory_seq_pos_max(c->mem, a), llama_memory_seq_pos_max(c->mem, b) };
        copy_cells(c->mem, b, c->mem, a, 0, INT32_MAX);
        give_back(*c, b);
        unstage(*c, b, INT32_MAX);
        return (int32_t) (llama_memory_seq_pos_max(c->mem, a) == ends[1] && llama_memory_seq_pos_max(c->mem, b) == ends[0]);
    });
}

// Attention heads of all layers: each looks at every place for each token.
int32_t hearth::attention_heads(const hearth_model & m) {
    const auto & hp = m.model->hparams;
    int32_t      n  = 0;
    for (uint32_t il = 0; il < hp.n_layer(); il++) {
        n += hp.has_kv(il) ? (int32_t) hp.n_head(il) : 0;
    }
    return n;
}

static void make_streams(hearth_context & c) {
    auto cp       = c.params;
    cp.kv_unified = false;
    cp.n_ctx      = (uint32_t) c.traits.streams * cp.n_seq_max;
    c.other       = llama_init_from_model(c.model->model, cp);
    if (!c.other) {
        const std::string why = take_logged_error();
        throw std::runtime_error(why.empty() ? "llama.cpp cannot create it" : why);
    }
    llama_attach_threadpool(c.other, c.threadpool, c.threadpool_batch);
}

int32_t hearth_relayout(hearth_context * c, int32_t unified, int32_t n, const hearth_move * moves, char ** err) {
    return guard<int32_t>(err, -1, [&] {
        c->compute->rest();
        if (!c->traits.streams || (unified != 0) == (c->traits.unified != 0)) {
            throw std::invalid_argument("the cells lie so, or can lie in one way only");
        }
        if (!c->other) {
            make_streams(*c);
        }
        end_staging(*c);
        llama_memory_t         target = llama_get_memory(c->other);
        const llama_kv_cache & from   = *plain_cache(c->mem);
        llama_kv_cache &       to     = *plain_cache(target);
        try {
            for (int32_t i = 0; i < n; i++) {
                const hearth_move & m = moves[i];
                hearth::copy_cells(c->mem, m.from, target, m.to, m.shared, INT32_MAX);
                if (m.shared > 0) {
                    to.seq_cp(m.with, m.to, 0, m.shared);
                }
                if (to.seq_pos_max(m.to) != from.seq_pos_max(m.from) || to.seq_pos_min(m.to) != 0) {
                    throw std::runtime_error("not all cells arrived");
                }
            }
            llama_set_adapters_lora(c->other, c->loras.data(), c->loras.size(), c->scales.data());
        } catch (...) {
            llama_memory_clear(target, true);
            throw;
        }
        llama_memory_clear(c->mem, true); // what it took goes back to the kernel
        std::swap(c->ctx, c->other);
        c->mem            = target;
        c->traits.unified = unified != 0;
        return 0;
    });
}
