package prefixstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cespare/xxhash/v2"
)

// A file holds one block: a head of fixed length, the tokens of the prefix from its
// first one on, a checksum over both; then the cells and a checksum over them. Its
// name is the block's digest. Numbers are little-endian.
//
//	magic[8]  version u32  tokens u32  of the block u32  0 u32  bytes of cells u64
//	binding[32]  scope[32]
const (
	fileMagic   = "HEARTHKV"
	fileVersion = 1
	headBytes   = 8 + 4*4 + 8 + 2*sha256.Size
	sumBytes    = 8
	fileSuffix  = ".kv"
	// maxTokens bounds what a head may ask for, before its checksum is known.
	maxTokens = 1 << 26
)

var (
	// errStale says that a file is of another model, build or setting.
	errStale = errors.New("it belongs to something else")
	// errDamaged says that a file is not as it was written.
	errDamaged = errors.New("it is damaged")
)

// head is what a file says before its cells.
type head struct {
	binding, scope digest
	tokens         []int32 // of the whole prefix
	own            int     // how many of them are the block's
	cells          int64   // bytes
}

// encode writes the head with its tokens and their checksum.
func (h *head) encode() []byte {
	b := make([]byte, 0, h.bytes())
	b = append(b, fileMagic...)
	for _, v := range []uint32{fileVersion, uint32(len(h.tokens)), uint32(h.own), 0} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(h.cells))
	b = append(append(b, h.binding[:]...), h.scope[:]...)
	for _, t := range h.tokens {
		b = binary.LittleEndian.AppendUint32(b, uint32(t))
	}
	return binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b))
}

func (h *head) bytes() int64 { return headBytes + 4*int64(len(h.tokens)) + sumBytes }

// readHead reads the head of a file of that length, which must be of binding and
// say nothing that its length contradicts.
func readHead(r io.Reader, length int64, binding digest) (*head, error) {
	b := make([]byte, headBytes)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("%w: it ends in its head", errDamaged)
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	h := &head{own: int(u32(16)), cells: int64(binary.LittleEndian.Uint64(b[24:]))}
	copy(h.binding[:], b[32:])
	copy(h.scope[:], b[32+sha256.Size:])
	n := u32(12)
	switch {
	case string(b[:8]) != fileMagic:
		return nil, fmt.Errorf("%w: it does not begin as such a file", errDamaged)
	case u32(8) != fileVersion || h.binding != binding:
		return nil, errStale
	case n == 0 || n > maxTokens || h.own == 0 || h.own > int(n) || u32(20) != 0 || h.cells <= 0 || h.cells > length ||
		headBytes+4*int64(n)+2*sumBytes+h.cells != length:
		return nil, fmt.Errorf("%w: its head does not fit its length of %d bytes", errDamaged, length)
	}
	rest := make([]byte, 4*int(n)+sumBytes)
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, fmt.Errorf("%w: it ends in its tokens", errDamaged)
	}
	sum := xxhash.New()
	_, _ = sum.Write(b)
	_, _ = sum.Write(rest[:4*n])
	if binary.LittleEndian.Uint64(rest[4*n:]) != sum.Sum64() {
		return nil, fmt.Errorf("%w: the checksum of its head is wrong", errDamaged)
	}
	h.tokens = make([]int32, n)
	for i := range h.tokens {
		h.tokens[i] = int32(binary.LittleEndian.Uint32(rest[4*i:]))
	}
	return h, nil
}

// readCells reads the file that has exactly the head want, and its cells into buf.
func readCells(path string, want []byte, buf []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	have := make([]byte, len(want))
	if _, err := io.ReadFull(f, have); err != nil || !bytes.Equal(have, want) {
		return fmt.Errorf("%w: its head is another one", errDamaged)
	}
	if _, err := io.ReadFull(f, buf); err != nil {
		return fmt.Errorf("%w: it ends in its cells", errDamaged)
	}
	var sum [sumBytes + 1]byte
	if n, _ := io.ReadFull(f, sum[:]); n != sumBytes || binary.LittleEndian.Uint64(sum[:]) != xxhash.Sum64(buf) {
		return fmt.Errorf("%w: the checksum of its cells is wrong", errDamaged)
	}
	return nil
}

// writeFile writes a file that is seen under its name only when it is whole.
func writeFile(path string, head, cells []byte) (err error) {
	f, err := os.OpenFile(path+tempSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	for _, b := range [][]byte{head, cells, binary.LittleEndian.AppendUint64(nil, xxhash.Sum64(cells))} {
		if _, err := f.Write(b); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// tempSuffix marks a file that is not whole.
const tempSuffix = ".part"

// fileName is the name of a block's file.
func fileName(key digest) string { return hex.EncodeToString(key[:]) + fileSuffix }
