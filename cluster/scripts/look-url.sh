# Asks what a server says of a document: ETC URL. It is told on standard error.
use_proxy "$1"
exec wget -q -S --spider -- "$2"
