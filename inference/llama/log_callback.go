package llama

// #include <stdint.h>
import "C"

import "strings"

// hearthLog is what C calls with llama.cpp's messages, from any thread.
//
//export hearthLog
func hearthLog(level C.int32_t, text *C.char) {
	if sink := logSink.Load(); sink != nil {
		if msg := strings.TrimSpace(C.GoString(text)); msg != "" {
			(*sink)(int(level), msg)
		}
	}
}
