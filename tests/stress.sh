#!/usr/bin/env bash
# Looks for tests that fail now and then: runs the tests of each package many times under the race detector, with
# GOMAXPROCS 1, 2 and 8, in random order, beside processes that keep every core busy. Prints one line per package and
# GOMAXPROCS; the output of a failed run is kept in the directory that the last line names.
#
#   tests/stress.sh [-n runs] [-t seconds] [-p "1 2 8"] [-l load] [-r pattern] [package directory ...]
#
# -n  runs of each package at each GOMAXPROCS (200)
# -t  bound in seconds for one package at one GOMAXPROCS; what was not run by then is reported as not run (600)
# -p  values of GOMAXPROCS ("1 2 8")
# -l  busy processes beside the tests (one per core)
# -r  pattern of the tests to run (all)
# Without directories it runs every package that has tests, except tests/arch, tests/bench and tests/system.
set -u
cd "$(dirname "$0")/.."
runs=200 bound=600 procs="1 2 8" load=$(nproc) pattern=.
while getopts n:t:p:l:r: o; do
  case $o in
    n) runs=$OPTARG ;; t) bound=$OPTARG ;; p) procs=$OPTARG ;; l) load=$OPTARG ;; r) pattern=$OPTARG ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || mapfile -t packages < <(find pkg services cli tests -name '*_test.go' -printf '%h\n' | sort -u | grep -vE '^tests/(arch|bench|system)$')
[ $# -gt 0 ] && packages=("$@")

out=$(mktemp -d)
busy=()
stop() { [ ${#busy[@]} -gt 0 ] && kill "${busy[@]}" 2>/dev/null; busy=(); }
trap stop EXIT
for ((i = 0; i < load; i++)); do (while :; do :; done) & busy+=($!); done

# A process runs the tests this often, so that one that dies loses few runs, and the check for leaked goroutines, which
# comes at the end of a process, is made many times.
batch=10
failed=0
printf '%-50s %10s %6s %9s %8s\n' package GOMAXPROCS runs failures seconds
for dir in "${packages[@]}"; do
  dir=${dir#./} bin=$out/$(tr / _ <<<"${dir#./}").test
  if ! go test -race -c -o "$bin" "./$dir" >"$out/build.log" 2>&1; then
    cat "$out/build.log"; failed=1; continue
  fi
  [ -e "$bin" ] || continue # it has no test
  for p in $procs; do
    begin=$SECONDS done=0 failures=0
    while [ $done -lt "$runs" ] && [ $((SECONDS - begin)) -lt "$bound" ]; do
      n=$((runs - done < batch ? runs - done : batch))
      log=$out/$(tr / _ <<<"$dir").$p.$done.log
      # The bound stops the series between two processes; a process has time to finish on a slow machine.
      if (cd "$dir" && GOMAXPROCS=$p "$bin" -test.count=$n -test.run="$pattern" -test.shuffle=on -test.timeout="$((bound + 900))s" \
        >"$log" 2>&1); then
        rm -f "$log"
      else
        f=$(grep -c '^--- FAIL' "$log")
        failures=$((failures + (f > 0 ? f : 1)))
      fi
      done=$((done + n))
    done
    [ $failures -eq 0 ] || failed=1
    [ $done -eq "$runs" ] || note=" (bound reached)"
    printf '%-50s %10d %6d %9d %8d%s\n' "$dir" "$p" "$done" "$failures" $((SECONDS - begin)) "${note-}"
    unset note
  done
  rm -f "$bin"
done
echo "output of failed runs: $out"
exit $failed
