#!/usr/bin/env bash
# Runs each fuzz target of the module for the given time.
# usage: build/fuzz.sh TIME, e.g. build/fuzz.sh 3s
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: build/fuzz.sh TIME}

module=$(go list -m)
count=0
while IFS=: read -r file target; do
  package=$(dirname "$file")
  echo "== fuzz ${package#./} $target for $time"
  # Making a found input smaller may take a minute each, in which nothing is tried.
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 100x "$module/${package#./}"
  count=$((count + 1))
done < <(grep -rhoH --include='*_test.go' -E '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func /:/' | sort)
echo "fuzzed $count targets"
