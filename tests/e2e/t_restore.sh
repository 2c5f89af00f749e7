# Out of an archive again: into a mailbox, into another archive, whole or in part.
# shellcheck shell=sh

# restore CODE ARG...: all of arc, with a state of its own.
restore() {
	code=$1
	shift
	copy "$code" archive:arc "$(url_imaps "$dst")" --state "$W/restored" "$@"
}

# Mail of several folders, years and flags, some of it not sealed.
some_archive() { # N
	python3 "$DATA/make" mail "$1" --duplicates 0 >/dev/null
	n=$(rig_load "$src" mail)
	copy 0 "$(url_pop3s "$src")" archive:arc --folder 'Years/%Y' --seen older-than:12y "--codec=${2:-gz}"
}

# The sums of what an archive holds.
sums() {
	python3 "$TOOL" archived "$1" | awk '{ print $1 }' | sort
}

test_restored_as_it_was_archived() {
	some_archive 80
	restore 0 --check
	counts listed="$n" stored="$n"
	check 'each was read back' grep -q "\"verified\":$n,\"changed\":0,\"missing\":0,\"unknown\":0" report.json
	python3 "$TOOL" restored arc "$(rig_maildir "$dst")"
	check 'in several folders' test "$(find "$(rig_maildir "$dst")" -maxdepth 1 -name '.Years.*' | wc -l)" -gt 3
	restore 0 --check
	counts known="$n" stored=0
	# The directory may go elsewhere.
	mv arc elsewhere
	copy 0 archive:elsewhere "$(url_imaps "$dst")" --state "$W/restored"
	counts known="$n" stored=0
	# And so may the journal.
	copy 0 archive:elsewhere "$(url_imaps "$dst")" --state "$W/another"
	counts failed=0
	python3 "$TOOL" restored elsewhere "$(rig_maildir "$dst")"
}

test_collected_restored_and_collected_again() {
	python3 "$DATA/make" mail 60 >/dev/null
	rig_load "$src" mail
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	restore 0 --check
	copy 0 "$(url_pop3s "$dst")" archive:again --dedup none --state "$W/state2"
	sums arc >first
	sums again >second
	check 'the same sums' cmp first second
	check 'of all' test "$(wc -l <first)" -eq 60
}

test_odd_mail_is_restored_too() {
	n=$(rig_load "$src" "$DATA/odd")
	copy 0 "$(url_pop3s "$src")" archive:arc
	restore 0 --check
	counts listed="$n" stored="$n"
	arrived_in_imap
}

test_below_a_folder_or_into_one() {
	some_archive 20
	copy 0 archive:arc "$(url_imaps "$dst")/Old" --state "$W/s1"
	check 'below' test -d "$(rig_maildir "$dst")/.Old.Years.2014" -o -d "$(rig_maildir "$dst")/.Old.Years.2019"
	check 'and not beside' test -z "$(find "$(rig_maildir "$dst")" -maxdepth 1 -name '.Years*')"
	dst=$dst-flat
	copy 0 archive:arc "$(url_imaps "$dst")" --folder INBOX --seen none --state "$W/s2"
	arrived_in_imap
	check 'all unread' test -z "$(find "$(rig_maildir "$dst")" -name '*:2,*S*')"
}

test_only_a_part_is_restored() {
	some_archive 40
	copy 0 archive:arc "$(url_imaps "$dst")" --since 2016-01-01 --state "$W/restored"
	check 'some were filtered' sh -c "! grep -q '\"filtered\":0,' report.json"
	python3 "$TOOL" stored "$(rig_maildir "$dst")" >stored
	check 'none is older' sh -c "! awk '{ print \$2 }' stored | grep -q '^20[01][0-5]'"
}

test_killed_and_restored_all_the_same() {
	some_archive 400 zst
	mv state collected
	rig_slow "$IMAPS" 700
	kills=0 rounds=0
	while [ $kills -lt "${KILLS:-4}" ]; do
		rounds=$((rounds + 1))
		check 'it comes to its end' test $rounds -lt 50
		in_background archive:arc "imaps://$dst@127.0.0.1:$SLOW"
		sleep "$(python3 -c "import random; print(random.Random($rounds + ${SEED:-0}).uniform(0.1, 1.2))")"
		if kill -9 $child 2>/dev/null; then kills=$((kills + 1)); fi
		wait $child || continue
		break # it got through
	done
	echo "$kills kills in $rounds rounds"
	check 'it was killed at least twice' test $kills -ge 2
	mv state restored
	restore 0 --check
	counts listed="$n" failed=0
	python3 "$TOOL" restored arc "$(rig_maildir "$dst")"
	restore 0
	counts stored=0 known="$n"
}

# Dies at each third step of a run.
test_restored_after_a_death_at_any_step() {
	some_archive 6
	cp -r arc kept
	step=1
	while :; do
		got=0
		POPFERRY_CRASH_AT=$step timeout 60 "$POPFERRY" copy --dest-password-file "$RIG/secret" --ca-file "$CA" \
			--state restored --progress never archive:arc "$(url_imaps "$dst-$step")" >crashed 2>&1 || got=$?
		[ $got -ne 0 ] || break
		check "exit $got at step $step" test $got -eq 137
		copy 0 archive:arc "$(url_imaps "$dst-$step")" --state "$W/restored"
		python3 "$TOOL" restored arc "$(rig_maildir "$dst-$step")"
		rm -rf restored
		step=$((step + 3))
	done
	echo "$step steps"
	check 'it has some' test $step -gt 6
	check 'nothing was done to the archive' diff -r -x 'custody.*' arc kept
}

test_an_archive_into_another_one() {
	some_archive 50
	copy 0 archive:arc archive:new --codec zst --check --state "$W/restored"
	counts listed="$n" stored="$n"
	pf 0 verify new
	tar -xzOf arc/segments/*.tar.gz --wildcards '*/messages.csv' >first
	tar --zstd -xOf new/segments/*.tar.zst --wildcards '*/messages.csv' >second
	check 'with all that is known of each' cmp first second
	sums arc >first
	sums new >second
	check 'and all bytes' cmp first second
	copy 0 archive:arc archive:new --state "$W/restored"
	counts known="$n" stored=0
}

# spoil FILE OFFSET: turns a bit of that byte.
spoil() {
	chmod u+w "$1"
	python3 -c 'import sys; f = open(sys.argv[1], "r+b"); n = int(sys.argv[2]); f.seek(n); b = f.read(1); f.seek(n); f.write(bytes([b[0] ^ 1]))' "$1" "$2"
}

test_a_damaged_archive_gives_what_is_good() {
	some_archive 30 none
	segment=$(ls arc/segments/*.tar)
	cp "$segment" good
	spoil "$segment" "$(($(grep -abo -m1 'Message-ID' "$segment" | head -n 1 | cut -d: -f1) + 20))"
	restore 2
	counts listed="$n" stored=$((n - 1)) failed=1
	says 'failed'
	check 'the report says why' grep -q 'SHA-256 is not the recorded one' report.json
	restore 2
	counts known=$((n - 1)) failed=1
	# Put back from a copy.
	cp good "$segment"
	restore 0
	counts known=$((n - 1)) stored=1
	python3 "$TOOL" restored arc "$(rig_maildir "$dst")"
}

test_a_cut_or_missing_segment_is_no_success() {
	some_archive 20
	n1=$n
	python3 "$DATA/make" mail2 10 --duplicates 0 --seed more >/dev/null
	rig_load "$src" mail2
	copy 0 "$(url_pop3s "$src")" archive:arc --folder 'Years/%Y'
	cp -r arc whole
	rm -f arc/segments/*-000001.tar.gz
	restore 2
	counts listed=30 stored=10 failed="$n1"
	check 'the report names it' grep -q '000001 is missing' report.json
	rm -rf arc && cp -r whole arc
	segment=$(ls arc/segments/*-000001.tar.gz)
	chmod u+w "$segment"
	truncate -s 3000 "$segment"
	copy 2 archive:arc "$(url_imaps "$dst-cut")" --state "$W/s2"
	check 'what was before the cut is there' sh -c "! grep -q '\"stored\":10,' report.json"
	rm -rf arc && cp -r whole arc
	rm -f arc/segments/*-000002.tar.gz
	copy 2 archive:arc "$(url_imaps "$dst-last")" --state "$W/s3"
	counts stored="$n1" failed=1
}

test_what_is_no_source_is_refused() {
	some_archive 2
	copy 64 archive:arc "$(url_imaps "$dst")" --delete verified --state "$W/restored"
	says 'ever deleted'
	copy 66 archive:nowhere "$(url_imaps "$dst")" --state "$W/restored"
	copy 64 archive:arc archive:arc --state "$W/restored"
	sed -i 's/"format":1/"format":9/; s/"format": 1/"format": 9/' arc/archive.json
	copy 65 archive:arc "$(url_imaps "$dst")" --state "$W/restored"
	says 'newer|later|format'
	check 'nothing was made of it' test ! -e restored
}
