# Prints "FILE:LINE" for the network options and section headers in the conf
# files of every VM and container: ETC.
cd "$1/nodes" || exit
# Status 1: nothing matches; 2: a file went away meanwhile, or there is none.
grep -sHE '^(ipconfig[0-9]+:|net[0-9]+:|\[)' -- */qemu-server/*.conf */lxc/*.conf
[ $? -le 2 ]
