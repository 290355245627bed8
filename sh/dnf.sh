# Rocky Linux and AlmaLinux.

# curl by its file, for the package is called curl-minimal on some images.
base_packages=(
	bash-completion ca-certificates /usr/bin/curl dnf-plugins-core git lsof qemu-guest-agent rsync sudo tar tmux
	unzip vim-enhanced wget
)

# dnf never asks, and waits for whoever has its lock by itself.
dnf() { command dnf -y --setopt=retries=3 ${gone[@]+"${gone[@]}"} "$@" </dev/null; }

# gone are the options for repositories that their servers have given up.
gone=()

# read_lists does without a repository that is gone, when the others have the base
# packages. dnf stops at the first one, and so its lists are read again after each.
read_lists() {
	local said repo
	while ! said=$(dnf makecache --refresh 2>&1); do
		printf '%s\n' "$said"
		repo=
		if [[ $said == *'Status code: 404 for '* && $said =~ $no_metadata ]]; then repo=${BASH_REMATCH[1]}; fi
		if [[ -z $repo || " ${gone[*]-} " == *" --setopt=$repo.skip_if_unavailable=1 "* ]]; then return 1; fi
		printf 'pvebot: warning: the repository %s is gone: its server has no such thing any more\n' "$repo"
		gone+=("--setopt=$repo.skip_if_unavailable=1")
	done
	printf '%s\n' "$said"
	if [ "${#gone[@]}" -gt 0 ] && no_match; then
		die 3 'package repositories of the image are gone, and what is left of them is not enough'
	fi
	return 0
}

# no_metadata is how dnf names the repository that it stops at.
no_metadata="Error: Failed to download metadata for repo '([A-Za-z0-9._-]+)'"

# no_match: some of the base packages are not to be had. Dnf fails in any case when
# it may not go on.
no_match() {
	local said
	said=$(dnf install --assumeno -- "${base_packages[@]}" 2>&1) || :
	[[ $said == *'Unable to find a match'* ]]
}

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
