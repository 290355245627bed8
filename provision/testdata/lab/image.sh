#!/bin/bash
# Makes a Debian 12 as a cloud image has it, with cloud-init and sshd: DIR/root.raw,
# a file system, and its DIR/vmlinuz and DIR/initrd.img: DIR [MIRROR]. As root,
# in a mount namespace of its own.
set -euo pipefail
dir=$1 mirror=${2-}
root=$dir/root

rm -rf "$root"
mkdir -p "$dir"
debootstrap --variant=minbase bookworm "$root" ${mirror:+"$mirror"}
cat /etc/resolv.conf >"$root/etc/resolv.conf"
mount -t proc proc "$root/proc"
chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
	apt-get install -q -y --no-install-recommends \
	ca-certificates cloud-init dbus ifupdown iproute2 kmod locales linux-image-cloud-amd64 netbase \
	openssh-server procps sudo systemd-sysv udev
umount "$root/proc"

# As cloud images have it: neither host keys nor a machine id, which the first
# boot makes; cloud-init looks for its drive only, and needs no other locale.
printf 'LANG=C.UTF-8\n' >"$root/etc/default/locale"
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id"
: >"$root/etc/machine-id"
printf 'LABEL=lab-root / ext4 defaults 0 1\n' >"$root/etc/fstab"
printf 'datasource_list: [NoCloud]\nlocale: C.UTF-8\n' >"$root/etc/cloud/cloud.cfg.d/90_lab.cfg"

cp "$root"/boot/initrd.img-* "$dir/initrd.img"
truncate -s 3G "$dir/root.raw.part"
mkfs.ext4 -q -L lab-root -d "$root" "$dir/root.raw.part"
cp "$root"/boot/vmlinuz-* "$dir/vmlinuz"
mv "$dir/root.raw.part" "$dir/root.raw"
rm -rf "$root"
