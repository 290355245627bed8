# Sends SIGTERM to the process group of a running task: RUN KEY NONCE BOOTID.
dir=$1/$2 nonce=$3 bootid=$4
find_state
[ "$state" != waiting ] || give_up
[ "$state" != waiting ] || find_state
[ "$state" = running ] || exit 0
kill -s TERM -- "-$pid" 2>/dev/null || {
	find_state
	[ "$state" != running ]
}
