# Prints the boot id of a task, if it is there: RUN KEY.
[ ! -d "$1/$2" ] || cat "$1/$2/boot"
