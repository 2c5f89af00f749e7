#!/bin/sh
# VERIFY.sh: checks this archive without popferry. See README.txt.
#
#     sh VERIFY.sh [ARCHIVE] [SIGNERS.pem [TSAS.pem]]
#
# Without ARCHIVE it is the one that this file lies in.
# It needs sh, awk, sed, sha256sum, and tar with gzip or zstd (for zip: unzip);
# openssl, when seals are signed; and room for one unpacked segment in ${TMPDIR:-/tmp}. It
# changes nothing here.
# With the certificates of those who may have signed (or of their CAs), and with those of
# the timestamps' CAs, it asks that all seals are signed and timestamped, by these.
# Exit: 0 all is good, 65 something is not, 69 it could not be checked.
set -u
LC_ALL=C
export LC_ALL
unset CDPATH
test ! -f "${1:-}" || set -- "$(dirname "$0")" "$@"

from_here() {
	case $1 in
	'' | /*) printf '%s\n' "$1" ;;
	*) printf '%s\n' "$(pwd)/$1" ;;
	esac
}
signers=$(from_here "${2:-}")
tsas=$(from_here "${3:-}")
for pem in "$signers" "$tsas"; do
	test -z "$pem" || test -r "$pem" || {
		printf '%s cannot be read\n' "$pem" >&2
		exit 69
	}
done

cd "${1:-$(dirname "$0")}" || exit 69
top=$(pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/verify.XXXXXX") || exit 69
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
trap 'exit 69' HUP INT TERM
found=0
messages=0
gone=0
segments=0

bad() {
	found=$((found + 1))
	printf 'bad: %s\n' "$1"
}

# s N: behind a noun that N counts.
s() {
	test "$1" = 1 || echo s
}

# At most a few of the lines that come in, each with what they are about.
bad_lines() {
	shown=0
	while read -r line; do
		shown=$((shown + 1))
		test "$shown" -gt 10 || printf 'bad: %s: %s\n' "$1" "$line"
	done
}

sum() {
	sha256sum <"$1" | cut -c 1-64
}

# A manifest: each line as it should be, each file as its line says.
check_sums() {
	test -f "$2" || {
		bad "$1: $2 is missing"
		return
	}
	{
		awk '{ sum = substr($0, 1, 64); name = substr($0, 67) }
			length(sum) != 64 || sum ~ /[^0-9a-f]/ ||
			substr($0, 65, 2) != "  " || name == "" || name ~ /^\// ||
			name ~ /\.\./ { print "line " NR " is none" }' "$2"
		sha256sum -c "$2" 2>/dev/null | grep -v ': OK$'
	} >"$tmp/sums"
	test -s "$2" || echo 'is empty' >>"$tmp/sums"
	test -z "$(tail -c 1 "$2")" || echo 'its last line is cut' >>"$tmp/sums"
	test -s "$tmp/sums" || return
	bad_lines "$1" <"$tmp/sums"
	found=$((found + 1))
}

# ---- the tree (RFC 6962) ----

# What printf is to write: 00 and the text of each leaf, 01 and each two nodes.
digest_all() {
	rm -rf "$tmp/node"
	mkdir "$tmp/node"
	(cd "$tmp/node" && sh "$tmp/print" && set -- * && test -f "$1" &&
		printf '%s\n' * | xargs sha256sum | cut -c 1-64)
}

# One that was disposed of has no more than its leaf.
leaves() {
	awk -F '\t' 'NR > 1 && $2 != "-" {
		printf "printf '\''\\000v1 %s %s %s %s'\'' >%09d\n", $1, $3, $2, $4, $1
	}' "$1" >"$tmp/print"
	digest_all >"$tmp/live"
	awk -F '\t' -v live="$tmp/live" \
		'NR > 1 { if ($2 != "-") getline $5 <live; print $5 }' "$1"
}

pairs() {
	awk 'function digit(s, i) { return index(hex, substr(s, i, 1)) - 1 }
	function bytes(s,   i) {
		for (i = 1; i < 64; i += 2)
			printf "\\%03o", 16 * digit(s, i) + digit(s, i + 1)
	}
	BEGIN { hex = "0123456789abcdef" }
	NR % 2 { left = $0; next }
	{
		printf "printf '\''\\001"
		bytes(left)
		bytes($0)
		printf "'\'' >%09d\n", NR
	}' \
		"$1" >"$tmp/print"
	digest_all
}

# The edge of $1 leaves is in edge; with those in level it becomes that of $2.
grow() {
	before=$1
	after=$2
	: >"$tmp/grown"
	while test "$after" -gt 0; do
		if test $((before % 2)) = 1; then
			tail -n 1 "$tmp/edge" >"$tmp/both"
			sed '$d' "$tmp/edge" >"$tmp/less"
			mv "$tmp/less" "$tmp/edge"
		else
			: >"$tmp/both"
		fi
		cat "$tmp/level" >>"$tmp/both"
		if test $((after % 2)) = 1; then
			tail -n 1 "$tmp/both" >"$tmp/last"
			cat "$tmp/last" "$tmp/grown" >"$tmp/more"
			mv "$tmp/more" "$tmp/grown"
			sed '$d' "$tmp/both" >"$tmp/less"
			mv "$tmp/less" "$tmp/both"
		fi
		pairs "$tmp/both" >"$tmp/level"
		before=$((before / 2))
		after=$((after / 2))
	done
	mv "$tmp/grown" "$tmp/edge"
}

root() {
	sed '1!G;h;$!d' "$tmp/edge" >"$tmp/right"
	read -r node <"$tmp/right"
	sed 1d "$tmp/right" | {
		while read -r left; do
			printf '%s\n%s\n' "$left" "$node" >"$tmp/two"
			node=$(pairs "$tmp/two")
		done
		echo "$node"
	}
}

# ---- one segment, unpacked ----

unpack() {
	case $codec in
	gz) tar -xzf "$1" -C "$2" ;;
	zst) tar --zstd -xf "$1" -C "$2" || zstd -dcq "$1" | tar -xf - -C "$2" ;;
	none) tar -xf "$1" -C "$2" ;;
	zip) unzip -q "$1" -d "$2" ;;
	esac </dev/null >/dev/null 2>&1
}

# Of messages.csv: seq, size, sha256, path. A field can have line ends in it.
rows() {
	awk '{
		row = open ? row "\n" $0 : $0
		quotes += gsub(/"/, "&")
		open = quotes % 2
		if (open)
			next
		split(row, f, "\",\"")
		if (seen++)
			printf "%s\t%s\t%s\t%s\n", substr(f[1], 2), f[4], f[5], f[3]
	}
	END { if (open) print "the table ends inside a row" }' "$1"
}

check_messages() {
	check_sums "$1" tagmanifest-sha256.txt
	check_sums "$1" manifest-sha256.txt
	rows metadata/messages.csv >"$tmp/rows"
	awk -F '\t' '{ print $3 "  " $4 }' "$tmp/rows" >"$tmp/want"
	cmp -s "$tmp/want" manifest-sha256.txt ||
		bad "$1: messages.csv and manifest-sha256.txt do not agree"
	find data -type f -exec wc -c {} + | awk '$2 != "total" { print $2, $1 }' |
		sort >"$tmp/sizes"
	awk -F '\t' '{ print $4, $2 }' "$tmp/rows" | sort >"$tmp/want"
	cmp -s "$tmp/want" "$tmp/sizes" ||
		bad "$1: messages.csv does not have the files that there are"
	messages=$((messages + $(grep -vc '\.tombstone$' "$tmp/rows")))
}

# Each tombstone is told of by a record.
check_tombs() {
	gone=$((gone + $(grep -c '\.tombstone$' "$tmp/rows")))
	awk -F '\t' -v told="$(tr '\n' , <"$tmp/told")" 'BEGIN { n = split(told, part, ",") }
		$4 ~ /\.tombstone$/ {
			for (i = 1; i <= n; i++) {
				split(part[i] "-" part[i], range, "-")
				if (range[1] + 0 <= $1 + 0 && $1 + 0 <= range[2] + 0)
					next
			}
			print "message " $1 " is gone, and no record in policy/ tells of that"
		}' "$tmp/rows" >"$tmp/lost"
	test -s "$tmp/lost" || return
	bad_lines "$1" <"$tmp/lost"
	found=$((found + 1))
}

check_tree() {
	awk -F '\t' 'BEGIN { print "seq size sha256" }
		{ print $1, $4 ~ /\.tombstone$/ ? "- -" : $2 " " $3 }' \
		"$tmp/rows" >"$tmp/want"
	awk -F '\t' '{ print $1, $2, $3 }' metadata/merkle.tsv >"$tmp/is"
	if ! cmp -s "$tmp/want" "$tmp/is"; then
		bad "$1: messages.csv and merkle.tsv do not agree"
	elif awk -F '\t' '$2 == "-" && NF == 5 && $1 !~ /[^0-9]/ && $3 $4 == "--" &&
		length($5) == 64 && $5 !~ /[^0-9a-f]/ { next }
		NR > 1 && (NF != 5 || $1 $2 ~ /[^0-9]/ ||
		$3 $4 $5 ~ /[^0-9a-f]/ || length($4) != 32) { wrong = 1 }
		END { exit wrong }' metadata/merkle.tsv; then
		leaves metadata/merkle.tsv >"$tmp/level"
		awk -F '\t' 'NR > 1 { print $5 }' metadata/merkle.tsv |
			cmp -s - "$tmp/level" ||
			bad "$1: a leaf of merkle.tsv is not that of its message"
		grow $((size - count)) "$size"
		{
			printf '%s\n' "$edge" | tr , '\n' | tr -d '"'
		} | cmp -s - "$tmp/edge" || bad "$seal: its tree is not that of the messages"
		test "$(root)" = "$root" || bad "$seal: its root is not that of its tree"
	else
		bad "$1: merkle.tsv has a line that is none"
	fi
}

check_listing() {
	test -n "$fates" && test -f metadata/listing.tsv || return
	awk -F '\t' 'NR > 1 { n[$2]++ }
		END { split("duplicate failed filtered known left stored vanished", fate, " ")
			for (i = 1; i <= 7; i++) printf " %s %d", fate[i], n[fate[i]] }' \
		metadata/listing.tsv >"$tmp/is"
	test "$(cat "$tmp/is")" = "$fates" ||
		bad "$seal: its reconciliation is not that of metadata/listing.tsv"
}

check_segment() {
	mkdir "$tmp/bag"
	unpack "segments/$now" "$tmp/bag" ||
		bad "segments/$now cannot be unpacked whole: \`popferry verify\` tells what is good"
	test -z "$(find "$tmp/bag" ! -type f ! -type d)" ||
		bad "segments/$now has a link or something else that is no file"
	if test -f "$tmp/bag/$1/metadata/messages.csv" && cd "$tmp/bag/$1"; then
		check_messages "segments/$now"
		check_tombs "segments/$now"
		if test -n "$sealed"; then
			test "$(sum tagmanifest-sha256.txt)" = "$tags_sha" ||
				bad "$seal: the tables of the segment are not those it sealed"
			check_tree "segments/$now"
			check_listing
		fi
	else
		bad "segments/$now has no table of its messages"
	fi
	cd "$top" || exit 69
	chmod -R u+w "$tmp/bag"
	rm -rf "$tmp/bag"
}

# ---- seals ----

get() {
	sed -n "s/.*$1.*/\\1/p" "$seal"
}

# As it is written: no more digits than the shell can count with, and none too many.
number_of() {
	get "$1" | grep -xE '0|[1-9][0-9]{0,14}'
}

listed() {
	grep -qxF "$1  $2" manifest-sha256.txt
}

# What became of a segment that messages were disposed of: $now and its digests.
follow() {
	for record in policy/disposition-[0-9]*.json; do
		grep -qF "\"segment\":\"$1\"" "$record" 2>/dev/null || continue
		test "$now $file_sha" = "$(state old name sha256)" ||
			bad "$record does not follow from $seal or the record before it"
		tags_sha=$(state new tagmanifest_sha256)
		idx_sha=$(state new idx_sha256)
		file_sha=$(state new sha256)
		sed -n 's/.*"seqs":"\([0-9,-]*\)".*/\1/p' "$record" >>"$tmp/told"
		now=$(state new name)
	done
}

# state old|new KEY...: values of $record.
state() {
	of=$1
	shift
	for key; do
		sed -n "s/.*\"$of\":{\([^}]*\)}.*/,\1/p" "$record" |
			sed -n "s/.*,\"$key\":\"\([a-z0-9.-]*\)\".*/\1/p"
	done | paste -sd ' ' -
}

check_seal() {
	seal=seals/$1.seal.json
	now=$1.$ext
	sealed=
	: >"$tmp/told"
	if ! test -f "$seal"; then
		if test -n "$last_seal" || grep -q '"tree":' archive.json; then
			bad "$seal is missing"
		else
			unsealed=$((unsealed + 1))
		fi
		return
	fi
	hex='\([0-9a-f]*\)'
	n='\([0-9]*\)'
	count=$(number_of "\"range\":{\"count\":$n,")
	edge=$(get '"edge":\[\([^]]*\)\]')
	root=$(get "\"root\":\"$hex\"")
	size=$(number_of "\"size\":$n},\"type\":\"mail-archive-seal\\/1\"}")
	prev=$(number_of "\"prev\":{\"seal\":$n,")
	prev_sha=$(get "\"prev\":{\"seal\":[0-9]*,\"sha256\":\"$hex\"}")
	json_sha=$(get "\"archive_json_sha256\":\"$hex\"")
	file_sha=$(get "\"name\":\"$1\\.$ext\",\"sha256\":\"$hex\"")
	idx_sha=$(get "\"idx_sha256\":\"$hex\"")
	tags_sha=$(get "\"tagmanifest_sha256\":\"$hex\"")
	events=$(number_of "\"custody\":{\"events\":$n,")
	head=$(get "\"head\":\"$hex\"")
	if test -z "$count" || test -z "$size" || test -z "$events" ||
		test "$(number_of "\"seal\":$n,\"sealed_at\"")" != "$number" ||
		test "$size" -lt "$count"; then
		bad "$seal is damaged"
		return
	fi
	sealed=yes
	check_fates
	follow "$1"
	listed "$file_sha" "segments/$now" ||
		bad "segments/$now is not the file that was sealed"
	idx=${now%."$ext"}.$idx_ext
	listed "$idx_sha" "segments/$idx" ||
		bad "segments/$idx is not the file that was sealed"
	test "$(sum archive.json)" = "$json_sha" ||
		bad "$seal is of an archive with another archive.json"
	if test -n "$last_seal"; then
		if test "$prev_sha" != "$(sum "$last_seal")" ||
			test "$((size - count))" != "$last_size"; then
			bad "$seal does not follow from $last_seal"
		fi
	elif test -n "$prev" || test "$size" != "$count"; then
		bad "$seal does not follow from a seal that is there"
	fi
	echo "$events $head $seal" >>"$tmp/heads"
	if test -z "$last_seal"; then
		: >"$tmp/edge"
	elif test "$((size - count))" != "$last_size"; then
		sealed=
	fi
	last_seal=$seal
	last_size=$size
}

# The fates of what was listed, each with its number, make up the listing.
check_fates() {
	total=$(number_of "\"listed\":$n,")
	fates=
	test -n "$total" || return
	for fate in duplicate failed filtered known left stored vanished; do
		fated=$(number_of "\"$fate\":${n}[,}]")
		fates="$fates $fate ${fated:-0}"
		total=$((total - ${fated:-0}))
	done
	test "$total" = 0 || bad "$seal does not balance: not all that was listed is accounted for"
}

# The next one starts with the edge that this seal tells.
take_edge() {
	test -n "$sealed" || return
	: >"$tmp/edge"
	test -z "$edge" || printf '%s\n' "$edge" | tr , '\n' | tr -d '"' >"$tmp/edge"
}

# ---- the custody log ----

# The log may go on behind what its anchor tells of; that it must have.
check_anchor() {
	if ! test -f "$tmp/anchor"; then
		test -s "$tmp/are" || return
		if test "$(wc -l <"$tmp/are")" -gt 1 && grep -q '"log_head":true' archive.json; then
			bad 'log/custody.head is missing'
		else
			echo 'log/custody.head is missing: what was dropped from the end of the log since the last seal cannot be known'
		fi
		return
	fi
	events=$(sed -n '1s/^{"events":\([1-9][0-9]\{0,14\}\),"head":"[0-9a-f]*"}$/\1/p' "$tmp/anchor")
	head=$(sed -n '1s/.*"head":"\([0-9a-f]*\)"}$/\1/p' "$tmp/anchor")
	if test -z "$events" || test ${#head} != 64 ||
		! printf '{"events":%s,"head":"%s"}\n' "$events" "$head" | cmp -s - "$tmp/anchor"; then
		bad 'log/custody.head is damaged'
	elif test "$(sed -n "${events}p" "$tmp/are")" != "$head"; then
		bad "log/custody.jsonl has not the line $events that log/custody.head tells of"
	fi
}

check_custody() {
	mkdir "$tmp/line"
	: >"$tmp/are"
	# Before the log, which may grow meanwhile.
	test ! -f log/custody.head || cp log/custody.head "$tmp/anchor"
	test -f log/custody.jsonl || {
		test ! -s "$tmp/heads" || bad "log/custody.jsonl is missing"
		check_anchor
		return
	}
	test -s log/custody.jsonl || {
		bad "log/custody.jsonl is empty"
		return
	}
	test -z "$(tail -c 1 log/custody.jsonl)" ||
		bad "log/custody.jsonl: its last line is cut"
	awk -v to="$tmp/line/" '{ file = to substr(1000000000 + NR, 2)
		printf "%s", $0 >file; close(file)
		printf "%s", substr($0, 1, length($0) - 75) >(file "t"); close(file "t")
	}' log/custody.jsonl
	(cd "$tmp/line" && printf '%s\n' *[0-9] | xargs sha256sum | cut -c 1-64) >"$tmp/are"
	(cd "$tmp/line" && printf '%s\n' *t | xargs sha256sum | cut -c 1-64) >"$tmp/this"
	sed 's/.*,"this":"\([0-9a-f]*\)"}$/\1/' log/custody.jsonl |
		cmp -s - "$tmp/this" || bad "log/custody.jsonl: a line was changed"
	sed 's/.*"n":\([0-9]*\),.*"prev":"\([0-9a-f]*\)","t":"[^"]*","this":"[^"]*"}$/\1 \2/' \
		log/custody.jsonl >"$tmp/say"
	{
		printf '%064d\n' 0
		cat "$tmp/are"
	} | sed '$d' | awk '{ print NR, $0 }' >"$tmp/want"
	cmp -s "$tmp/want" "$tmp/say" || bad "log/custody.jsonl: its lines are no chain"
	check_anchor
	test -f "$tmp/heads" || return
	while read -r events head seal; do
		test "$events" -gt 0 || continue
		test "$(sed -n "${events}p" "$tmp/are")" = "$head" ||
			bad "log/custody.jsonl has not the line $events that $seal tells of"
	done <"$tmp/heads"
	for event in seal:seals:.seal hold:policy: release:policy: retention:policy: dispose:policy:; do
		to=${event#*:}
		sed -n "s/.*\"detail\":{\"sha256\":\"\([0-9a-f]*\)\"},\"event\":\"${event%%:*}\",.*\"object\":\"\([a-z0-9-]*\)\".*/\1  ${to%:*}\/\2${to#*:}.json/p" \
			log/custody.jsonl
	done >"$tmp/seals"
	test ! -s "$tmp/seals" || check_sums log/custody.jsonl "$tmp/seals"
	sed -n 's/.*"event":"seal",.*"object":"\([a-z0-9-]*\)".*/\1/p' log/custody.jsonl |
		sort -u >"$tmp/seals"
	while read -r name; do
		set -- "segments/$name".*"$ext"
		test -f "$1" || bad "segment $name is missing: log/custody.jsonl tells of its seal"
	done <"$tmp/seals"
}

# include marks.sh
check_signatures() {
	for file in seals/*.json seals/*.p7s seals/*.tsr; do
		test -f "$file" || continue
		case $file in
		*.json) continue ;;
		esac
		command -v openssl >/dev/null || {
			echo 'there are signatures or timestamps: without openssl they were not looked at'
			return
		}
		test -f "${file%.*}.json" || bad "$file is of a seal that is not there"
	done
	unmarked=0
	undated=0
	for file in seals/*.json; do
		test -f "$file" || continue
		check_marks "${file%.json}"
		test -f "${file%.json}.p7s" || unmarked=$((unmarked + 1))
		test -f "${file%.json}.tsr" || undated=$((undated + 1))
	done
	tell_marks
	if test "$unmarked" != 0 && test -s "$tmp/signers"; then
		echo "seals not signed: $unmarked"
	fi
	if test "$undated" != 0 && { test -s "$tmp/signers" || test -s "$tmp/tsas"; }; then
		echo "seals whose timestamp is pending: $undated"
	fi
	if test "$unmarked" != 0 && test -n "$signers"; then bad "$unmarked seals are not signed"; fi
	if test "$undated" != 0 && test -n "$tsas"; then bad "$undated seals are not timestamped"; fi
	made "$unmarked" signatures seals/*.p7s
	made "$undated" timestamps seals/*.tsr
}

# made MISSING KIND FILE...: were there more once?
made() {
	missing=$1
	kind=$2
	shift 2
	test -f "$1" || shift
	test -f log/custody.jsonl && test "$missing" != 0 || return
	sum=$(sed -n "s/.*\"detail\":{[^}]*\"$kind\":\([0-9]*\)[^}]*},\"event\":\"sign\".*/\1/p" \
		log/custody.jsonl | awk '{ n += $1 } END { print n + 0 }')
	test "$sum" -le $# ||
		echo "log/custody.jsonl tells of $sum $kind, and there are $#: some were taken away"
}

# The certificates are those that archive.json, which the seals vouch for, tells of.
check_recipients() {
	command -v openssl >/dev/null || return
	mkdir "$tmp/to"
	awk -v to="$tmp/to/" '/^-----BEGIN/ { file = to sprintf("%02d", ++n) } n { print >file }' recipients.pem
	for file in "$tmp"/to/*; do
		openssl x509 -in "$file" -noout -fingerprint -sha256 2>/dev/null |
			sed 's/.*=//' | tr -d : | tr A-F a-f | sed 's/^/sha256:/'
	done | sort -u >"$tmp/are"
	sed -n 's/.*"encrypt":{"kind":"cms","to":\[\([^]]*\)\].*/\1/p' archive.json |
		tr -d '"' | tr , '\n' | sort -u >"$tmp/want"
	cmp -s "$tmp/want" "$tmp/are" ||
		bad 'recipients.pem does not have the certificates that archive.json tells of'
}

# ---- all of it ----

# Whatever is read here is a file, and one of this archive; so are folders.
for file in * log/* policy/* seals/* segments/* trust/*; do
	test -e "$file" || test -L "$file" || continue
	case $file in
	*/*) test -f "$file" && test ! -L "$file" ;;
	log | policy | seals | segments | trust) test -d "$file" && test ! -L "$file" ;;
	*) { test -d "$file" || test -f "$file"; } && test ! -L "$file" ;;
	esac || bad "$file is a link or something else that is no file"
done
if test "$found" != 0; then
	echo "DAMAGED: $found findings; nothing else was looked at"
	exit 65
fi
slug=$(sed -n 's/.*"slug":"\([a-z0-9-]*\)".*/\1/p' archive.json)
codec=$(sed -n 's/.*"codec":"\([a-z]*\)".*/\1/p' archive.json)
case $codec in
gz) ext=tar.gz ;;
zst) ext=tar.zst ;;
zip) ext=zip ;;
none) ext=tar ;;
*)
	bad "archive.json is missing, damaged or of another kind of archive"
	exit 65
	;;
esac
encrypted=$(sed -n 's/.*"encrypt":{"kind":"\([a-z]*\)".*/\1/p' archive.json)
closed=0
case $encrypted in
'') idx_ext=idx ;;
age) ext=$ext.age idx_ext=idx.age ;;
*) ext=$ext.p7m idx_ext=idx.p7m ;;
esac

# Nothing is damaged because a program is missing here.
case $codec in
zst) command -v zstd >/dev/null || tar --zstd -cf - -T /dev/null >/dev/null 2>&1 ;;
zip) command -v unzip >/dev/null ;;
esac || {
	echo "this archive is of codec $codec, and there is no program for that: install zstd or unzip"
	exit 69
}

if test -f open/dispose.json; then
	echo 'a disposal was interrupted: `popferry dispose` ends it; until then this cannot be checked'
	exit 69
fi

ls segments >"$tmp/before"

# What is not sealed yet, or just being sealed, is for the next run.
open=
for log in open/"$slug"-[0-9]*.log; do
	test ! -f "$log" || open=$(basename "$log" .log)
done

check_sums manifest-sha256.txt manifest-sha256.txt
script=
grep -q '"tree":' archive.json && script=VERIFY.sh
for file in README.txt archive.json $script segments/* seals/*.seal.json; do
	case $file in
	*/"$open".*) continue ;;
	*/"$slug"-[0-9]* | [!s]*) ;;
	*) test ! -e "$file" || bad "$file is not of this archive, whose files begin with $slug-" ;;
	esac
	test -e "$file" || test "${file%/*}" = "$file" || continue
	cut -c 67- manifest-sha256.txt | grep -qxF "$file" ||
		bad "$file has no line in manifest-sha256.txt"
done

last_seal=
last_size=0
unsealed=0
number=0
for file in segments/"$slug"-[0-9]*."$ext" \
	seals/"$slug"-[0-9]*.seal.json; do
	test ! -f "$file" || basename "$file" | sed "s/^$slug-0*\\([0-9]*\\).*/\\1/"
done | sort -nu >"$tmp/numbers"
while read -r no; do
	number=$((number + 1))
	while test "$number" -lt "$no"; do
		bad "segments/$(printf '%s-%06d' "$slug" "$number").$ext is missing"
		number=$((number + 1))
	done
	name=$(printf '%s-%06d' "$slug" "$no")
	test "$name" != "$open" || continue
	check_seal "$name"
	if test -f "segments/$now"; then
		segments=$((segments + 1))
		if test -z "$encrypted"; then
			check_segment "$name"
		elif test -n "$sealed"; then
			lost=$(tr , '\n' <"$tmp/told" |
				awk -F - '/[0-9]/ { n += ($2 == "" ? $1 : $2) - $1 + 1 } END { print n + 0 }')
			closed=$((closed + count - lost))
			gone=$((gone + lost))
			take_edge
			test "$(root)" = "$root" || bad "$seal: its root is not that of its tree"
		fi
	else
		bad "segments/$now is missing"
	fi
	take_edge
done <"$tmp/numbers"
check_custody
check_signatures
test "$encrypted" != cms || check_recipients

test "$unsealed" = 0 ||
	echo "$unsealed segment$(s "$unsealed") without a seal, made by popferry 0.1.0"
# Without a commit (C) it holds none; one that is encrypted does not say.
test -z "$open" || ! grep -Eq '^(C [0-9]|popferry-open)' "open/$open.log" ||
	echo 'open/ has messages that are not sealed yet: they were not looked at'
test "$gone" = 0 ||
	echo "messages disposed of: $gone; the records in policy/ tell when and by whose authority"
test "$closed" = 0 ||
	echo "$closed message$(s "$closed") encrypted: the files, seals and signatures were checked, not what is in them"
if test "$found" = 0; then
	echo "good: $segments segment$(s "$segments"), $messages message$(s "$messages")"
	exit 0
fi
if ! ls segments | cmp -s - "$tmp/before"; then
	echo 'a run or a disposal changed the archive meanwhile: run this again'
	exit 69
fi
echo "DAMAGED: $found finding$(s "$found"), in a look at $segments segment$(s "$segments") with $messages message$(s "$messages")"
exit 65
