#!/usr/bin/env bash
# Runs the fuzz targets of the module, as many at once as there are processors.
# usage: build/fuzz.sh TIME LONGER [PATTERN], e.g. build/fuzz.sh 3s 20s
# Targets that read what peers of tools send (named below) run for LONGER, all
# others for TIME. With PATTERN, an extended regular expression, only those run
# whose "package Target" it matches.
set -euo pipefail
cd "$(dirname "$0")/.."
usage="usage: build/fuzz.sh TIME LONGER [PATTERN]"
time=${1:?$usage} longer=${2:?$usage} pattern=${3:-}

# Arguments and results of tools, OpenAPI documents, messages of MCP clients and servers.
peers="
internal/jsonschema FuzzCheck
mcpserver FuzzDecode
mcpserver FuzzEndpoint
mcpserver/connector/openapi FuzzDocument
mcpserver/connector/upstream FuzzMessages
mcpserver/connector/upstream FuzzSession
mcpserver/router FuzzArguments
mcpserver/router FuzzResults
"

targets=$(grep -rhoH --include='*_test.go' -E '^func Fuzz[A-Za-z0-9_]*' . | sed -E 's|^\./(.*)/[^/]*:func |\1 |' | sort)
if missing=$(grep -vxFf <(echo "$targets") <(grep . <<<"$peers")); then
  echo "build/fuzz.sh names targets that are not there: $missing" >&2
  exit 1
fi
chosen=$(grep -E -- "$pattern" <<<"$targets") || { echo "no fuzz target matches $pattern" >&2; exit 1; }

export module time longer peers
module=$(go list -m)
one() {
  local package=$1 target=$2 for=$time out status try
  if grep -qxF "$package $target" <<<"$peers"; then for=$longer; fi
  for try in 1 2 3; do
    status=0
    # Making a found input smaller may take a minute each, in which nothing is tried.
    out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$for" -fuzzminimizetime 100x -parallel 1 "$module/$package" 2>&1) || status=$?
    # The go command's fuzzer can take the end of its own time for a failure
    # (golang.org/issue/75804): then it says this alone, and has found no input.
    [[ $status != 0 && $out == *"--- FAIL: $target ("*")"$'\n'"    context deadline exceeded"$'\n'"FAIL"$'\n'* && $out != *"Failing input"* ]] || break
    echo "fuzz $package $target: the fuzzer failed by the end of its own time, try $try of 3" >&2
  done
  flock build/fuzz.sh cat <<<"== fuzz $package $target for $for"$'\n'"$out" # one after the other
  return $status
}
export -f one
xargs -P "${HEARTH_JOBS:-$(nproc)}" -L 1 bash -c 'one "$@"' one <<<"$chosen"
echo "fuzzed $(wc -l <<<"$chosen") targets"
