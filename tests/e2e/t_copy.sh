# Mail goes where it should, whole, once, and looks right there.
# shellcheck shell=sh

test_archive_and_imap_in_one_pass() {
	n=$(rig_load "$src" "$DATA/odd")
	python3 "$TOOL" served "$(rig_maildir "$src")" >before
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc
	counts listed="$n" stored="$n" known=0 duplicate=0 failed=0
	arrived_in_archive arc
	arrived_in_imap
	python3 "$TOOL" served "$(rig_maildir "$src")" >after
	check 'the source is as it was' cmp before after
	pf 0 verify arc
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc
	counts listed="$n" stored=0 known="$n"
	arrived_in_archive arc
	arrived_in_imap
}

test_starttls_on_both_sides() {
	n=$(rig_load "$src" "$DATA/odd")
	copy 0 "$(url_pop3 "$src")" "$(url_imap "$dst")" --trace trace
	counts stored="$n"
	arrived_in_imap
	check 'STLS and STARTTLS were sent' grep -q STLS trace
	check 'STLS and STARTTLS were sent' grep -q STARTTLS trace
}

test_several_connections_take_turns() {
	n=$(rig_load "$src" "$DATA/odd")
	printf '[imap]\nliteral = sync\nconnections = 3\n' >turns.conf
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --dest-profile "$W/turns.conf"
	counts stored="$n"
	arrived_in_imap
	logins=$(grep -c "imap-login: .*Login: user=<$dst>" "$RIG/dovecot.log")
	check "3 connections, not $logins" test "$logins" = 3
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --dest-profile "$W/turns.conf"
	counts known="$n" stored=0
	arrived_in_imap
}

test_without_tls_only_when_asked_and_with_a_warning() {
	n=$(rig_load "$src" "$DATA/twice")
	copy 69 "$(url_pop3 "$src" 127.0.0.5)" "$(url_imap "$dst" 127.0.0.5)"
	for again in 1 2; do
		copy 0 "$(url_pop3 "$src" 127.0.0.5)" "$(url_imap "$dst" 127.0.0.5)" \
			--source-tls none --dest-tls none
		says 'clear'
		says 'warn'
	done
	counts known="$n" stored=0
}

test_no_fall_back_to_plain_text() {
	rig_load "$src" "$DATA/twice"
	copy 69 "$(url_pop3 "$src" 127.0.0.5)" archive:arc
	says 'STLS'
	copy 69 "$(url_pop3s "$src")" "$(url_imap "$dst" 127.0.0.5)" --state "$W/state2"
	says 'STARTTLS'
	check 'no login in the clear' sh -c "! grep -E 'Login: user=<$src>.*lip=127.0.0.5' $RIG/dovecot.log"
}

test_each_codec_is_read_by_stock_tools() {
	n=$(rig_load "$src" "$DATA/odd")
	for codec in gz zst zip none; do
		copy 0 "$(url_pop3s "$src")" "archive:arc-$codec" --codec $codec --state "$W/state-$codec"
		arrived_in_archive arc-$codec
		pf 0 verify arc-$codec
		case $codec in
		gz) tar -xzf arc-gz/segments/*.tar.gz ;;
		zst) tar --zstd -xf arc-zst/segments/*.tar.zst ;;
		zip) unzip -q arc-zip/segments/*.zip ;;
		none) tar -xf arc-none/segments/*.tar ;;
		esac
		check "$n messages by stock tools" test "$(find . -path '*/data/eml/*' -name '*.eml' | wc -l)" -eq "$n"
		(cd arc-$codec*-0* && sha256sum --quiet -c manifest-sha256.txt)
		(cd arc-$codec && sha256sum --quiet -c manifest-sha256.txt)
		rm -rf arc-$codec*-0*
	done
}

# An attachment that is sent again 3 MB later is found in a large member only, by a window that
# stock tools accept.
test_large_members_find_what_was_sent_again() {
	mkdir eml
	python3 - <<'P'
import base64, random
r = random.Random(1)
part = [base64.encodebytes(r.randbytes(2500000)) for _ in range(3)]
for n in range(9):
    head = b'Message-ID: <%d@x.example>\nSubject: %d\n\n' % (n, n)
    open(f'eml/{n}.eml', 'wb').write(head + part[n % 3])
P
	for size in 2M 64M; do
		copy 0 eml:eml archive:arc --codec zst --member-size $size --state "$W/state-$size"
		counts stored=9
		pf 0 verify arc
		tar --zstd -xf arc/segments/*.tar.zst
		check "$size: all of it by stock tools" test "$(find . -path './arc-*' -name '*.eml' | wc -l)" -eq 9
		eval "bytes_$size=$(stat -c %s arc/segments/*.tar.zst)"
		copy 64 eml:eml archive:arc --member-size 5M
		says 'leave --member-size out'
		rm -rf arc arc-*
	done
	check 'smaller by far' test $((bytes_64M * 2)) -lt "$bytes_2M"
}

test_a_second_run_adds_a_second_segment() {
	rig_load "$src" "$DATA/odd"
	copy 0 "$(url_pop3s "$src")" archive:arc
	sha256sum arc/segments/* >first
	n=$(rig_load "$src" "$DATA/twice")
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	counts listed="$n" stored=10
	arrived_in_archive arc
	check 'closed segments stay as they are' sha256sum --quiet -c first
	pf 0 verify arc
}

test_a_damaged_archive_is_found() {
	rig_load "$src" "$DATA/odd"
	copy 0 "$(url_pop3s "$src")" archive:arc
	segment=$(ls arc/segments/*.tar.gz)
	chmod u+w "$segment"
	python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(5000); b = f.read(1); f.seek(5000); f.write(bytes([b[0] ^ 1]))' "$segment"
	pf 65 verify arc
	says "$(basename "$segment")"
}

# internal_date FILE: what IMAP shows for that message of odd/.
internal_date() {
	want=$(python3 "$TOOL" digest "$DATA/odd/$1.eml")
	awk -v d="$want" '$4 == d { print $2 }' stored
}
flags() {
	want=$(python3 "$TOOL" digest "$DATA/odd/$1.eml")
	awk -v d="$want" '$4 == d { print $3 }' stored
}

test_internal_dates_are_the_messages_own() {
	rig_load "$src" "$DATA/odd"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")"
	python3 "$TOOL" stored "$(rig_maildir "$dst")" >stored
	while read -r file date; do
		check "$file: $(internal_date "$file")" test "$(internal_date "$file")" = "$date"
	done <<-TABLE
		received-and-date 2020-02-15T07:59:58Z
		many-received 2019-03-04T10:59:00Z
		date-only 2020-02-29T06:30:00Z
		date-obsolete 1999-03-05T15:11:00Z
		space-before-colon 2019-03-05T08:30:00Z
	TABLE
	today=$(date -u +%Y-%m-%d) yesterday=$(date -u -d yesterday +%Y-%m-%d)
	for file in date-none date-impossible date-future date-ancient date-words; do
		case $(internal_date $file) in
		$today* | $yesterday*) ;;
		*) check "$file: $(internal_date $file), not today" false ;;
		esac
	done
}

test_only_what_a_status_header_proves_is_marked_as_read() {
	n=$(rig_load "$src" "$DATA/odd")
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")"
	python3 "$TOOL" stored "$(rig_maildir "$dst")" >stored
	check "status-read: $(flags status-read)" test "$(flags status-read)" = RS
	check 'nothing else is' test "$(awk '$3 != "-"' stored | wc -l)" -eq 1
	dst=$dst-all
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --seen all --state "$W/state2"
	check 'with --seen all everything is' test \
		"$(python3 "$TOOL" stored "$(rig_maildir "$dst")" | awk '$3 ~ /S/' | wc -l)" -eq "$n"
}

test_folders_with_odd_names() {
	n=$(rig_load "$src" "$DATA/twice")
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")/Alte%20Post/K%C3%B6ln%20%26%20mehr" --dedup none
	counts stored="$n"
	python3 "$TOOL" uploaded "$(rig_maildir "$src")" \
		"$(rig_maildir "$dst" 'Alte Post.K&APY-ln &- mehr')"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --dedup none --folder 'Archive/%Y' --state "$W/state2"
	python3 "$TOOL" uploaded "$(rig_maildir "$src")" "$(rig_maildir "$dst" Archive.2019)"
}

test_duplicates_are_judged_as_the_manual_says() {
	rig_load "$src" "$DATA/twice"
	while read -r mode stored duplicate told; do
		copy 0 "$(url_pop3s "$src")" "archive:arc-$mode" --dedup "$mode" --state "$W/state-$mode"
		counts listed=10 stored="$stored" duplicate="$duplicate"
		check "$told are told" test "$(grep -o '"kind":"dropped-by-message-id"' report.json | wc -l)" -eq "$told"
		check "$stored in the archive" test "$(python3 "$TOOL" archived "arc-$mode" | wc -l)" -eq "$stored"
	done <<-TABLE
		message-id 7 3 0
		exact 8 2 0
		message-id-only 5 5 3
		none 10 0 0
	TABLE
}

test_mail_without_a_message_id_is_kept() {
	mkdir some
	cp "$DATA"/odd/*message-id-[12].eml some
	n=$(rig_load "$src" some)
	check 'four of them' test "$n" -eq 4
	for again in 1 2; do # the second without a journal
		copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")"
		arrived_in_imap
		rm -rf state
	done
}

test_without_its_journal_it_stores_nothing_twice() {
	n=$(rig_load "$src" "$DATA/odd")
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc
	rm -rf state
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc
	counts listed="$n" failed=0
	arrived_in_imap
	arrived_in_archive arc
}

test_commands_in_a_message_are_text() {
	mkdir some
	cp "$DATA/odd/plain.eml" "$DATA/odd/list.eml" some
	rig_load "$dst" some
	rig_load "$src" "$DATA/odd/plain.eml" "$DATA/odd/injection.eml" "$DATA/odd/list.eml"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --dedup none --trace trace
	python3 "$TOOL" stored "$(rig_maildir "$dst")" | awk '{ print $4 }' | sort -u >have
	check 'what was there still is' test "$(wc -l <have)" -eq 3
	check 'nothing was made' test ! -d "$(rig_maildir "$dst" pwned)"
	check 'no text of a message in the trace' sh -c '! grep -q EXPUNGE trace'
	copy 0 "$(url_pop3s "$src")" archive:arc --state "$W/state2"
	arrived_in_archive arc
}

test_a_dry_run_does_nothing() {
	n=$(rig_load "$src" "$DATA/odd")
	ls "$(rig_maildir "$src")/cur" >before
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")/New" archive:arc --dry-run
	says "$n"
	ls "$(rig_maildir "$src")/cur" >after
	check 'the source is as it was' cmp before after
	check 'no archive was made' test ! -e arc
	check 'no folder was made' test ! -e "$(rig_maildir "$dst" New)"
	check 'nothing was fetched' sh -c "! grep -E 'pop3\($src\).*retr=[1-9]' $RIG/dovecot.log"
	copy 0 "$(url_pop3s "$src")" archive:arc
	counts stored="$n" known=0
}

test_an_empty_maildrop_is_a_success() {
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc
	counts listed=0 stored=0
	pf 0 verify arc
}

test_a_limit_leaves_the_rest_for_the_next_run() {
	n=$(rig_load "$src" "$DATA/odd")
	copy 2 "$(url_pop3s "$src")" archive:arc --limit 20
	counts listed="$n" stored=20
	copy 0 "$(url_pop3s "$src")" archive:arc
	counts listed="$n" known=20 stored=$((n - 20))
	arrived_in_archive arc
}

test_new_mail_is_added() {
	rig_load "$src" "$DATA/odd/plain.eml" "$DATA/odd/list.eml"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")"
	rig_load "$src" "$DATA/odd/dots.eml"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")"
	counts listed=3 known=2 stored=1
	arrived_in_imap
}

test_a_full_mailbox_is_said_and_resumed() {
	python3 "$DATA/make" mail 20 --duplicates 0 --median 2000 --seed quota >/dev/null
	rig_load "$src" mail
	copy 73 "$(url_pop3s "$src")" "$(url_imaps full)" archive:arc
	says 'quota'
	check 'what the archive got is sealed' sh -c 'ls arc/segments/*.tar.gz'
	copy 73 "$(url_pop3s "$src")" "$(url_imaps full)" archive:arc
	sed -i '/^full:/s/=20k/=20M/' "$RIG/users" # its owner made room
	sleep 2 # Dovecot looks at that file once a second
	dst=full
	copy 0 "$(url_pop3s "$src")" "$(url_imaps full)" archive:arc
	arrived_in_imap
	arrived_in_archive arc
}

test_a_profile_describes_the_same_job() {
	n=$(rig_load "$src" "$DATA/odd")
	cat >job.conf <<-CONF
		source = $(url_pop3s "$src")
		dest = $(url_imaps "$dst")
		source-password-file = $RIG/secret
		dest-password-file = $RIG/secret
		ca-file = $CA
		state = $W/state
	CONF
	pf 0 run ./job.conf --report report.json --progress never
	counts stored="$n"
	arrived_in_imap
	pf 0 status ./job.conf
	says "$n"
}

test_listing_an_archive_shows_each_message_and_no_control_bytes() {
	n=$(rig_load "$src" "$DATA/odd")
	copy 0 "$(url_pop3s "$src")" archive:arc
	pf 0 list arc
	check "$n lines" test "$(grep -c . out)" -ge "$n"
	says 'Lunch on Thursday'
	check 'nothing paints the terminal' sh -c "! LC_ALL=C grep -q '[[:cntrl:]]' out"
}
