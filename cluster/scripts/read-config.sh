# Prints a VM's conf file: ETC NODE VMID. Exit status 44: there is none.
conf=$1/nodes/$2/qemu-server/$3.conf
if [ -e "$conf" ] && cat "$conf"; then
	exit 0
fi
# It may have gone just now. Without .members nothing can be said: the file system
# is not there.
[ ! -e "$conf" ] && cat "$1/.members" >/dev/null && exit 44
exit 1
