#!/bin/sh
# Regenerates edge.capnp.go. Needs the capnp compiler and, on PATH, capnpc-go built from the version of
# capnproto.org/go/capnp/v3 that go.mod names.
set -eu
cd "$(dirname "$0")"
std="$(go list -m -f '{{.Dir}}' capnproto.org/go/capnp/v3)/std"
capnp compile -I"$std" -o- edge.capnp | capnpc-go -schemas=false -structstrings=false
