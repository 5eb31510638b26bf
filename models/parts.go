package models

import (
	"fmt"
	"strings"
)

// Parts returns the files that the model with the header h at path consists of:
// path alone, or, where it is the first of several parts, all of them by the
// names that llama.cpp looks for (NAME-00001-of-00003.gguf and so on).
func Parts(path string, h *Header) []string {
	n, _ := h.Uint("split.count")
	base, ok := strings.CutSuffix(path, fmt.Sprintf("-00001-of-%05d.gguf", n))
	if n < 2 || n > maxParts || !ok {
		return []string{path}
	}
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf("%s-%05d-of-%05d.gguf", base, i+1, n)
	}
	return parts
}
