# Runs a task; started detached as TASK-DIR/run.
dir=${0%/run}
# The group is interrupted as a whole; this shell stays to write the status.
trap : HUP INT TERM
read -r stat </proc/$$/stat
# shellcheck disable=SC2086 # what follows the name, which may hold blanks
set -- ${stat##*) }
mkdir "$dir/began.$$" && printf '%s %s\n' "$$" "${20}" >"$dir/began.$$/pid" || exit 1
mv -T "$dir/began.$$" "$dir/began" 2>/dev/null || { rm -rf "$dir/began.$$"; exit 0; }
cd /
eval "set -- $(cat "$dir/cmd")"
(umask 022 && exec "$@") <"$dir/stdin" >>"$dir/out" 2>&1
status=$?
rm -f "$dir/stdin"
printf '%s\n' "$status" >"$dir/status.tmp" && # /run may be full
	mv -T "$dir/status.tmp" "$dir/status"
