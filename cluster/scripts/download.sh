# Downloads a file and checks it before it gets its name: DIR FILE URL SUMTOOL
# SUM ETC. What is there already is kept, a part of it is gone on with.
LC_ALL=C
export LC_ALL
dir=$1 file=$2 url=$3 sumtool=$4 want=$5
use_proxy "$6"
mkdir -p -- "$dir" && cd -- "$dir" || exit

# One at a time; who waited finds the file.
exec 9>"$file.lock" && flock 9 || exit

# check FILE: does it have the right checksum?
check() {
	got=$("$sumtool" <"$1") || exit
	got=${got%% *}
	[ "$got" = "$want" ]
}

if [ -e "$file" ] && check "$file"; then
	rm -f -- "$file.lock"
	echo 'already there, checksum verified'
	exit 0
fi
resumed=no
[ ! -s "$file.part" ] || resumed=yes
while :; do
	# By itself it would wait for a silent server for hours.
	wget -c -T 60 -t 10 --progress=dot:giga -O "$file.part" -- "$url"
	status=$?
	if [ "$status" = 0 ] && check "$file.part"; then
		break
	fi
	case $status in
	0 | 8) ;; # the wrong content, or a server that can't go on with it
	*) exit "$status" ;;
	esac
	if [ "$resumed" = yes ]; then
		echo 'what was there does not fit, starting over'
	elif [ "$status" = 0 ]; then
		echo "checksum mismatch: got $got, expected $want" >&2
		rm -f -- "$file.part"
		exit 1
	else
		exit "$status"
	fi
	resumed=no
	rm -f -- "$file.part"
done
mv -T -- "$file.part" "$file" || exit
rm -f -- "$file.lock"
echo 'download finished, checksum verified'
