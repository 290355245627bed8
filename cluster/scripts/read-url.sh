# Prints a document: ETC URL.
use_proxy "$1"
exec wget -qO- -- "$2"
