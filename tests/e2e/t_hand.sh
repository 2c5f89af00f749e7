# Messages are handed to programs: while they are copied, and out of an archive.
# shellcheck shell=sh

# some: a few odd messages in $src, with plain and list among them.
some() {
	mkdir some
	for f in plain list nul bare-cr no-headers no-message-id-1 subject-japanese attachment nested empty-message-id-1; do
		cp "$DATA/odd/$f.eml" some
	done
	n=$(rig_load "$src" some)
}

# scanner: a program ./scan that finds something in two of them.
scanner() {
	cat >scan <<-'S'
		#!/bin/sh
		echo "$POPFERRY_SHA256 $POPFERRY_UIDL" >>asked
		case $(cat | sha256sum) in "$POPFERRY_SHA256"*) ;; *) exit 9 ;; esac
		grep -q "^$POPFERRY_SHA256" bad || exit 0
		printf 'stream: \033[1mTest\033[0m FOUND\nmore\n'
		exit 1
	S
	chmod +x scan
	some
	for f in plain list; do # as POP3 gives them
		sed 's/\r*$/\r/' "$DATA/odd/$f.eml" | sha256sum | cut -d' ' -f1
	done >bad
	: >asked
	python3 "$TOOL" served "$(rig_maildir "$src")" >served
	check 'two are bad' test "$(grep -cf bad served)" -eq 2
}

# in_folder FOLDER N: so many messages are there at the destination.
in_folder() {
	have=$(find "$(rig_maildir "$dst" "$1")/cur" "$(rig_maildir "$dst" "$1")/new" -type f 2>/dev/null | wc -l)
	check "$2 in $1, not $have" test "$have" -eq "$2"
}

test_scan_note() {
	scanner
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --dedup none --scan ./scan
	counts listed="$n" stored="$n" failed=0
	check 'each was asked about once' test "$(wc -l <asked)" -eq "$n"
	check 'it is told' grep -q 'scan-noted.*the scan says: stream: .*x1b\[1mTest' report.json
	pf 0 list arc anomaly:scan
	check 'and in the archive' test "$(wc -l <out)" -eq 2
	pf 0 verify arc
	arrived_in_archive arc
	arrived_in_imap
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --dedup none --scan ./scan
	counts known="$n" stored=0
	check 'what is there is not asked about' test "$(wc -l <asked)" -eq "$n"
}

test_scan_quarantine() {
	scanner
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --dedup none \
		--scan ./scan --scan-policy quarantine --quarantine-folder Held
	counts listed="$n" stored="$n" failed=0
	in_folder Held 2
	pf 0 list arc folder:Held
	check 'in the archive too' test "$(wc -l <out)" -eq 2
	arrived_in_archive arc
	check 'it is told' grep -q 'scan-quarantined.*filed in Held' report.json
	# Killed at each of its steps, they come to stand in one folder once.
	rm -rf state arc
	dst=$dst-2
	for step in 4 8 12 16 20 24; do
		POPFERRY_CRASH_AT=$step timeout 60 "$POPFERRY" copy "$(url_pop3s "$src")" "$(url_imaps "$dst")" \
			--source-password-file "$RIG/secret" --dest-password-file "$RIG/secret" \
			--ca-file "$CA" --state "$W/state" --dedup none --progress never \
			--scan ./scan --scan-policy quarantine >/dev/null 2>&1 || :
	done
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --dedup none \
		--scan ./scan --scan-policy quarantine
	in_folder Quarantine 2
	check 'the others, once' test "$(python3 "$TOOL" stored "$(rig_maildir "$dst")" | wc -l)" -eq $((n - 2))
}

test_scan_refuse() {
	scanner
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --dedup none --scan ./scan --scan-policy refuse
	counts listed="$n" stored=$((n - 2)) filtered=2 failed=0
	check 'it is told' grep -q 'refused by scan: stream' report.json
	# An archive has them all, and the source keeps what is in no mailbox.
	rm -rf state
	dst=$dst-2
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --dedup none \
		--scan ./scan --scan-policy refuse
	counts listed="$n" stored="$n" filtered=0
	arrived_in_archive arc
	check 'two less' test "$(python3 "$TOOL" stored "$(rig_maildir "$dst")" | wc -l)" -eq $((n - 2))
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --dedup none \
		--scan ./scan --scan-policy refuse --delete verified
	counts stored=0 known="$n"
	check 'both are left' test "$(python3 "$TOOL" served "$(rig_maildir "$src")" | wc -l)" -eq 2
}

# stopped_once ARG...: SIGTERM as soon as there is a file `begun`, which a program it runs makes.
stopped_once() {
	rm -f begun
	"$POPFERRY" "$@" >out 2>err </dev/null &
	polls=0
	until [ -e begun ]; do
		polls=$((polls + 1))
		[ $polls -lt 600 ]
		sleep 0.1
	done
	since=$(date +%s) code=0
	kill -TERM $!
	wait $! || code=$?
	check "stopped: $code" test "$code" -eq 75
	check 'at once' test $(($(date +%s) - since)) -lt 30
}

test_scan_fails() {
	rig_load "$src" "$DATA/twice"
	copy 2 "$(url_pop3s "$src")" archive:arc --dedup none --scan 'sh -c "kill -9 $$"'
	counts listed=10 failed=10 stored=0
	check 'it is told' grep -q '"stage":"scan".*ended by signal 9' report.json
	copy 2 "$(url_pop3s "$src")" archive:arc --dedup none --limit 1 --scan 'sleep 60' --scan-timeout 1
	check 'it is told' grep -q 'not done in time' report.json
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none --scan true
	counts stored=10 failed=0
	arrived_in_archive arc
	copy 78 "$(url_pop3s "$src")" archive:arc --scan no-such-program
	says 'scan: cannot run no-such-program'
	copy 64 "$(url_pop3s "$src")" archive:arc --scan "a 'b"
	copy 64 "$(url_pop3s "$src")" archive:arc --scan-policy refuse
	says 'of no use'
	# A stop does not wait for it.
	rm -rf state arc
	stopped_once copy "$(url_pop3s "$src")" archive:arc --source-password-file "$RIG/secret" \
		--ca-file "$CA" --state state --scan 'sh -c "touch begun; exec sleep 60"'
}

# export_some: an archive ./arc with them.
export_some() {
	some
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none "$@"
}

test_export_exec() {
	mkdir more # more than a program's pipe and ours together
	awk 'BEGIN { print "Subject: large\n"; for (i = 0; i < 60000; i++) print "a line of a message that is large, number", i }' \
		>more/large.eml
	rig_load "$src" more
	export_some
	cat >each <<-'S'
		#!/bin/sh
		case $(tee "gotten/$POPFERRY_SEQ" | sha256sum) in "$POPFERRY_SHA256"*) ;; *) exit 9 ;; esac
		test "$(wc -c <"gotten/$POPFERRY_SEQ")" -eq "$POPFERRY_SIZE" || exit 8
		echo "$POPFERRY_FOLDER $POPFERRY_UIDL"
		test "$POPFERRY_SEQ" -ne 3
	S
	chmod +x each
	for jobs in 1 4; do
		rm -rf gotten
		mkdir gotten
		pf 2 export arc --exec ./each -j "$jobs" --report report.json
		says 'each did not end with 0 for 1 of'
		says '^ +3 +exit 1 +INBOX'
		same_as_archive gotten/*
		python3 - "$n" <<'P'
import json, sys
r = json.load(open('report.json'))
n = int(sys.argv[1])
assert r['messages'] == n and r['good'] == n - 1 and r['exit'] == 2, r
assert sorted(x['seq'] for x in r['results']) == list(range(1, n + 1))
assert [x['seq'] for x in r['results'] if x['code'] != 0] == [3]
assert all(x['end'] == 'exit' and x['line'].startswith('INBOX ') for x in r['results'])
P
	done
	pf 0 export arc --exec cat 2-4 --report - -q
	python3 -c 'import json; assert len(json.load(open("out"))["results"]) == 3'
	grep -q '"event":"export".*"object":"cat"' arc/log/custody.jsonl
	pf 2 export arc --exec 'sleep 60' --exec-timeout 1 1
	says 'timeout'
	pf 2 export arc --exec 'sh -c "kill -9 $$"' 1
	says 'signal 9'
	pf 2 export arc --exec cat 99999
	pf 78 export arc --exec no-such-program
	pf 64 export arc --exec "cat 'x"
	pf 64 export arc --exec cat --format zip
	pf 64 export arc all --report r
	pf 64 export arc --exec cat --jobs 0
	stopped_once export arc --exec 'sh -c "touch begun; exec sleep 60"' -j 3
}

# By the Mailbag Specification 1.0, sections 5.2 and 5.3.
is_a_mailbag() {
	python3 - "$1" <<'P'
import csv, os, re, sys
bag = sys.argv[1]
raw = open(bag + '/mailbag.csv', 'rb').read()
assert not raw.startswith(b'\xef\xbb\xbf') and raw.count(b'\n') == raw.count(b'\r\n')
rows = list(csv.reader(open(bag + '/mailbag.csv', newline='', encoding='utf-8')))
assert rows[0] == ['Error', 'Mailbag-Message-ID', 'Message-ID', 'Original-File', 'Message-Path',
    'Derivatives-Path', 'Attachments', 'Date', 'From', 'To', 'Cc', 'Bcc', 'Subject', 'Content-Type']
files = sorted(os.path.relpath(os.path.join(d, f), bag + '/data/eml')
    for d, _, fs in os.walk(bag + '/data') for f in fs)
assert sorted(r[3] for r in rows[1:]) == files, files
for r in rows[1:]:
    assert len(r) == 14 and r[0] == '' and r[6].isdigit()
    assert os.path.basename(r[3]) == r[1] + '.eml' and os.path.dirname(r[3]) == r[5]
info = dict(l.split(': ', 1) for l in open(bag + '/bag-info.txt').read().splitlines())
for k in ('Bag-Type', 'Mailbag-Source', 'Mailbag-Specification-Version', 'Original-Included',
    'Bagging-Timestamp', 'Bagging-Date', 'External-Identifier', 'Mailbag-Agent', 'Mailbag-Agent-Version'):
    assert info[k], k
size = sum(os.path.getsize(os.path.join(bag, 'data/eml', f)) for f in files)
assert info['Payload-Oxum'] == '%d.%d' % (size, len(files)), info
assert open(bag + '/bagit.txt').read() == 'BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n'
P
}

test_export_mailbag() {
	export_some
	pf 0 export arc bag --format Mailbag # as it is written elsewhere
	pf 0 export arc one.tar --format mailbag
	pf 0 export arc two.tar.gz --format mailbag
	sha256sum --strict --quiet -c bag.sha256 one.tar.sha256 two.tar.gz.sha256
	tar xf one.tar
	tar xzf two.tar.gz
	for bag in bag one two; do
		(cd $bag && sha256sum --strict --quiet -c manifest-sha256.txt tagmanifest-sha256.txt)
		same_as_archive $(find $bag/data -type f)
		is_a_mailbag $bag
		check 'attachments are counted' grep -q '"[1-9]".*"multipart/' $bag/mailbag.csv
		python3 "$E2E/bagit.py" $bag
		command python3 -c 'import bagit' 2>/dev/null || continue
		command python3 -c 'import bagit, sys; bagit.Bag(sys.argv[1]).validate()' $bag
	done
}

test_export_query() {
	export_some
	pf 0 export arc found --query 'subject:lunch'
	found=$(find found -name '*.eml' | wc -l)
	check "$found of $n" test "$found" -ge 1 -a "$found" -lt "$n"
	pf 0 export arc --query 'has:attachment' --exec cat
	pf 2 export arc none --query 'nobodysaysthis'
	check 'nothing is left behind' test ! -e none
	pf 64 export arc none --query 'from:'
}

# What review platforms and archivists get has the columns that it should, in their form.
test_export_columns() {
	export_some
	pf 0 export arc dat --format dat
	pf 0 export arc nara --format nara
	python3 - <<'P'
import csv, os
raw = open('dat/loadfile.dat', encoding='utf-8-sig', newline='').read()
rows = [[f.strip('\u00fe') for f in l.split('\x14')] for l in raw.split('\r\n') if l]
assert rows[0][:7] == ['DOCID', 'FROM', 'TO', 'CC', 'BCC', 'SUBJECT', 'DATESENT']
for r in rows[1:]:
    assert len(r) == len(rows[0]) and not r[6].endswith('~')
    native = r[-1].replace('\\', '/')
    assert native.startswith('NATIVES/') and os.path.isfile('dat/' + native)
rows = list(csv.reader(open('nara/metadata.csv', newline='', encoding='utf-8'), delimiter='|'))
assert rows[0][:7] == ['File Name', 'Record ID', 'Title', 'Description', 'Creator', 'Creation Date', 'Rights']
for r in rows[1:]:
    assert len(r) == len(rows[0]) and os.path.isfile('nara/' + r[0])
P
}

# export_corpus SET: each message of it, out by every way.
export_corpus() {
	[ -n "${CORPUS:-}" ] || skip 'no CORPUS=DIR given'
	python3 "$CORPUS/load-maildir.py" --skip-empty "$CORPUS/$1.tar.zst" "$(rig_maildir "$src")"
	[ -z "$RIG_OWNER" ] || chown -R "$RIG_OWNER" "$RIG/mail/$src"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none --codec zst
	pf 0 list arc --log-format json
	sed 's/.*"sha256":"\([0-9a-f]*\)".*/\1/' out | sort >want
	for format in eml maildir mailbag dat nara; do
		pf 0 export arc $format --format $format
		sha256sum --strict --quiet -c $format.sha256
		case $format in
		mailbag)
			(cd mailbag && sha256sum --strict --quiet -c manifest-sha256.txt tagmanifest-sha256.txt)
			find mailbag/data -type f >files
			;;
		dat | nara) find $format -mindepth 2 -type f >files ;;
		*) find $format -type f >files ;;
		esac
		xargs -d '\n' sha256sum <files | cut -d' ' -f1 | sort >got
		cmp got want
		[ $format = eml ] || rm -rf $format
	done
	pf 0 export arc all.zip --format zip
	mkdir zip
	python3 -m zipfile -e all.zip zip
	find zip -name '*.eml' -print0 | xargs -0 sha256sum | cut -d' ' -f1 | sort >got
	cmp got want
	pf 0 export arc mbox --format mboxrd
	same_as_mbox
	pf 0 export arc --exec 'sha256sum' 1-50 -j 2 -q --report report.json
	python3 - <<'P'
import json
for r in json.load(open('report.json'))['results']:
    assert r['line'].startswith(r['sha256'])
P
	rm -rf "$RIG/mail/$src" arc zip eml
}

test_export_corpus_real() {
	export_corpus real
}

test_export_corpus_torture() {
	export_corpus torture
}
