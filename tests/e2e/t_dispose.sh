# What must stay in an archive, and what leaves it: all else is as it was, and still signed.
# shellcheck shell=sh disable=SC2086

# signed_archive CODEC: $W/arc, signed by k.key; its messages are those of the maildrop.
signed_archive() {
	rig_load "$src" "$DATA/odd" "$DATA/twice"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none --codec "$1"
	pf 0 keygen k.key k.pem
	pf 0 seal arc --key k.key --cert k.pem
}

# good N: the archive verifies with N messages, by whatever checks it.
good() {
	pf 0 verify arc
	says "$1 messages"
	sh arc/VERIFY.sh arc
	pf 0 seal arc --check --trust k.pem
	for s in arc/seals/*.seal.json; do
		openssl cms -verify -binary -inform DER -in "${s%.json}.p7s" -content "$s" \
			-CAfile k.pem -out /dev/null
	done
	pf 0 list arc
	[ "$(wc -l <out)" -eq "$1" ]
}

test_dispose() {
	signed_archive gz
	pf 0 list arc --log-format json
	n=$(wc -l <out)
	sha=$(sed -n '3s/.*"sha256":"\([0-9a-f]*\)".*/\1/p' out)
	pf 0 dispose arc 3
	says '1 message would go'
	check 'nothing was done' test ! -e arc/policy
	pf 64 dispose arc 3 --yes
	pf 64 dispose arc --yes --authority x
	pf 0 dispose arc 3 --yes --authority 'request 7'
	says '1 message disposed of, in 1 record'
	good $((n - 1))
	pf 2 show arc 3
	says 'was disposed of'
	grep -q 'request 7' arc/policy/disposition-000001.json
	check 'its digest is nowhere' sh -c "! grep -rq $sha arc"
	pf 0 export arc eml
	[ "$(find eml -name '*.eml' | wc -l)" -eq $((n - 1)) ]
	# The journal knows it: it does not come back.
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	counts stored=0
	good $((n - 1))
	pf 0 verify arc
	says '1 more message was disposed of'
	pf 0 verify state
	says ', 0 missing, 0 not to be told, 1 disposed of: all else is there'
	# A tombstone that no record tells of is no disposal.
	mv arc/policy/disposition-000001.json .
	pf 65 verify state
	pf 65 verify arc
	mv disposition-000001.json arc/policy
	# Without the journal nobody knows it, which is said.
	cp -r arc arc.0
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none --state "$W/anew"
	says 'archive-disposed'
	pf 0 list arc
	check 'it is there again' test "$(wc -l <out)" -eq "$n"
	rm -rf arc
	mv arc.0 arc
	# Nor into another archive.
	copy 0 archive:arc "archive:other-2" --dedup none --state "$W/state-2"
	counts stored=$((n - 1)) listed=$((n - 1))
}

# It dies at a step: the next copy ends or undoes it.
test_dispose_killed() {
	signed_archive gz
	pf 0 list arc
	n=$(wc -l <out)
	cp -r arc arc.0
	for step in 3 5 10; do
		rm -rf arc
		cp -r arc.0 arc
		POPFERRY_CRASH_AT=$step pf 137 dispose arc 3 --yes --authority 'request 7'
		copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
		counts stored=0
		check 'nothing is left' test "$(ls arc/open)" = lock
		check 'there is one of each' test "$(find arc/segments -type f | wc -l)" -eq 2
		if [ -e arc/policy ]; then good $((n - 1)); else good "$n"; fi
	done
}

test_dispose_holds() {
	signed_archive gz
	pf 64 hold place arc 2
	pf 0 hold place arc 2 --matter 'Smith v. Jones'
	says 'hold 1 holds 1 message'
	pf 0 retention set arc 4 --class 'six years' --years 6
	pf 0 retention show arc
	says '^six years: 6 years from when it was retrieved, 4$'
	pf 2 dispose arc 1-4 --yes --authority court
	says 'is held: hold 1, Smith v. Jones'
	says 'must be kept until 20[0-9-]+: class six years'
	pf 2 dispose arc 2
	pf 0 hold release arc 1 --reason settled
	pf 64 hold release arc 1 --reason settled
	pf 0 hold list arc
	says 'Smith v. Jones: 2; messages 2; released 20[0-9-]+: settled'
	pf 0 dispose arc 2 --yes --authority court
	pf 64 retention set arc 4 --class 'six years' --years 5
	pf 0 retention due arc
	says '^0 messages are due'
	pf 0 retention due arc --at 2099-01-01
	says '^1 message is due'
	pf 0 verify arc
	sh arc/VERIFY.sh arc
	# A rule whose record is lost binds all the same.
	for file in policy/retention-000001.json policy/hold-000002.json log/custody.jsonl; do
		mv "arc/$file" away
		pf 65 dispose arc 4 --yes --authority court
		pf 65 dispose arc 1 --yes --authority court
		mv away "arc/$file"
	done
	sed 's/"years":6/"years":0/' arc/policy/retention-000001.json >weak
	cp arc/policy/retention-000001.json away
	cp -f weak arc/policy/retention-000001.json
	pf 65 dispose arc 4 --yes --authority court
	says 'was changed'
	cp -f away arc/policy/retention-000001.json
	[ "$(grep -c '"event":"\(hold\|release\|retention\|dispose\)"' arc/log/custody.jsonl)" -eq 5 ]
}

# The disk is full: all is as it was, and no room is taken.
test_dispose_no_room() {
	signed_archive gz
	pf 0 list arc
	n=$(wc -l <out)
	(
		ulimit -f 1
		pf 74 dispose arc 3 --yes --authority court
		says 'archive arc: the new segment, in open/: write: '
	)
	check 'nothing is left in open/' test "$(ls arc/open)" = lock
	check 'nothing is told' test ! -e arc/policy
	good "$n"
	pf 0 dispose arc 3 --yes --authority court
	good $((n - 1))
}

# A time that is over by this machine's clock alone is told; not one that the archive tells of.
test_dispose_clock() {
	signed_archive gz
	pf 0 retention set arc --class short --until "$(date -u -d '+2 seconds' +%Y-%m-%dT%H:%M:%SZ)"
	sleep 3
	for command in 'dispose arc 3' 'retention due arc'; do
		pf 0 $command
		check 'it is told once' test "$(grep -c 'only the clock of this machine' err)" = 1
	done
	pf 0 verify arc # this is noted
	for command in 'dispose arc 3' 'retention due arc'; do
		pf 0 $command
		check 'nothing is told' test ! -s err
	done
}

test_recover() {
	signed_archive gz
	pf 0 list arc
	n=$(wc -l <out)
	rm -f arc/segments/*-000001.idx
	pf 65 verify arc
	pf 0 recover arc
	says "$n messages are good, 0 are lost; 1 index was made"
	good "$n"
	file=$(ls arc/segments/*-000001.tar.gz)
	chmod u+w "$file"
	printf X | dd of="$file" bs=1 seek=200 conv=notrunc 2>/dev/null
	pf 65 recover arc
	says '^lost: message'
	pf 65 dispose arc 1 --yes --authority court
}
