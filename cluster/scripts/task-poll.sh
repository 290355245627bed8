# Waits for more output of a task, or its end: RUN KEY NONCE BOOTID OFFSET LOOKS
# PAUSE LIMIT, with so many tenths of a second (1 to 9) between two looks. Prints
# a line "STATE CODE BOOT BYTES", then so many bytes of output from OFFSET on.
# BOOT is the boot id of the task, or of now if it is gone.
dir=$1/$2 nonce=$3 bootid=$4 offset=$5 looks=$6 pause=$7 limit=$8
while :; do
	find_state
	# The size is taken after the state: an end seen means an output complete.
	size=$offset
	[ "$state" = gone ] || size=$(($(wc -c <"$dir/out")))
	case $state in running | waiting) ;; *) break ;; esac
	if [ "$size" -gt "$offset" ] || [ "$looks" -le 0 ]; then break; fi
	looks=$((looks - 1))
	sleep "0.$pause"
done
bytes=$((size - offset))
[ "$bytes" -ge 0 ] || bytes=0
[ "$bytes" -le "$limit" ] || bytes=$limit
[ "$state" = gone ] || bootid=$dir/boot
read -r boot <"$bootid"
printf '%s %s %s %s\n' "$state" "$code" "$boot" "$bytes"
[ "$bytes" = 0 ] || tail -c "+$((offset + 1))" "$dir/out" | head -c "$bytes"
