# Starts a task once: RUN KEY NONCE BOOTID STDIN-BYTES CMD RUN-SCRIPT SYSTEMD, the
# task's input on stdin. Prints the boot id of the task that is there now.
# When it fails, it leaves no task behind.

# A dying connection must not stop us half way. Handlers, unlike ignored
# signals, are not handed down to the command.
trap : HUP INT TERM PIPE
umask 077
run=$1 key=$2 nonce=$3 bootid=$4 bytes=$5
dir=$run/$key
new=$run/.new.$nonce
command -v setsid >/dev/null || { echo 'setsid is missing on this node' >&2; exit 1; }
if [ ! -d "$dir" ]; then
	mkdir -p "$new" &&
		cat >"$new/stdin" &&
		read -r boot <"$bootid" &&
		printf '%s\n' "$boot" >"$new/boot" &&
		printf '%s\n' "$6" >"$new/cmd" &&
		printf '%s\n' "$7" >"$new/run" &&
		: >"$new/out" &&
		read -r up _ </proc/uptime &&
		printf '%s\n' "${up%.*}" >"$new/uptime" || { rm -rf "$new"; exit 1; }
	# A connection that broke looks like the end of the input.
	if [ "$(($(wc -c <"$new/stdin")))" != "$bytes" ]; then
		rm -rf "$new"
		echo 'the input of the command did not arrive whole' >&2
		exit 1
	fi
	if mv -T "$new" "$dir" 2>/dev/null; then
		# A systemd-run that fails may have launched it all the same, but the
		# run script begins only once.
		if ! { [ -d "$8" ] && command -v systemd-run >/dev/null &&
			systemd-run --quiet --no-ask-password --collect --unit="pvebot-$key-$nonce" \
				--setenv=PATH="$PATH" /bin/sh "$dir/run" </dev/null >/dev/null 2>&1; }; then
			setsid /bin/sh "$dir/run" </dev/null >/dev/null 2>&1 &
		fi
	else
		rm -rf "$new"
	fi
fi
cat "$dir/boot"
