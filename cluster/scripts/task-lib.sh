# shellcheck disable=SC2034,SC2154 # variables shared with the scripts after this one
# How tasks look on a node; the other task scripts are read after this one.
#
# RUN/KEY/ holds
#   boot     the node's boot id when the task was started
#   uptime   the node's uptime then, in seconds
#   cmd      the command, quoted for a shell
#   stdin    its input, removed when it has ended
#   run      the script that runs it (task-run.sh)
#   began/   exists once, by whoever gets it there first: the run script, which
#            puts its pid and start time into began/pid, or somebody who gives
#            the task up and puts zeros there, so that it never begins
#   out      what it prints
#   status   its exit status, written last

# started_at PID prints the start time of a living process, in ticks since boot.
started_at() {
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
	# shellcheck disable=SC2086 # what follows the name, which may hold blanks
	set -- ${stat##*) }
	case $1 in Z | X) return 1 ;; esac
	printf '%s\n' "${20}"
}

# read_status sets code, to 0 where there is no status, or an empty one: a full
# /run takes files, but not what is in them.
read_status() {
	{ read -r code <"$dir/status"; } 2>/dev/null && [ -n "$code" ] && return
	code=0
	return 1
}

# find_state sets state to gone, exited, lost, running or waiting (not begun yet), and
# code and pid with it. It needs dir, bootid (the file) and nonce.
find_state() {
	pid=0
	state=gone code=0
	[ -d "$dir" ] || return 0
	state=exited
	read_status && return 0
	state=lost
	{ read -r boot_now <"$bootid" && read -r boot_then <"$dir/boot"; } 2>/dev/null || return 0
	[ "$boot_now" = "$boot_then" ] || return 0
	if { read -r pid start <"$dir/began/pid"; } 2>/dev/null; then
		if [ "$pid" != 0 ] && [ "$(started_at "$pid")" = "$start" ]; then
			state=running
			return 0
		fi
		# It may have ended between our two looks.
		read_status && state=exited
		return 0
	fi
	state=waiting
	read -r now _ </proc/uptime
	read -r moved <"$dir/uptime" || moved=0
	[ "$((${now%.*} - moved))" -lt 10 ] || give_up
}

# give_up sees to it that a task that has not begun never will.
give_up() {
	mkdir -p "$dir/giveup.$nonce"
	printf '0 0\n' >"$dir/giveup.$nonce/pid"
	if mv -T "$dir/giveup.$nonce" "$dir/began" 2>/dev/null; then
		state=lost
	else
		rm -rf "$dir/giveup.$nonce" # it has just begun after all
	fi
}
