# kit.sh: what the tests are written with. Source it after lib.sh.
#
# A test runs in a subshell with `set -e`, in the empty folder $W, and has:
#   pf CODE ARG...     popferry must end with CODE; $W/out and $W/err hold what it said
#   copy CODE ARG...   pf CODE copy ARG..., with passwords, the CA file, a state
#                      folder and a report in $W (and the report is checked)
#   says REGEX         $W/err or $W/out matches (grep -iE)
#   counts N=V...      the report says so
#   check TEXT COMMAND...   the command must succeed
#   skip REASON        ends the test as skipped
#   src, dst           names of a user to read from and one to write to, the test's own

# shellcheck shell=sh disable=SC2034
POPFERRY=$(realpath "${POPFERRY:-$TOP/build/popferry}")
DATA=$TOP/tests/data
TOOL=$E2E/mailtool.py

kit_begin() {
	[ -x "$POPFERRY" ] || {
		echo "$POPFERRY is missing; run make first" >&2
		exit 1
	}
	rig_start
	export XDG_STATE_HOME="$RIG/tmp/home" XDG_CONFIG_HOME="$RIG/tmp/home"
	export POPFERRY_PROFILES="$TOP/profiles" LC_ALL=C
	unset POPFERRY_CRASH_AT POPFERRY_CRASH_LOG
}

kit_run() {
	W=$RIG/tmp/$1 src=$1-src dst=$1-dst
	mkdir -p "$W"
	began=$(date +%s)
	(
		cd "$W" || exit 1
		set -e
		"test_$1"
	) >"$W/log" 2>&1
	rc=$?
	title="$(echo "$1" | tr _ ' '), $(($(date +%s) - began)) s"
	case $rc in
	0)
		echo "ok $number - $title"
		[ -n "${KEEP:-}" ] || rm -rf "$W"
		return 0
		;;
	99)
		echo "ok $number - $title # SKIP $(tail -n 1 "$W/log")"
		return 0
		;;
	esac
	echo "not ok $number - $title"
	{
		tail -n 30 "$W/log"
		echo "--- the last standard error:"
		tail -n 5 "$W/err"
	} 2>/dev/null | sed 's/^/#   /'
	return 1
}

pf() {
	want=$1
	shift
	got=0
	timeout -k 5 "${PATIENCE:-120}" "$POPFERRY" "$@" >"$W/out" 2>"$W/err" </dev/null || got=$?
	[ "$got" -eq "$want" ] && return
	echo "popferry $*: exit $got, not $want"
	cat "$W/out" "$W/err"
	return 1
}


copy() {
	code=$1
	shift
	rm -f "$W/report.json"
	pf "$code" copy --source-password-file "$RIG/secret" --dest-password-file "$RIG/secret" \
		--ca-file "$CA" --state "$W/state" --report "$W/report.json" --progress never "$@"
	case $code in
	64 | 78) ;;
	*) counts exit="$code" ;;
	esac
}

counts() {
	python3 "$TOOL" report "$W/report.json" "$@"
}

says() {
	grep -iqE -e "$1" "$W/err" "$W/out" && return
	echo "neither err nor out says: $1"
	cat "$W/out" "$W/err"
	return 1
}

check() {
	what=$1
	shift
	"$@" && return
	echo "not so: $what ($*)"
	return 1
}

skip() {
	echo "$1"
	exit 99
}

# Everything of $src is in these places, once, and nothing else.
arrived_in_archive() { python3 "$TOOL" archive-has "$(rig_maildir "$src")" "$1"; }
arrived_in_imap() { python3 "$TOOL" uploaded "$(rig_maildir "$src")" "$(rig_maildir "$dst")"; }
