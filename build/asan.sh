#!/usr/bin/env bash
# Runs the tests that call C with the libraries of build/out/asan, which the
# address and the undefined-behaviour sanitizer watch. What they find ends the
# process, and so fails its test.
# usage: build/asan.sh [ARGUMENTS OF A TEST BINARY], e.g. build/asan.sh -test.run 'Sampler'
set -euo pipefail
cd "$(dirname "$0")/.."
libs=$PWD/build/out/asan

# What is watched has larger frames, and llama.cpp's tokenizers recurse.
ulimit -s 131072

# The program and the RPC server inherit this; the tests of the whole program
# reach the shim through them.
watched=(
  HEARTH_LIB_DIR="$libs" LD_LIBRARY_PATH="$libs"
  LD_PRELOAD="$(cc -print-file-name=libasan.so) $(cc -print-file-name=libubsan.so)"
  # Go's runtime has handlers of its own, and keeps memory that the leak checker
  # does not know; the tests count handles that stay open.
  ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:allow_user_segv_handler=1
  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
)

# The tests of tests/ that pass what is odd or hostile; the others of that folder
# compare texts and speeds.
doors='^(TestHostileRequests|TestWhatKills.*|TestCommands.*|TestBatchSurvives.*|TestBadModel.*|TestCellTypes|TestRefusals.*|TestSecondIdentical.*)$'

run() { # package, then arguments of its test binary
  local package=$1 binary=$libs/${1//\//-}.test
  shift
  echo "== $package with sanitizers"
  go test -c -o "$binary" "./$package"
  (cd "$package" && env "${watched[@]}" "$binary" -test.timeout 3h "$@")
}

run inference/llama "$@"
run inference/chat "$@"
HEARTH_HOSTILE=${HEARTH_HOSTILE:-100} run tests -test.run "$doors" "$@"
echo "the sanitizers found nothing"
