#!/bin/sh
# rootfs.sh DIR ROOTS: what an image has besides the binary. DIR/etc belongs to root: the CA roots (the PEM file ROOTS), a user
# and a name service. DIR/writable belongs to the user: mount points of volumes, and a directory for temporary files.
# DIR/cloudflared and DIR/home are what the image with the layout of cloudflared's has in their place: its user, whose home is a mount
# point of configurations, and the second name of the binary.
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
mkdir -p "$dir/cloudflared/usr/local/bin" "$dir/home/home/nonroot" "$dir/home/tmp"
cp -R "$dir/etc" "$dir/cloudflared/etc"
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$dir/cloudflared/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$dir/cloudflared/etc/group"
ln -sf cloudflared "$dir/cloudflared/usr/local/bin/culvert"
