# Rocky Linux and AlmaLinux.

# curl by its file, for the package is called curl-minimal on some images.
base_packages=(
	bash-completion ca-certificates /usr/bin/curl dnf-plugins-core git lsof qemu-guest-agent rsync sudo tar tmux
	unzip vim-enhanced wget
)

# dnf never asks, and waits for whoever has its lock by itself.
dnf() { command dnf -y --setopt=retries=3 "$@" </dev/null; }

read_lists() { dnf makecache --refresh; }

upgrade() { dnf upgrade; }

install_all() { dnf install -- "$@"; }

set_locale() {
	say "setting the locale to $PVEBOT_LOCALE"
	local language=${PVEBOT_LOCALE%%[_.@]*}
	if [ "$language" != C ]; then
		dnf install -- "glibc-langpack-$language" ||
			die 2 "PVEBOT_LOCALE: this system knows no locale $PVEBOT_LOCALE"
	fi
	grep -qxiF -- "${PVEBOT_LOCALE/UTF-8/utf8}" <<<"$(locale -a)" ||
		die 2 "PVEBOT_LOCALE: this system knows no locale $PVEBOT_LOCALE"
	printf 'LANG=%s\n' "$PVEBOT_LOCALE" >/etc/locale.conf
}

clean_up() {
	say 'cleaning up'
	dnf clean packages
}

# A reboot is due when dnf says so: the kernel or a library that everything
# uses was updated since the boot. Its exit status is the same for an error.
reboot_required() {
	local said
	said=$(command dnf needs-restarting -r 2>&1) || :
	[[ $said == *'Reboot is required'* ]]
}
