# Debian and Ubuntu.

export DEBIAN_FRONTEND=noninteractive
export NEEDRESTART_MODE=a # services are restarted as packages need it, without a question

base_packages=(
	bash-completion ca-certificates curl git htop locales lsof qemu-guest-agent rsync sudo tmux unzip vim wget
)

# apt runs apt-get so that it never asks, and waits for whoever has dpkg's lock:
# the system's own updates like to run right after the first boot.
apt() {
	apt-get -q -y \
		-o DPkg::Lock::Timeout=300 \
		-o Acquire::Retries=3 \
		-o Dpkg::Use-Pty=0 \
		-o Dpkg::Options::=--force-confdef \
		-o Dpkg::Options::=--force-confold \
		"$@" </dev/null
}

# The lists have a lock of their own, for which apt-get does not wait.
read_lists() {
	local said status=0
	said=$(mktemp)
	apt -o APT::Update::Error-Mode=any update 2>&1 | tee "$said" || status=$?
	if [ "$status" != 0 ] && only_gone "$said"; then
		do_without "$said"
		status=0
	fi
	rm -f "$said"
	return "$status"
}

# gone is how apt-get says that the archive has no such source any more, as it
# does with backports after a system's end.
gone='^E: (The repository .* (does not have|no longer has|no longer have) a Release file|Failed to fetch .* 404 )'

# only_gone FILE: are sources that are gone all that apt-get complains of there?
only_gone() {
	if ! grep -Eq "$gone" "$1"; then
		return 1
	fi
	! grep '^E: ' "$1" | grep -Eqv "$gone|^E: Some index files failed to download"
}

# do_without FILE: the other sources are enough, or it is no use to try again.
do_without() {
	local what
	while read -r _ what; do
		printf 'pvebot: warning: %s\n' "$what"
	done <<<"$(grep -E "$gone" "$1")"
	apt -s install -- "${base_packages[@]}" >/dev/null ||
		die 3 'package sources of the image are gone, and what is left of them is not enough'
}

upgrade() { apt --with-new-pkgs upgrade; }

install_all() { apt install -- "$@"; }

set_locale() {
	say "setting the locale to $PVEBOT_LOCALE"
	# After the packages, for this list comes with one.
	grep -qxF -- "$PVEBOT_LOCALE UTF-8" /usr/share/i18n/SUPPORTED ||
		die 2 "PVEBOT_LOCALE: this system knows no locale $PVEBOT_LOCALE"
	grep -qxF -- "$PVEBOT_LOCALE UTF-8" /etc/locale.gen ||
		printf '%s UTF-8\n' "$PVEBOT_LOCALE" >>/etc/locale.gen
	locale-gen
	update-locale "LANG=$PVEBOT_LOCALE"
}

clean_up() {
	say 'cleaning up'
	apt autoremove
	apt clean
}

# A reboot is due when a package said so, or when the kernel that would be
# booted is not the one that runs.
reboot_required() {
	local kernel
	if [ -e /run/reboot-required ]; then
		return 0
	fi
	for kernel in /vmlinuz /boot/vmlinuz; do
		if [ -e "$kernel" ] && [ "$(readlink -f "$kernel")" != "/boot/vmlinuz-$(uname -r)" ]; then
			return 0
		fi
	done
	return 1
}
