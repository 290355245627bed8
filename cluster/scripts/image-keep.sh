# Keeps what standard input says of an image: DIR KEY.
mkdir -p -- "$1" && cat >"$1/$2.image.new" && mv -T -- "$1/$2.image.new" "$1/$2.image"
