#!/usr/bin/env bash
# Makes slot, bundle and disk image of what Buildroot built: post-image.sh IMAGES BOARD
#
# Buildroot calls it at the end (BR2_ROOTFS_POST_IMAGE_SCRIPT). The work is warppool-image's: WARPPOOL_IMAGE names it where it
# is not on PATH. WARPPOOL_SIGNING_KEY names the private key, WARPPOOL_TRUST the trust.toml of a product with several keys.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
images=$1
board=$2
output="$images/warppool"

fail() { printf 'post-image: %s\n' "$*" >&2; exit 1; }

tool="${WARPPOOL_IMAGE:-warppool-image}"
command -v "$tool" >/dev/null || fail "there is no $tool: cargo build --release -p warppool-image makes it, WARPPOOL_IMAGE names it"
[ -r "${WARPPOOL_SIGNING_KEY:-}" ] ||
  fail "WARPPOOL_SIGNING_KEY has to name a readable private key; 'warppool ota keygen FILE' makes one"
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$here/../../../../Cargo.toml")

arguments=(--board "$board" --version "$version" --built "$SOURCE_DATE_EPOCH" --kernel "$images/Image"
  --root "$TARGET_DIR" --table "$here/base.table" --binary "$TARGET_DIR/usr/bin/warppool" --output "$output")
for tree in "$images"/*.dtb; do
  if [ -e "$tree" ]; then arguments+=(--device-tree "$tree"); fi
done
if [ -n "${WARPPOOL_TRUST:-}" ]; then arguments+=(--trust "$WARPPOOL_TRUST"); fi

rm -rf "$output"
"$tool" all "${arguments[@]}"
