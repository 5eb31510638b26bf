package llama

/*
#include <stdlib.h>
#include "shim.h"

extern void hearthLog(int32_t level, char *text);
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"unsafe"
)

func ptr[T any](p *T) unsafe.Pointer { return unsafe.Pointer(p) }

// The levels of llama.cpp's log.
const (
	LogDebug = 1
	LogInfo  = 2
	LogWarn  = 3
	LogError = 4
)

var (
	initOnce sync.Once
	initErr  error
	initDone atomic.Bool
	logSink  atomic.Pointer[func(level int, msg string)]
)

// Init loads the backends (libggml-*.so) from the folder libDir, once per
// process; later calls return the first one's result. log, if not nil, gets
// llama.cpp's messages of LogInfo and above, from any thread; it has to return
// quickly and may not call this package.
func Init(libDir string, log func(level int, msg string)) error {
	initOnce.Do(func() { initErr = initialize(libDir, log) })
	return initErr
}

func initialize(libDir string, log func(level int, msg string)) error {
	dir, err := filepath.Abs(libDir)
	if err != nil {
		return fmt.Errorf("load backends: %w", err)
	}
	if st, err := os.Stat(dir); err != nil {
		return fmt.Errorf("load backends: %w", err)
	} else if !st.IsDir() {
		return fmt.Errorf("load backends: %s is not a folder", dir)
	}
	// Without this an assertion that fails in ggml forks a debugger.
	if err := os.Setenv("GGML_NO_BACKTRACE", "1"); err != nil {
		return fmt.Errorf("load backends: %w", err)
	}
	var sink C.hearth_log_fn
	if log != nil {
		logSink.Store(&log)
		sink = C.hearth_log_fn(C.hearthLog)
	}
	cdir := C.CString(dir)
	defer C.free(ptr(cdir))
	var cerr *C.char
	if C.hearth_init(cdir, sink, LogInfo, &cerr) != 0 {
		return fmt.Errorf("load backends: %w", takeError(&cerr))
	}
	initDone.Store(true)
	return nil
}

// Device is something that computes.
type Device struct {
	Name        string // as in ModelOptions.Devices: "CUDA0"
	Description string // "NVIDIA GeForce RTX 4090"
	Kind        string // "cpu", "gpu", "igpu" or "accel"
	FreeBytes   int64
	TotalBytes  int64
}

// Devices lists the devices of the loaded backends; nil before Init.
func Devices() []Device {
	if !initDone.Load() {
		return nil
	}
	var cerr *C.char
	text := C.hearth_devices(&cerr)
	if text == nil {
		C.hearth_string_free(cerr)
		return nil
	}
	var list []struct {
		Name, Description, Kind string
		Free, Total             int64
	}
	if json.Unmarshal([]byte(takeString(text)), &list) != nil {
		return nil
	}
	devices := make([]Device, len(list))
	for i, d := range list {
		devices[i] = Device{Name: d.Name, Description: d.Description, Kind: d.Kind, FreeBytes: d.Free, TotalBytes: d.Total}
	}
	return devices
}
