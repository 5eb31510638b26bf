package prefixstore

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Blocks lie outside of Go's heap: hundreds of megabytes there would let the
// collector put off its next run by as many more.

// roundUp is what a slab of n bytes takes: whole pages.
func roundUp(n int) int64 {
	page := int64(os.Getpagesize())
	return (int64(n) + page - 1) / page * page
}

// newSlab returns n bytes of memory, which freeSlab gives back.
func newSlab(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, int(roundUp(n)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("take %d bytes: %w", n, err)
	}
	return b[:n], nil
}

func freeSlab(b []byte) {
	if b != nil {
		// The whole mapping is b's capacity, and nobody else's.
		_ = unix.Munmap(b[:cap(b)])
	}
}
