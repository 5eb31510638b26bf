package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// cpuVariant is one set of instructions that llama.cpp compiles its CPU backend for.
type cpuVariant struct {
	Name     string
	Features []string // names as in llama.cpp's CMake options, less GGML_
}

// cpuFlags tells, for each feature, the flags of /proc/cpuinfo that it needs.
// The order is that of llama.cpp's own score: a later one outweighs all before.
var cpuFlags = []struct {
	feature string
	flags   []string
}{
	{"FMA", []string{"fma"}},
	{"F16C", []string{"f16c"}},
	{"SSE42", []string{"sse4_2"}},
	{"BMI2", []string{"bmi2"}},
	{"AVX", []string{"avx"}},
	{"AVX2", []string{"avx2"}},
	{"AVX_VNNI", []string{"avx_vnni"}},
	{"AVX512", []string{"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"}},
	{"AVX512_VBMI", []string{"avx512vbmi"}},
	{"AVX512_BF16", []string{"avx512_bf16"}},
	{"AVX512_VNNI", []string{"avx512_vnni"}},
	// No AMX: a variant that needs it is never chosen. Virtual machines announce
	// the tiles and then lose their state at a context switch, and the next tile
	// instruction ends the process with SIGILL (seen).
}

var variantPattern = regexp.MustCompile(`(?m)^\s*ggml_add_cpu_backend_variant\((\w+)([ \w]*)\)`)

// parseVariants reads llama.cpp's own list of x86 variants from its
// ggml/src/CMakeLists.txt, so that there is no second list to keep in step.
func parseVariants(cmakeLists string) ([]cpuVariant, error) {
	_, rest, ok := strings.Cut(cmakeLists, "if (GGML_CPU_ALL_VARIANTS)")
	if ok {
		_, rest, ok = strings.Cut(rest, `if (GGML_SYSTEM_ARCH STREQUAL "x86")`)
	}
	if ok {
		rest, _, ok = strings.Cut(rest, `elseif(GGML_SYSTEM_ARCH STREQUAL "ARM")`)
	}
	if !ok {
		return nil, errors.New("llama.cpp's list of CPU variants is not where it was: read ggml/src/CMakeLists.txt again")
	}
	var out []cpuVariant
	for _, m := range variantPattern.FindAllStringSubmatch(rest, -1) {
		out = append(out, cpuVariant{Name: m[1], Features: strings.Fields(m[2])})
	}
	if len(out) == 0 {
		return nil, errors.New("llama.cpp's list of CPU variants is empty: read ggml/src/CMakeLists.txt again")
	}
	return out, nil
}

// chooseVariant returns the best variant for the processor that /proc/cpuinfo
// describes.
func chooseVariant(variants []cpuVariant, cpuinfo string) (cpuVariant, error) {
	flags := map[string]bool{}
	for line := range strings.Lines(cpuinfo) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "flags" {
			for _, f := range strings.Fields(value) {
				flags[f] = true
			}
			break
		}
	}
	best, bestScore := -1, -1
	for i, v := range variants {
		if score, ok := v.score(flags); ok && score > bestScore {
			best, bestScore = i, score
		}
	}
	if best < 0 {
		return cpuVariant{}, fmt.Errorf("none of llama.cpp's %d CPU variants runs on this processor", len(variants))
	}
	return variants[best], nil
}

// score weighs a variant; ok is false where the processor lacks a feature of it.
func (v cpuVariant) score(flags map[string]bool) (score int, ok bool) {
	for _, feature := range v.Features {
		i := slices.IndexFunc(cpuFlags, func(f struct {
			feature string
			flags   []string
		},
		) bool {
			return f.feature == feature
		})
		if i < 0 {
			return 0, false // a feature of a later llama.cpp: not known to be here
		}
		for _, flag := range cpuFlags[i].flags {
			if !flags[flag] {
				return 0, false
			}
		}
		score |= 1 << i
	}
	return score, true
}
