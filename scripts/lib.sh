# What the scripts share. Sourced by them, not run. The caller has set -u and -o pipefail.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PG_CONFIG=${PG_CONFIG:-pg_config}
export LC_ALL=C

# Nothing of the caller's environment may lead a test to another server, or a make to the caller's options.
forget_caller() {
	local name
	for name in ${!PG@}; do
		case $name in PG_*) ;; *) unset "$name" ;; esac
	done
	unset MAKEFLAGS MFLAGS MAKELEVEL
}

# Servers refuse to run as root: then they, and what is run on them, get the user that Debian's packages create.
if [ "$(id -u)" = 0 ]; then
	as_user=(setpriv --reuid=postgres --regid=postgres --init-groups)
else
	as_user=()
fi

die() {
	echo "$(basename "$0"): $*" >&2
	exit 1
}

# scratch: makes the folder $tmp, which is removed when the script ends, however it ends. A script that has more to
# clean up defines its own before_exit, and starts what runs long by "run".
scratch() {
	tmp=$(mktemp -d "${TMPDIR:-/tmp}/elt.XXXXXX") || exit 1
	# a socket's path has to fit in 107 bytes
	if [ ${#tmp} -gt 60 ]; then
		rmdir "$tmp"
		tmp=$(mktemp -d /tmp/elt.XXXXXX) || exit 1
	fi
	chmod 755 "$tmp"
	trap on_exit EXIT
	trap 'on_exit 129' HUP
	trap 'on_exit 130' INT
	trap 'on_exit 141' PIPE
	trap 'on_exit 143' TERM
}

child=
exiting=

# A signal may come while the script exits already, and more than one: the first call does all, others return to it.
on_exit() { # [STATUS]
	local status=${1:-$?}
	[ -z "$exiting" ] || return
	exiting=1
	trap '' HUP INT PIPE TERM
	trap - EXIT
	set +e
	if [ -n "$child" ]; then
		kill -TERM -- "-$child" 2>/dev/null
		wait "$child" 2>/dev/null
	fi
	before_exit
	rm -rf "$tmp"
	exit "$status"
}

before_exit() {
	:
}

# start COMMAND... and finish: run a command in a process group of its own, so that an interrupted script can end all
# of it, and wait for it in a way that a signal interrupts. The result of finish is the command's.
start() {
	set -m
	"$@" <&0 &
	child=$!
	set +m
}

finish() {
	local status
	wait "$child"
	status=$?
	child=
	return "$status"
}

# run COMMAND...: both; at a terminal in the foreground, for the sake of commands that read from it.
run() {
	if [ -t 0 ]; then
		"$@"
	else
		start "$@"
		finish
	fi
}

# logged FILE COMMAND...: runs the command with its output in FILE and, as it comes, on ours
logged() {
	local log=$1 viewer status
	shift
	: >"$log"
	start "$@" >"$log" 2>&1 </dev/null
	# not tee: a server that the command left behind would keep the pipe open
	tail -n +1 -f -s 0.2 --pid="$child" "$log" 2>/dev/null &
	viewer=$!
	finish
	status=$?
	wait "$viewer"
	return "$status"
}

# read_counts FILE: sets passed and failed to what the last line "N passed, N failed" in FILE says; fails if there is none
read_counts() {
	local counts
	passed=0 failed=0
	counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$1" | tail -n 1)
	[ -n "$counts" ] && read -r passed _ failed _ <<<"$counts"
}

# for_user FOLDER...: makes folders that the unprivileged user can write to
for_user() {
	mkdir -p "$@"
	[ "$(id -u)" != 0 ] || chown postgres: "$@"
}

# stop_servers FOLDER BINDIR: stops the servers whose data is below FOLDER
stop_servers() {
	local file
	find "$1" -name postmaster.pid 2>/dev/null | while read -r file; do
		"${as_user[@]}" "$2/pg_ctl" -s -D "$(dirname "$file")" -m immediate stop >/dev/null 2>&1 </dev/null
	done
}
