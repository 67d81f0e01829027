#!/usr/bin/env bash
# The image by buildah, which needs no Docker engine, on a base that debootstrap makes; then index, ask, a worker and the
# UI run in it as its user, with a read-only root. As root, on Debian; it takes some 12 GB below $WORK, and removes it.
# BUILD_ARGS is for buildah: mounts of package indexes, --build-arg TORCH_INDEX=...
set -euo pipefail
cd "$(dirname "$0")/.."
WORK="${WORK:-$(mktemp -d)}"
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
BUILDAH=(buildah --storage-driver vfs --root "$WORK/storage" --runroot "$WORK/run")
trap '"${BUILDAH[@]}" rm --all >/dev/null 2>&1 || true; rm -rf "$WORK"' EXIT

if ! command -v buildah >/dev/null || ! command -v debootstrap >/dev/null; then
  apt-get update -qq && apt-get install -y -qq --no-install-recommends buildah debootstrap
fi
echo "base: Debian with Python, as python:3.11-slim is"
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$WORK/base" >"$WORK/base.log"
rm -rf "$WORK"/base/var/cache/apt/archives/*.deb "$WORK"/base/var/lib/apt/lists/* \
  "$WORK"/base/usr/share/{doc,man,locale,info}  # as in the slim image
base=$("${BUILDAH[@]}" from scratch)
"${BUILDAH[@]}" copy -q "$base" "$WORK/base" / >/dev/null
"${BUILDAH[@]}" commit -q --rm "$base" ragstone-base >/dev/null
rm -rf "$WORK/base"

# shellcheck disable=SC2086  # words of their own
"${BUILDAH[@]}" bud --format docker --layers=false ${BUILD_ARGS:-} --build-arg BASE=localhost/ragstone-base -t ragstone .
made=$("${BUILDAH[@]}" from --pull-never ragstone)
mkdir -p "$WORK/data" "$WORK/cache" && chown 10001 "$WORK/data" "$WORK/cache"
# In chroot isolation there is no read-only root: what could be written is compared before and after.
run() { "${BUILDAH[@]}" run --user 10001 -v "$WORK/data:/data" -v "$WORK/cache:/cache" "$made" -- "$@"; }
root=$("${BUILDAH[@]}" mount "$made")
bytes=$(du -sb "$root" | cut -f1)
echo "size: $bytes bytes"
listed() { find "$root" -xdev \( -path "$root/tmp" -o -path "$root/data" -o -path "$root/cache" -o -path "$root/run" \
  -o -path "$root/proc" -o -path "$root/sys" -o -path "$root/dev" -o -path "$root/etc" \) -prune -o -newer "$WORK/now" -print; }
touch "$WORK/now" && sleep 1
run id -u | grep -qx 10001
run python -c 'import torch; assert torch.version.cuda is None, "CUDA is in the image"'
run ragstone index /usr/share/ragstone/handbook --kb handbook --json | grep -q '"failed": \[\]'
run ragstone ask "How many days of leave do I have?" --kb handbook | grep -q 25
echo "a password of the test" | run ragstone user add ann --role admin --password-stdin
run sh -c 'tini -- ragstone ui --kb handbook --port 17860 & app=$!
for _ in $(seq 240); do
  python -c "import urllib.request as u; u.urlopen(\"http://127.0.0.1:17860/healthz\")" 2>/dev/null && break; sleep 1; done
python -c "import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:17860/healthz\").read())"
kill -TERM $app; wait $app; code=$?; echo "ended by SIGTERM with $code"; test $code -eq 143'
run sh -c 'tini -- ragstone worker dask://127.0.0.1:17861 --scheduler & scheduler=$!
tini -- ragstone worker dask://127.0.0.1:17861 & worker=$!
ragstone index /usr/share/ragstone/handbook --kb far --workers dask://127.0.0.1:17861 --json | grep -q "\"failed\": \[\]" &&
kill -TERM $worker && wait $worker && kill -TERM $scheduler && wait $scheduler && echo "worker and scheduler ended with 0"'
written=$(listed)
test -z "$written" || { echo "written outside of /data, /cache and /tmp:" "$written"; exit 1; }
test "$bytes" -lt 1500000000 || { echo "the image has $bytes bytes, 1.5 GB are meant"; exit 1; }
echo "the image is as it is meant: $bytes bytes"
