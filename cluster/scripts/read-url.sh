# Prints a document: ETC URL.
use_proxy "$1"
exec wget -T 10 -t 2 -qO- -- "$2"
