package llama

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// rpcTimeout bounds the look whether an RPC server is there.
const rpcTimeout = 3 * time.Second

// AddRPC adds the devices of a ggml RPC server at host:port. The protocol has no
// authentication and no protection against a hostile peer: use it on trusted
// networks only. A server that goes away later ends this process.
func AddRPC(endpoint string) error {
	if !initDone.Load() {
		return fmt.Errorf("add RPC server: %w", ErrNotInitialized)
	}
	if _, _, err := net.SplitHostPort(endpoint); err != nil || strings.ContainsRune(endpoint, 0) {
		return fmt.Errorf("add RPC server %q: the address has to be host:port", endpoint)
	}
	if err := greetRPC(endpoint); err != nil {
		return fmt.Errorf("add RPC server %s: %w", endpoint, err)
	}
	cend := C.CString(endpoint)
	defer C.free(ptr(cend))
	var cerr *C.char
	if C.hearth_add_rpc(cend, &cerr) != 0 {
		return fmt.Errorf("add RPC server %s: %w", endpoint, takeError(&cerr))
	}
	return nil
}

// greetRPC exchanges the protocol's greeting with a server: llama.cpp ends the
// process where nobody answers, or something else does.
func greetRPC(endpoint string) (err error) {
	const (
		hello       = 14 // the command
		capsBytes   = 24
		answerBytes = 4 + capsBytes // major, minor, patch, padding, capabilities
	)
	conn, err := net.DialTimeout("tcp4", endpoint, rpcTimeout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(rpcTimeout)); err != nil {
		return err
	}
	request := append([]byte{hello}, binary.LittleEndian.AppendUint64(nil, capsBytes)...)
	if _, err := conn.Write(append(request, make([]byte, capsBytes)...)); err != nil {
		return err
	}
	var answer [8 + answerBytes]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("it does not answer as an RPC server: %w", err)
	}
	if n := binary.LittleEndian.Uint64(answer[:]); n != answerBytes {
		return errors.New("it does not answer as an RPC server of this version")
	}
	var major, minor C.int32_t
	C.hearth_rpc_version(&major, &minor)
	if answer[8] != byte(major) || answer[9] > byte(minor) {
		return fmt.Errorf("it speaks version %d.%d of the protocol, and %d.%d is needed", answer[8], answer[9], major, minor)
	}
	return nil
}
