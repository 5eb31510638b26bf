//go:build !release

package llama

// A development build finds its libraries in this checkout as well, so that test
// binaries, which run from a temporary folder, work.

/*
#cgo LDFLAGS: -L${SRCDIR}/../../build/out/lib -lhearth-shim -Wl,-rpath,$ORIGIN/../lib -Wl,-rpath,${SRCDIR}/../../build/out/lib
*/
import "C"
