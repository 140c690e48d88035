#!/usr/bin/env bash
# Builds the images of the stack without a registry: our binaries from bin/, and a Redis from the package installed on
# this machine (its binary and the libraries it loads, nothing else).
set -euo pipefail
cd "$(dirname "$0")/../.."
ctx=bin/image
rm -rf "$ctx" && mkdir -p "$ctx"
deploy/compose/rootfs.sh "$ctx/rootfs" /etc/ssl/certs/ca-certificates.crt
for s in discovery supervisor conn-worker proxy edge culvert; do
  cp "bin/$s" "$ctx/$s"
  docker build -q -t "culvert/$s:local" --build-arg SERVICE="$s" -f deploy/compose/Dockerfile.local "$ctx" >/dev/null
  [ "$s" = culvert ] || rm "$ctx/$s" # the engine gets the whole directory for each image
  echo "culvert/$s:local"
done
docker build -q -t culvert/cloudflared:local -f deploy/compose/Dockerfile.cloudflared "$ctx" >/dev/null
echo "culvert/cloudflared:local"

root=bin/redis-image
rm -rf "$root" && mkdir -p "$root/data" "$root/tmp" "$root/usr/bin"
cp -L "$(command -v redis-server)" "$root/usr/bin/redis-server"
cp -L "$(command -v redis-cli)" "$root/usr/bin/redis-cli"
for f in redis-server redis-cli; do ldd "$(command -v $f)" | grep -o '/[^ ]*'; done | sort -u | while read -r lib; do
  mkdir -p "$root$(dirname "$lib")" && cp -L "$lib" "$root$lib"
done
tar -C "$root" --owner=65532 --group=65532 -c . | docker import \
  -c 'USER 65532:65532' -c 'WORKDIR /data' -c 'ENTRYPOINT ["/usr/bin/redis-server"]' - culvert/redis:local >/dev/null
echo "culvert/redis:local"
