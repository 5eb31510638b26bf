//go:build release

package llama

// A released binary finds its libraries beside it only.

/*
#cgo LDFLAGS: -L${SRCDIR}/../../build/out/lib -lhearth-shim -Wl,-rpath,$ORIGIN/../lib -Wl,-rpath-link,${SRCDIR}/../../build/out/lib
*/
import "C"
