# Tells what is known of an image: DIR KEY. Prints how many seconds ago that was
# written, whether the file is still there, and the record: path, source, URL,
# ETag, checksum. Prints nothing when there is no record.
[ -e "$1/$2.image" ] || exit 0
now=$(date +%s) && then=$(stat -c %Y -- "$1/$2.image") || exit
echo "$((now - then))"
read -r path <"$1/$2.image"
if [ -e "$path" ]; then echo yes; else echo no; fi
cat -- "$1/$2.image"
