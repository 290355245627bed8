# Tells what a node has, for whoever looks for trouble: DIR TOOL... Prints "user
# NAME", "time SECONDS", "space BYTES" free where DIR is or will be, and "has
# TOOL" or "lacks TOOL".
dir=$1
shift
printf 'user %s\n' "$(id -un)"
printf 'time %s\n' "$(date +%s)"
while [ ! -d "$dir" ]; do dir=$(dirname -- "$dir"); done
# shellcheck disable=SC2046 # two numbers
set -- $(stat -f -c '%a %S' -- "$dir") "$@"
printf 'space %s\n' "$(($1 * $2))"
shift 2
for tool; do
	if command -v "$tool" >/dev/null; then
		printf 'has %s\n' "$tool"
	else
		printf 'lacks %s\n' "$tool"
	fi
done
