#!/usr/bin/env bash
# Closes make test: says which tests did not run, and why.
set -euo pipefail
cd "$(dirname "$0")/out/test"

echo "== skipped tests"
{ cat skipped-go; grep -h '^SKIPPED' pytest.log || true; } >skipped
if [ -s skipped ]; then cat skipped; else echo "none"; fi
