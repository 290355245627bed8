# Asks addresses all at once: ADDR... Prints "up ADDR" for one that answers and
# "? ADDR" for one that could not be asked.
for addr; do
	{
		ping -c1 -W1 "$addr" >/dev/null 2>&1
		case $? in
		0) printf 'up %s\n' "$addr" ;;
		1) ;; # silence
		*) printf '? %s\n' "$addr" ;;
		esac
	} &
done
wait
