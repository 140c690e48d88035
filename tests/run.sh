#!/usr/bin/env bash
# Runs the tests of the given packages, or of all, in random order and prints a summary. The race detector runs where goroutines are: packages
# that tests/plain.sh lists run without it, first because the largest of them uses every core.
#
#   tests/run.sh [package ...]
set -euo pipefail
cd "$(dirname "$0")/.."
# Most of a test's time is waiting, so more packages run at once than there are cores. At the end of a program the race detector waits for
# other threads to finish; its default of one second would be a third of the whole time.
export GORACE="${GORACE:-atexit_sleep_ms=50}"
tests() { go test -json -shuffle=on -timeout 15m -p "$(($(nproc) * 2))" "$@"; }
all=$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' "${@:-work}" | sort)
plain=$(comm -12 <(echo "$all") <(tests/plain.sh | sort))
# The suites of cli and tests wait longest and come first, so that the others run beside them.
concurrent=$(comm -23 <(echo "$all") <(echo "$plain") | awk '{print ($0 ~ "/culvert/(cli|tests)/" ? 0 : 1), $0}' | sort | cut -d' ' -f2)
{
  status=0
  [ -z "$plain" ] || tests $plain || status=$?
  [ -z "$concurrent" ] || tests -race $concurrent || status=$?
  exit $status
} | go run ./tests/summary
