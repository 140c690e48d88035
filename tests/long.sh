#!/usr/bin/env bash
# Prints the packages that have long tests: those whose tests call testkit.Long.
set -eu
cd "$(dirname "$0")/.."
grep -rl --include='*_test.go' 'testkit\.Long(' pkg services cli tests | xargs -rn1 dirname | sort -u | grep -v '^pkg/testkit$' | sed 's|^|./|'
