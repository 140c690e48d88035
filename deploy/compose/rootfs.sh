#!/bin/sh
# rootfs.sh DIR ROOTS: what an image has besides the binary. DIR/etc belongs to root: the CA roots (the PEM file ROOTS), a user
# and a name service. DIR/writable belongs to the user: mount points of volumes, and a directory for temporary files.
set -eu
dir=$1 roots=$2
[ -s "$roots" ] || { echo "$roots is not there: install the package ca-certificates" >&2; exit 1; }
mkdir -p "$dir/etc/ssl/certs" "$dir/writable"
cp -L "$roots" "$dir/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/:/sbin/nologin\nculvert:x:65532:65532:culvert:/data:/sbin/nologin\n' >"$dir/etc/passwd"
printf 'root:x:0:\nculvert:x:65532:\n' >"$dir/etc/group"
printf 'hosts: files dns\n' >"$dir/etc/nsswitch.conf"
for d in data shared pki store-acl store-secret tmp; do mkdir -p "$dir/writable/$d"; done
chmod 700 "$dir/writable/store-secret"
