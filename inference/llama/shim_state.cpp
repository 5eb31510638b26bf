//go:build ignore

// Runs of cells as bytes. llama.cpp writes and reads whole sequences; a run is put
// into a sequence of its own first, which in a cache that all share is metadata.
//
// Of what llama.cpp writes, the table of cells is taken out and checked, and made
// anew when it is read: positions and owners of cells are the only part of it that
// llama.cpp believes without looking. The bytes of a run, for each cache of the
// model (one, or one for all layers that see everything and one for those with a
// sliding window):
//
//   u32 cells, u32 bytes of an extension, i32 positions[cells], extensions,
//   then what llama.cpp writes of the layers: kinds, sizes of rows, rows

#include "shim_context.h"

#include "ggml-backend.h"
#include "llama-io.h"
#include "llama-kv-cache-iswa.h"
#include "llama-kv-cache.h"
#include "llama-model.h"

#include <stdexcept>

using namespace hearth;

namespace {

// The caches of a memory, one or two; none where it is of another kind.
std::vector<llama_kv_cache *> caches_of(const hearth_context & c) {
    if (auto * plain = dynamic_cast<llama_kv_cache *>(c.mem)) {
        return { plain };
    }
    if (auto * windowed = dynamic_cast<llama_kv_cache_iswa *>(c.mem)) {
        return { windowed->get_base(), windowed->get_swa() };
    }
    return {};
}

// What llama.cpp keeps of a cell beside its position.
uint32_t extension_of(const hearth_context & c) {
    const auto & hp = c.model->model->hparams;
    return hp.n_pos_per_embd() > 1 || hp.ple_n_heads > 0 ? sizeof(llama_kv_cell_ext) : 0;
}

struct buffer {
    uint8_t * data; // NULL: only count
    size_t    cap;
    size_t    used = 0;

    uint8_t * take(size_t n) {
        if (data && n > cap - used) {
            throw std::length_error("the buffer is too small");
        }
        uint8_t * at = data ? data + used : nullptr;
        used += n;
        return at;
    }
    void put(const void * src, size_t n) {
        if (uint8_t * at = take(n); at && n > 0) { // of an empty vector src is NULL
            memcpy(at, src, n);
        }
    }
};

// Takes what one cache writes of a sequence that holds positions [p0, p1).
class run_writer : public llama_io_write_i {
  public:
    run_writer(buffer & out, int32_t p0, int32_t p1, uint32_t extension) : out(out), p0(p0), p1(p1), extension(extension) {}

    void write(const void * src, size_t size) override {
        seen += size;
        const uint32_t n = p1 - p0;
        if (words == 0) { // streams
            expect(size == 4 && read_u32(src) == 1, "the cache is not one for all sequences");
        } else if (words == 1) {
            expect(size == 4 && read_u32(src) == n, "the cache does not hold all of the cells");
        } else if (position.size() < n || !whole()) {
            cell(src, size);
        } else {
            if (!flushed) {
                flush();
            }
            out.put(src, size);
        }
        words++;
    }

    void write_tensor(ggml_tensor * tensor, size_t offset, size_t size) override {
        seen += size;
        expect(flushed, "rows come before the table of cells");
        if (uint8_t * at = out.take(size)) {
            ggml_backend_tensor_get(tensor, at, offset, size);
        }
    }

    size_t n_bytes() override { return seen; }

    // Every position of the run, once.
    void check() const {
        expect(flushed, "nothing was written");
        std::vector<bool> there(p1 - p0);
        for (int32_t p : position) {
            expect(p >= p0 && p < p1 && !there[p - p0], "a cell lies outside the run");
            there[p - p0] = true;
        }
    }

  private:
    static void expect(bool is, const char * what) {
        if (!is) {
            throw std::runtime_error(what);
        }
    }
    static uint32_t read_u32(const void * src) {
        uint32_t v;
        memcpy(&v, src, sizeof v);
        return v;
    }

    // Whether all is there of the cell that was begun last.
    bool whole() const { return owners == position.size() && extensions.size() == position.size() * extension; }

    // A cell: its position, how many own it (the holder's id is beyond those that
    // llama.cpp counts, so none), and the extension.
    void cell(const void * src, size_t size) {
        if (whole()) {
            expect(size == 4, "the table of cells has another form");
            position.push_back((int32_t) read_u32(src));
        } else if (owners < position.size()) {
            expect(size == 4 && read_u32(src) == 0, "the run belongs to others, too");
            owners++;
        } else {
            expect(size == extension, "the table of cells has another form");
            extensions.insert(extensions.end(), (const uint8_t *) src, (const uint8_t *) src + size);
        }
    }

    void flush() {
        const uint32_t n = position.size();
        out.put(&n, sizeof n);
        out.put(&extension, sizeof extension);
        out.put(position.data(), n * sizeof(int32_t));
        out.put(extensions.data(), extensions.size());
        flushed = true;
    }

    buffer &             out;
    const int32_t        p0, p1;
    const uint32_t       extension;
    std::vector<int32_t> position;
    std::vector<uint8_t> extensions;
    size_t               owners  = 0;
    size_t               words   = 0;
    size_t               seen    = 0;
    bool                 flushed = false;
};

// Gives one cache what run_writer took, as cells of sequence seq. It is made with
// all that lies before the rows checked.
class run_reader : public llama_io_read_i {
  public:
    run_reader(const uint8_t *& at, const uint8_t * end, int32_t p0, int32_t p1, uint32_t extension, llama_seq_id seq) : at(at), end(end) {
        const uint32_t n = p1 - p0;
        if (take_u32() != n || take_u32() != extension) {
            throw std::runtime_error("the run has another length or form");
        }
        const uint8_t *   positions  = take((size_t) n * 4);
        const uint8_t *   extensions = take((size_t) n * extension);
        std::vector<bool> there(n);
        put_u32(1); // streams
        put_u32(n);
        for (uint32_t i = 0; i < n; i++) {
            int32_t p;
            memcpy(&p, positions + i * 4, 4);
            if (p < p0 || p >= p1 || there[p - p0]) {
                throw std::runtime_error("a cell of the run lies outside it");
            }
            there[p - p0] = true;
            put_u32((uint32_t) p);
            put_u32(1); // owners
            table.insert(table.end(), extensions + (size_t) i * extension, extensions + (size_t) (i + 1) * extension);
            put_u32((uint32_t) seq);
        }
    }

    void read(void * dst, size_t size) override {
        seen += size;
        if (given < table.size()) {
            if (size > table.size() - given) {
                throw std::runtime_error("the table of cells has another form");
            }
            memcpy(dst, table.data() + given, size);
            given += size;
            return;
        }
        memcpy(dst, take(size), size);
    }

    void read_tensor(ggml_tensor * tensor, size_t offset, size_t size) override {
        seen += size;
        if (given < table.size()) {
            throw std::runtime_error("rows come before the table of cells");
        }
        ggml_backend_tensor_set(tensor, take(size), offset, size);
    }

    size_t n_bytes() override { return seen; }

  private:
    const uint8_t * take(size_t n) {
        if (n > (size_t) (end - at)) {
            throw std::runtime_error("the run ends too early");
        }
        const uint8_t * p = at;
        at += n;
        return p;
    }
    uint32_t take_u32() {
        uint32_t v;
        memcpy(&v, take(4), 4);
        return v;
    }
    void put_u32(uint32_t v) { table.insert(table.end(), (const uint8_t *) &v, (const uint8_t *) &v + 4); }

    const uint8_t *&     at;
    const uint8_t *      end;
    std::vector<uint8_t> table;
    size_t               given = 0;
    size_t               seen  = 0;
};

struct emptied {
    llama_memory_t mem;
    llama_seq_id   seq;
    ~emptied() { llama_memory_seq_rm(mem, seq, -1, -1); }
};

} // namespace

llama_seq_id hearth::transit(const hearth_context & c) {
    return c.traits.sequences + c.traits.holders;
}

bool hearth::can_keep_runs(const hearth_context & c) {
    return c.traits.unified && !caches_of(c).empty() && transit(c) < (llama_seq_id) llama_max_parallel_sequences();
}

int64_t hearth::save_run(hearth_context & c, llama_seq_id seq, int32_t p0, int32_t p1, uint8_t * buf, size_t cap) {
    llama_synchronize(c.ctx);
    buffer out{ buf, cap };
    if (!c.traits.unified) {
        write_cells(c, seq, p0, p1, [&out](const void * src, size_t n) { out.put(src, n); });
        return (int64_t) out.used;
    }
    emptied clean{ c.mem, transit(c) };
    llama_memory_seq_cp(c.mem, seq, transit(c), p0, p1);
    for (llama_kv_cache * cache : caches_of(c)) {
        run_writer w(out, p0, p1, extension_of(c));
        cache->state_write(w, transit(c), 0);
        w.check();
    }
    return (int64_t) out.used;
}

// Adds a run to sequence seq of one pool, by way of sequence by.
static void add_run(hearth_context & c, llama_memory_t pool, const std::vector<llama_kv_cache *> & caches, llama_seq_id seq, llama_seq_id by,
                    int32_t p0, int32_t p1, const uint8_t * data, size_t size) {
    emptied         clean{ pool, by };
    const uint8_t * at  = data;
    const uint8_t * end = data + size;
    for (llama_kv_cache * cache : caches) {
        run_reader r(at, end, p0, p1, extension_of(c), by);
        cache->state_read(r, by, 0);
    }
    if (at != end) {
        throw std::runtime_error("there is more than the run");
    }
    llama_memory_seq_cp(pool, by, seq, p0, p1);
}

// llama.cpp can only replace what a stream holds, so the sequence grows in the pool
// that is not in use, and is copied into its stream as a whole: once for all runs that
// follow each other.
static void load_into_stream(hearth_context & c, llama_seq_id seq, int32_t p0, int32_t p1, const uint8_t * data, size_t size, bool more) {
    llama_memory_t pool = llama_get_memory(c.other);
    const bool     goes_on = c.staged == seq && c.staged_more;
    if (llama_memory_seq_pos_max(goes_on ? pool : c.mem, goes_on ? 0 : seq) != p0 - 1) {
        throw std::runtime_error("the sequence does not end where the run begins");
    }
    if (p1 > c.traits.streams) {
        throw std::runtime_error("a stream has no room for it");
    }
    if (c.staged != seq) {
        stage(c, seq, 0, p0);
    }
    add_run(c, pool, { dynamic_cast<llama_kv_cache *>(pool) }, 0, 1, p0, p1, data, size);
    c.staged_more = more;
    if (!more) {
        unstage(c, seq, p1);
    }
}

void hearth::load_run(hearth_context & c, llama_seq_id seq, int32_t p0, int32_t p1, const uint8_t * data, size_t size, bool more) {
    llama_synchronize(c.ctx);
    if (c.traits.unified) {
        if (llama_memory_seq_pos_max(c.mem, seq) != p0 - 1) {
            throw std::runtime_error("the sequence does not end where the run begins");
        }
        add_run(c, c.mem, caches_of(c), seq, transit(c), p0, p1, data, size);
        return;
    }
    try {
        load_into_stream(c, seq, p0, p1, data, size, more);
    } catch (...) {
        struct staging {
            hearth_context & c;
            ~staging() { end_staging(c); }
        } done{ c };
        if (c.staged == seq && c.staged_more) {
            unstage(c, seq, p0); // the runs before this one
        }
        throw;
    }
}

int64_t hearth_state_save(hearth_context * c, int32_t seq, int32_t p0, int32_t p1, uint8_t * buf, int64_t cap, char ** err) {
    return guard<int64_t>(err, -1, [&] {
        c->compute->rest();
        return save_run(*c, seq, p0, p1, buf, (size_t) cap);
    });
}

int32_t hearth_state_load(hearth_context * c, int32_t seq, int32_t p0, int32_t p1, const uint8_t * data, int64_t size, int32_t more, char ** err) {
    return guard<int32_t>(err, -1, [&] {
        c->compute->rest();
        take_logged_error();
        try {
            load_run(*c, seq, p0, p1, data, (size_t) size, more != 0);
        } catch (const std::exception & e) {
            const std::string why = take_logged_error();
            throw std::runtime_error(why.empty() ? e.what() : e.what() + (": " + why));
        }
        return 0;
    });
}
