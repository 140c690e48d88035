#!/usr/bin/env bash
# Prints the packages whose tests `make test` runs without the race detector, which finds nothing there and costs several times the CPU time:
# those where everything runs in one goroutine. Neither their tests nor any package of this repository that they import starts one, runs
# subtests in parallel, or uses what starts goroutines (net/http, testing/synctest).
#
# tests/sim is the one exception: each of its runs is one goroutine, and goroutines share out the seeds. `make test-long` runs it with the
# race detector.
set -euo pipefail
cd "$(dirname "$0")/.."
starts='^\s*go (func|[a-zA-Z])|\.Go\(|AfterFunc\(|^\s*([a-z]+ )?"(net/http|testing/synctest)'
directories() { xargs -r dirname | sort -u; }
{
  grep -rlE --include='*.go' --exclude='*_test.go' "$starts" pkg services cli tests | directories | sed 's/^/imported /'
  grep -rlE --include='*_test.go' "$starts|\.Parallel\(\)" pkg services cli tests | directories | sed 's/^/tested /'
  go list -test -f '{{.ImportPath}} {{join .Deps " "}}' work | sed -n 's/^\([^ ]*\)\.test /package \1 /p'
} | awk '
  $1 == "imported" { concurrent[module $2]; next }
  $1 == "tested"   { concurrentTests[module $2]; next }
  {
    plain = !($2 in concurrentTests)
    for (i = 3; i <= NF; i++) if ($i in concurrent) plain = 0
    if (plain || $2 ~ "/tests/sim(/|$)") print $2
  }' module=github.com/culvert-tunnel/culvert/
