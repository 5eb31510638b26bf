//go:build ignore

// Cells that nobody wrote yet take no memory.
//
// llama.cpp zeroes its cells when it makes a context, and so touches all of them:
// a server with room for 16,384 cells holds them from its first second, used or
// not, and needs a tenth of a second more to start. What the kernel hands out is
// zero already, and becomes zero again when it is given back. So this library has
// a ggml_backend_buffer_clear of its own, which the dynamic linker finds before
// ggml's: it gives the pages of a large buffer in host memory back instead of
// writing to them. Everything else is cleared as ggml does it.
#include "shim_context.h"

#include "../ggml/src/ggml-backend-impl.h"
#include "ggml-backend.h"

#include <cstdint>
#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

namespace {

// A buffer below this is written: giving back costs a call into the kernel.
constexpr size_t worth_giving_back = 1 << 20;

} // namespace

bool hearth::give_back(char * data, size_t size) {
    const auto page  = (uintptr_t) sysconf(_SC_PAGESIZE);
    const auto start = ((uintptr_t) data + page - 1) / page * page;
    const auto end   = ((uintptr_t) data + size) / page * page;
    if (end <= start || madvise((void *) start, end - start, MADV_DONTNEED) != 0) {
        return false;
    }
    memset(data, 0, start - (uintptr_t) data);
    memset((void *) end, 0, (uintptr_t) data + size - end);
    return true;
}

extern "C" void ggml_backend_buffer_clear(ggml_backend_buffer_t buffer, uint8_t value) {
    GGML_ASSERT(buffer);
    if (buffer->size == 0) {
        return;
    }
    // This very type only: a mapped file is host memory too, of another type.
    if (value == 0 && buffer->size >= worth_giving_back && buffer->buft == ggml_backend_cpu_buffer_type() &&
        hearth::give_back((char *) ggml_backend_buffer_get_base(buffer), buffer->size)) {
        return;
    }
    buffer->iface.clear(buffer, value);
}
