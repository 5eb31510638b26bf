package main

import (
	"context"
	"path/filepath"
)

// sanitizers are compiled into every library of the sanitized build. Without
// vptr, which takes classes of hidden visibility in two libraries for two classes.
const sanitizers = "-fsanitize=address,undefined -fno-sanitize=vptr -fno-omit-frame-pointer -g1"

// sanitized compiles the product's libraries with the address and the
// undefined-behaviour sanitizer and puts them into build/out/asan, beside those
// of the product and never instead of them.
func (a *app) sanitized(ctx context.Context) error {
	src, err := a.source(ctx)
	if err != nil {
		return err
	}
	name, flags, err := variantFlags(src)
	if err != nil {
		return err
	}
	flags = append(flags,
		"-DCMAKE_C_FLAGS="+sanitizers, "-DCMAKE_CXX_FLAGS="+sanitizers,
		"-DCMAKE_C_FLAGS_RELEASE=-O1 -DNDEBUG", "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG",
		"-DCMAKE_SHARED_LINKER_FLAGS="+sanitizers, "-DCMAKE_MODULE_LINKER_FLAGS="+sanitizers,
		"-DCMAKE_EXE_LINKER_FLAGS="+sanitizers,
	)
	return a.withTree(ctx, name+"-asan", src, flags, nil, func(t nativeTree) error {
		if err := a.ninja(ctx, t, "compile llama.cpp and the shim with sanitizers", "product"); err != nil {
			return err
		}
		files, err := collect([]string{filepath.Join(t.build(), "bin")}, backends)
		if err != nil {
			return err
		}
		return a.install("asan", files)
	})
}
