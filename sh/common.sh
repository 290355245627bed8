#!/bin/bash
# Initialises a fresh guest, as root. Run again, it brings the guest to the same
# state again. Here is what all systems have in common; the functions of the
# guest's family of systems follow, and only the very last line starts it all,
# so that a script that arrives in part does nothing. Package sources stay as
# the image has them.
#
# By environment, each optional:
#   PVEBOT_TIMEZONE   such as Europe/Berlin; otherwise the image's stays
#   PVEBOT_LOCALE     such as en_US.UTF-8; otherwise the image's stays
#   PVEBOT_SWAP_MB    size of a swap file in MiB; otherwise there is none
#   PVEBOT_PACKAGES   names of more packages, between blanks
#   PVEBOT_UPGRADE    1 upgrades what is installed
#   PVEBOT_ROOT_HASH  root's password for the console, as crypt(3) hashes it;
#                     otherwise root has none
#
# The exit status is
#   0  all is done; the last line is "pvebot: reboot required" if it takes a
#      reboot to come into effect
#   1  a step failed: the last lines say which
#   2  an option is wrong, or this is not the script's system; nothing was done
#   3  the package sources can't be read
#   4  packages can't be installed
set -euo pipefail
set -f # no word of an option is a pattern

export LC_ALL=C.UTF-8
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

step='starting'

say() {
	step=$1
	printf '==> %s\n' "$1"
}

# die STATUS TEXT
die() {
	printf 'pvebot: %s\n' "$2" >&2
	trap - EXIT
	exit "$1"
}

ended() {
	local status=$?
	if [ "$status" != 0 ]; then
		printf 'pvebot: failed while %s (status %s)\n' "$step" "$status" >&2
		exit 1
	fi
}
trap ended EXIT

# is_system: does the script run where it belongs? Versions of Rocky Linux and
# AlmaLinux have a second part, which does not matter.
is_system() {
	local name
	# shellcheck disable=SC1091 # it is the guest's
	name=$(. /etc/os-release && printf '%s:%s' "$ID" "$VERSION_ID")
	case $name in
	"$os_id:$os_version" | "$os_id:$os_version".*) return 0 ;;
	esac
	return 1
}

check_options() {
	local name
	[ "$(id -u)" = 0 ] || die 2 'run this as root'
	is_system || die 2 "this is the script for $os_id $os_version, and not for this system"
	case ${PVEBOT_TIMEZONE:-} in
	/* | *..* | *[!A-Za-z0-9_+/-]*) die 2 "PVEBOT_TIMEZONE: no time zone is called $PVEBOT_TIMEZONE" ;;
	?*) [ -f "/usr/share/zoneinfo/$PVEBOT_TIMEZONE" ] ||
		die 2 "PVEBOT_TIMEZONE: this system knows no time zone $PVEBOT_TIMEZONE" ;;
	esac
	case ${PVEBOT_LOCALE:-} in
	*[!A-Za-z0-9_.@-]*) die 2 "PVEBOT_LOCALE: no locale is called $PVEBOT_LOCALE" ;;
	esac
	case ${PVEBOT_SWAP_MB:-} in
	*[!0-9]*) die 2 "PVEBOT_SWAP_MB wants a number of MiB, not $PVEBOT_SWAP_MB" ;;
	esac
	for name in ${PVEBOT_PACKAGES:-}; do
		case $name in
		-* | *- | *[!A-Za-z0-9+._-]*) die 2 "PVEBOT_PACKAGES: no package is called $name" ;;
		esac
	done
	case ${PVEBOT_UPGRADE:-} in
	'' | 0 | 1) ;;
	*) die 2 "PVEBOT_UPGRADE is 0 or 1, not $PVEBOT_UPGRADE" ;;
	esac
	case ${PVEBOT_ROOT_HASH:-} in
	'' | '$'[56]'$'*) ;;
	*) die 2 'PVEBOT_ROOT_HASH is no hash of crypt(3) with SHA-256 or SHA-512' ;;
	esac
}

# A network that has just come up may need a moment until it answers.
update_lists() {
	say 'reading the package lists'
	local try
	for try in 1 2 3 4 5 6 7 8 9 10 11 12; do
		if read_lists; then
			return
		fi
		printf 'no package lists yet (try %s of 12)\n' "$try"
		sleep 10
	done
	die 3 'the package lists cannot be read: does the guest reach its package sources?'
}

upgrade_packages() {
	say 'upgrading what is installed'
	upgrade || die 4 'what is installed cannot be upgraded'
}

install_packages() {
	local name packages=("${base_packages[@]}")
	for name in ${PVEBOT_PACKAGES:-}; do
		packages+=("$name")
	done
	say "installing ${packages[*]}"
	install_all "${packages[@]}" || die 4 "packages cannot be installed: ${packages[*]}"
}

start_agent() {
	say 'starting the guest agent'
	# Where the agent's device starts it, there is nothing to enable.
	systemctl enable qemu-guest-agent || :
	if [ -e /dev/virtio-ports/org.qemu.guest_agent.0 ]; then
		systemctl start qemu-guest-agent
	else
		printf 'the VM has no agent device; the agent starts once it gets one\n'
	fi
}

set_time_zone() {
	say "setting the time zone to $PVEBOT_TIMEZONE"
	if [ -d /run/systemd/system ]; then
		timedatectl set-timezone "$PVEBOT_TIMEZONE"
	else
		ln -sfn "/usr/share/zoneinfo/$PVEBOT_TIMEZONE" /etc/localtime
	fi
}

set_root_password() {
	say 'setting the password of root'
	printf 'root:%s\n' "$PVEBOT_ROOT_HASH" | chpasswd -e
}

set_kernel_options() {
	say 'setting kernel options'
	cat >/etc/sysctl.d/60-pvebot.conf <<-'END'
		# Written when this guest was initialised.
		# Swap is for emergencies.
		vm.swappiness = 10
		# Editors, builds and containers watch many files.
		fs.inotify.max_user_instances = 512
		# A guest that panicked comes back by itself.
		kernel.panic = 10
	END
	sysctl -q -p /etc/sysctl.d/60-pvebot.conf
}

add_swap() {
	local file=/swapfile size=$((PVEBOT_SWAP_MB * 1024 * 1024))
	say "adding $PVEBOT_SWAP_MB MiB of swap"
	if ! grep -q "^$file " /proc/swaps || [ "$(stat -c %s "$file")" != "$size" ]; then
		if grep -q "^$file " /proc/swaps; then
			swapoff "$file"
		fi
		rm -f "$file"
		: >"$file"
		chmod 0600 "$file"
		fallocate -l "$size" "$file"
		mkswap "$file"
		if ! swapon "$file"; then
			printf 'this file system wants a swap file that was written to\n'
			dd if=/dev/zero "of=$file" bs=1M "count=$PVEBOT_SWAP_MB"
			mkswap "$file"
			swapon "$file"
		fi
	fi
	grep -q "^$file " /etc/fstab || printf '%s none swap sw 0 0\n' "$file" >>/etc/fstab
}

leave_marker() {
	mkdir -p /var/lib/pvebot
	printf '%s %s %s\n' "$os_id" "$os_version" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >/var/lib/pvebot/init.done.new
	mv -f /var/lib/pvebot/init.done.new /var/lib/pvebot/init.done
}

main() {
	check_options
	update_lists
	if [ "${PVEBOT_UPGRADE:-}" = 1 ]; then
		upgrade_packages
	fi
	install_packages
	start_agent
	if [ -n "${PVEBOT_TIMEZONE:-}" ]; then
		set_time_zone
	fi
	if [ -n "${PVEBOT_LOCALE:-}" ]; then
		set_locale
	fi
	if [ -n "${PVEBOT_ROOT_HASH:-}" ]; then
		set_root_password
	fi
	set_kernel_options
	if [ "${PVEBOT_SWAP_MB:-0}" -gt 0 ]; then
		add_swap
	fi
	clean_up
	leave_marker
	say 'done'
	if reboot_required; then
		printf 'pvebot: reboot required\n'
	fi
}
