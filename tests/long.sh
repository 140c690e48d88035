#!/usr/bin/env bash
# Prints the packages that have long tests: those whose tests call testkit.Long or testkit.LongCount.
set -eu
cd "$(dirname "$0")/.."
grep -rl --include='*_test.go' -E 'testkit\.Long(Count)?\(' pkg services cli tests | xargs -rn1 dirname | sort -u | grep -v '^pkg/testkit$' | sed 's|^|./|'
