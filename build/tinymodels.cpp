// Links into llama.cpp's test-llama-archs, which writes tiny random models of its
// architectures: that program relies on backends that are compiled in, and here
// they are opened at run time.
#include "ggml-backend.h"

static const bool backends_loaded = (ggml_backend_load_all(), true);
