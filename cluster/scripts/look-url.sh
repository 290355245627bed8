# Asks what a server says of a document: ETC URL. It is told on standard error.
use_proxy "$1"
exec wget -T 10 -t 2 -q -S --spider -- "$2"
