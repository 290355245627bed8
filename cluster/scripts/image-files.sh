# Lists the files of a folder of images: DIR. Prints size, age in seconds, name.
cd -- "$1" 2>/dev/null || exit 0
now=$(date +%s)
for f in *; do
	[ ! -f "$f" ] || stat -c '%s %Y %n' -- "$f"
done | while read -r size time name; do
	echo "$size $((now - time)) $name"
done
