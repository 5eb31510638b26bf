// Package cuda tells an operator what GPUs there are: it asks the NVIDIA driver
// through NVML, which is looked for when the program runs, and says in one line
// what models will be computed on and why.
//
// It neither computes nor loads anything, nor decides how many layers fit: that
// is llama.cpp's part, whose list of usable devices the caller hands in. Without a
// driver, or without its library, everything here works and says so.
//
// Concurrency: everything is plain data and pure functions, except Detect, which
// any goroutine may call.
package cuda
