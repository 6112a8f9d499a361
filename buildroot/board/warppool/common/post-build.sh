#!/usr/bin/env bash
# Makes the appliance's root of Buildroot's target folder: post-build.sh TARGET BOARD
#
# Buildroot calls it when all packages and overlays are installed (BR2_ROOTFS_POST_BUILD_SCRIPT). The root lies in memory and
# travels with every update, so what nobody uses is taken out: by a list where a package installs more than is wanted, by
# what is wanted where it installs very much. It may run again on a folder that it has been through.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
target=$1
board=$2
boards=$here/..

say() { printf 'post-build: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

# --- Kernel modules: what PID 1 loads at boot, and what the kernel itself asks for by name. ---

keep=("$target/etc/warppool/modules")
# The node's image runs on the Pi's kernel.
if [ -e "$boards/${board%-node}/modules" ]; then keep+=("$boards/${board%-node}/modules"); fi
versions=("$target"/lib/modules/*/)
if [ ${#versions[@]} -ne 1 ] || [ ! -d "${versions[0]}" ]; then
  fail "there should be the modules of one kernel in $target/lib/modules; make clean removes what an earlier one left"
fi
version=$(basename "${versions[0]}")
"$here/prune-modules.sh" "$target/lib/modules/$version" "${keep[@]}"
"$HOST_DIR/sbin/depmod" -b "$target" "$version"
rm -f "$target/lib/modules/$version"/modules.*.bin "$target/lib/modules/$version"/{build,source}

# --- Wi-Fi: every board here has the CYW43455. ---

if [ -d "$target/lib/firmware" ]; then
  find "$target/lib/firmware" -mindepth 1 \( -type f -o -type l \) \
    ! -name '*fmac43455-sdio*' ! -name 'regulatory.db*' -delete
  # A link whose file was another chip's is left over.
  find "$target/lib/firmware" -xtype l -delete
  find "$target/lib/firmware" -mindepth 1 -type d -empty -delete
  for file in brcm/brcmfmac43455-sdio.bin brcm/brcmfmac43455-sdio.txt regulatory.db; do
    [ -e "$target/lib/firmware/$file" ] || fail "the Wi-Fi firmware lacks $file"
  done
fi

# --- Certificates: one file, not a link for each of them besides. ---

certs="$target/etc/ssl/certs"
[ -s "$certs/ca-certificates.crt" ] || fail "there is no $certs/ca-certificates.crt"
find "$certs" -mindepth 1 ! -name ca-certificates.crt -delete
rm -rf "$target/usr/share/ca-certificates" "$target/etc/ca-certificates.conf"

# --- Time zones: as POSIX counts seconds, each zone a file under its own name. ---

zones="$target/usr/share/zoneinfo"
if [ -d "$zones/posix" ]; then
  find "$zones" -mindepth 1 -maxdepth 1 -type l -delete
  mv "$zones"/posix/* "$zones"
fi
rm -rf "$zones"/{posix,right} "$zones"/*.tab "$zones/leap-seconds.list"
[ -s "$zones/Europe/Berlin" ] || fail "there are no time zones in $zones"

# --- Programs and files that come along with those that are used. ---

unused=(
  # e2fsprogs: e2fsck and mke2fs stay.
  bin/{chattr,compile_et,lsattr,mk_cmds} sbin/{badblocks,dumpe2fs,e2freefrag,e2label,e2mmpstatus,e2undo,e4crypt,filefrag,findfs,logsave}
  sbin/{fsck.ext2,fsck.ext3,fsck.ext4,mkfs.ext2,mkfs.ext3,mkfs.ext4,mklost+found,tune2fs}
  etc/e2scrub.conf usr/lib/e2fsprogs usr/share/et usr/share/ss
  # Bitcoin Core: bitcoind and bitcoin-cli stay.
  usr/bin/{bitcoin,bitcoin-tx,bitcoin-util,bitcoin-wallet} usr/libexec/{bitcoin-chainstate,bitcoin-node}
  # Dropbear: its keys are kept on the data partition, PID 1 makes them.
  usr/bin/dropbearconvert etc/dropbear
  # BusyBox' and wpa_supplicant's own examples, where ours are used.
  usr/share/udhcpc/default.script usr/share/udhcpc/default.script.d etc/wpa_supplicant.conf
  # The skeleton's: PID 1 is no init with scripts, nobody has a password, and names of ports are not asked for.
  etc/init.d etc/network etc/inittab etc/fstab etc/mtab etc/shadow etc/issue etc/protocols etc/services etc/profile.d
  media mnt opt
  # Headers' and archives' remains.
  usr/share/man usr/share/doc usr/share/bash-completion usr/share/locale
)
for path in "${unused[@]}"; do rm -rf "${target:?}/$path"; done

# --- What must be there: a root without one of these does not come up. ---

for file in init usr/bin/warppool bin/busybox bin/sh sbin/e2fsck sbin/mke2fs sbin/modprobe sbin/ip sbin/udhcpc \
  etc/passwd etc/group etc/resolv.conf; do
  [ -e "$target/$file" ] || [ -L "$target/$file" ] || fail "the root lacks /$file"
done
if [[ $board == *-node ]]; then
  [ -x "$target/usr/bin/bitcoind" ] || fail "the node's image lacks /usr/bin/bitcoind"
fi
if find "$target" -perm /6000 -type f -print | grep .; then fail "the files above are setuid or setgid; nothing in the image may be"; fi

say "the root for $board is $(du -sk "$target" | cut -f 1) KiB."
