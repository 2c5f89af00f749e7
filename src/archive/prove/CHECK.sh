#!/bin/sh
# CHECK.sh: was this message sealed, by whom, and when? Needs no archive and no popferry.
#
#     sh CHECK.sh [SIGNERS.pem [TSAS.pem]]
#
# It needs sh, awk, sed and sha256sum; openssl, when the seal is signed. With the
# certificates of those who may have signed, or of their CAs, and with those of the
# timestamp's CA it asks that they are the ones. It changes nothing here. HOWTO.txt tells
# how to do the same by hand.
# Exit: 0 all is right, 65 something is not, 69 it could not be checked.
set -u
LC_ALL=C
export LC_ALL
unset CDPATH

from_here() {
	case ${1:-} in
	'' | /*) printf '%s\n' "${1:-}" ;;
	*) printf '%s\n' "$(pwd)/$1" ;;
	esac
}
signers=$(from_here "${1:-}")
tsas=$(from_here "${2:-}")
for pem in "$signers" "$tsas"; do
	test -z "$pem" || test -r "$pem" || {
		printf '%s cannot be read\n' "$pem" >&2
		exit 69
	}
done

cd "$(dirname "$0")" || exit 69
tmp=$(mktemp -d "${TMPDIR:-/tmp}/check.XXXXXX") || exit 69
trap 'rm -rf "$tmp"' EXIT
trap 'exit 69' HUP INT TERM
found=0

bad() {
	found=$((found + 1))
	printf 'bad: %s\n' "$1"
}

sum() {
	sha256sum <"$1" | cut -c 1-64
}

for file in message.eml proof.json seal.json seal.p7s seal.tsr; do
	test -e "$file" || test -L "$file" || continue
	test -f "$file" && test ! -L "$file" || {
		bad "$file is a link or something else that is no file"
		exit 65
	}
done
for file in message.eml proof.json seal.json; do
	test -f "$file" || {
		bad "$file is missing"
		exit 65
	}
done

# include marks.sh
# ---- proof.json ----

hex='\([0-9a-f]*\)'
n='\([0-9]*\)'

get() {
	sed -n "s/.*$2.*/\\1/p" "$1"
}

archive=$(get proof.json '{"archive":"\([^"]*\)"')
index=$(get proof.json "\"index\":$n,")
leaf=$(get proof.json "\"leaf\":\"$hex\"")
path=$(get proof.json '"path":\[\([^]]*\)\]')
root=$(get proof.json "\"root\":\"$hex\"")
salt=$(get proof.json "\"salt\":\"$hex\"")
seal=$(get proof.json "\"seal\":{\"seal\":$n,")
seal_sha=$(get proof.json "\"seal\":{\"seal\":[0-9]*,\"sha256\":\"$hex\"}")
seq=$(get proof.json "\"seq\":$n,")
sha=$(get proof.json "\"seq\":[0-9]*,\"sha256\":\"$hex\"")
size=$(get proof.json "\"size\":$n,")
tree=$(get proof.json "\"tree_size\":$n,")

# Nothing else stands in it.
{
	printf '{"archive":"%s","index":%s,"leaf":"%s","path":[%s],' \
		"$archive" "$index" "$leaf" "$path"
	printf '"root":"%s","salt":"%s","seal":{"seal":%s,"sha256":"%s"},' \
		"$root" "$salt" "$seal" "$seal_sha"
	printf '"seq":%s,"sha256":"%s","size":%s,"tree_size":%s,' "$seq" "$sha" "$size" "$tree"
	printf '"type":"mail-archive-proof/1"}\n'
} | cmp -s - proof.json || {
	bad 'proof.json is damaged'
	exit 65
}
printf '%s\n' "$path" | tr , '\n' | tr -d '"' >"$tmp/path"
if test -z "$index" || test -z "$tree" || test -z "$seq" || test "$index" -ge "$tree" ||
	grep -qv '^[0-9a-f]\{64\}$' "$tmp/path"; then
	test -z "$path" && test "$tree" = 1 || {
		bad 'proof.json makes no sense'
		exit 65
	}
	: >"$tmp/path"
fi

# ---- the message, its leaf, and the way to the root (RFC 6962) ----

test "$(sum message.eml)" = "$sha" ||
	bad 'message.eml is not the message that was sealed: it was changed'
test "$(wc -c <message.eml)" -eq "$size" || bad 'message.eml has another size'
test "$(printf '\000v1 %s %s %s %s' "$seq" "$sha" "$size" "$salt" | sha256sum | cut -c 1-64)" \
	= "$leaf" || bad 'the leaf in proof.json is not that of the message'

# SHA-256 of 01 and two digests.
node() {
	awk -v hex="$1$2" 'BEGIN {
		d = "0123456789abcdef"
		for (i = 1; i < 128; i += 2)
			printf "\\%03o", 16 * index(d, substr(hex, i, 1)) + index(d, substr(hex, i + 1, 1)) - 17
	}' >"$tmp/octal"
	printf "\\001$(cat "$tmp/octal")" | sha256sum | cut -c 1-64
}

at=$index
last=$((tree - 1))
now=$leaf
while read -r other; do
	test "$last" -gt 0 || now='too long'
	if test $((at % 2)) = 0 && test "$at" != "$last"; then
		now=$(node "$now" "$other")
	else
		now=$(node "$other" "$now")
		while test $((at % 2)) = 0 && test "$at" != 0; do
			at=$((at / 2))
			last=$((last / 2))
		done
	fi
	at=$((at / 2))
	last=$((last / 2))
done <"$tmp/path"
test "$last" = 0 && test "$now" = "$root" ||
	bad 'the path in proof.json does not lead to the root'

# ---- the seal ----

test "$(sum seal.json)" = "$seal_sha" ||
	bad 'seal.json is not the seal that proof.json tells of'
test "$(get seal.json "\"root\":\"$hex\",\"size\":[0-9]*},\"type\":\"mail-archive-seal\\/1\"}")" \
	= "$root" || bad 'seal.json has another root'
test "$(get seal.json "\"root\":\"[0-9a-f]*\",\"size\":$n},\"type\"")" = "$tree" ||
	bad 'seal.json is of another tree'
test "$(get seal.json '"archive":"\([^"]*\)"')" = "$archive" ||
	bad 'seal.json is of another archive'
test "$(get seal.json "\"seal\":$n,\"sealed_at\"")" = "$seal" || bad 'seal.json is another one'
range=$(get seal.json "\"range\":{\"count\":[0-9]*,\"first\":[0-9]*,\"last\":$n,")
test -n "$range" && test $((tree - 1 - (range - seq))) = "$index" ||
	bad 'seal.json has another place for the message'

if test -f seal.p7s || test -f seal.tsr; then
	command -v openssl >/dev/null || {
		echo 'the seal is signed or timestamped: without openssl that was not looked at'
		exit 69
	}
	check_marks seal
fi
if test -n "$signers" && test ! -f seal.p7s; then bad 'the seal is not signed'; fi
if test -n "$tsas" && test ! -f seal.tsr; then bad 'the seal is not timestamped'; fi

# ---- what came of it ----

if test "$found" != 0; then
	echo 'WRONG: this proves nothing'
	exit 65
fi
echo "right: this is message $seq of archive $archive,"
echo "as seal $seal has it, of $(get seal.json '"sealed_at":"\([^"]*\)"')"
test -f seal.p7s || echo 'the seal is not signed: that it is of that archive only the archive can tell'
test -f seal.tsr || echo 'the seal is not timestamped: when it was made only the archive tells'
test ! -f seal.tsr || echo "the timestamp is of $made"
tell_marks
exit 0
