# What wget fetches goes the way of PVE's own downloads: use_proxy ETC.
use_proxy() {
	[ -r "$1/datacenter.cfg" ] || return 0
	while read -r key value || [ -n "$key" ]; do
		if [ "$key" = http_proxy: ]; then
			export http_proxy="$value" https_proxy="$value"
		fi
	done <"$1/datacenter.cfg"
}
