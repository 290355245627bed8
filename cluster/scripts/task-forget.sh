# Removes a task that has ended: RUN KEY NONCE BOOTID. Exit status 3: it runs.
dir=$1/$2 nonce=$3 bootid=$4
find_state
case $state in
gone) exit 0 ;;
running | waiting) exit 3 ;;
esac
# Moved away first: a half removed task would look like a lost one.
mv -T "$dir" "$1/.old.$nonce" 2>/dev/null || [ ! -d "$dir" ] || exit 1
rm -rf "$1/.old.$nonce"
