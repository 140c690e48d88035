#!/usr/bin/env bash
# Runs every fuzz target of every module for the time given as first argument, as many side by side as the second one says
# (one after another without it). What each printed is shown when it has ended; a finding fails the run when all have ended.
set -eu
cd "$(dirname "$0")/.."
export FUZZ_TIME=${1:-20s}
one() {
  out=$(go test "./$1" -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZ_TIME" -parallel "$FUZZ_WORKERS" </dev/null 2>&1) && found=ok || found=FAILED
  [ $found = ok ] && out=$(tail -n 3 <<<"$out")
  printf 'fuzz %s %s: %s\n%s\n' "$1" "$2" "$found" "$out"
  [ $found = ok ]
}
export -f one
jobs=${2:-1}
FUZZ_WORKERS=$(($(nproc) / jobs > 1 ? $(nproc) / jobs : 1))
export FUZZ_WORKERS
grep -rl --include='*_test.go' '^func Fuzz' pkg services cli tests | xargs -n1 dirname | sort -u | while read -r dir; do
  grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | awk -v dir="$dir" '{print dir, $2}'
done | xargs -P "$jobs" -L 1 bash -c 'one "$0" "$1"'
