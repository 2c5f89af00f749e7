# An archive collected by POP3, shown and exported; what comes out is compared with the maildrop.
# shellcheck shell=sh

# export_archive: $W/arc has what the server has, odd messages and all.
export_archive() {
	rig_load "$src" "$DATA/odd" "$DATA/twice"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none "$@"
}

# same_as_archive FILE...: the files are the archive's messages, byte for byte.
same_as_archive() {
	sha256sum "$@" | cut -d' ' -f1 | sort >got
	pf 0 list arc --log-format json
	sed 's/.*"sha256":"\([0-9a-f]*\)".*/\1/' out | sort >want
	check 'nothing is compared with nothing' test -s want
	cmp got want
}

# ./mbox has what ./eml has, but for line ends.
same_as_mbox() {
	python3 - <<'P'
import glob, mailbox, re
want = [open(f, 'rb').read().replace(b'\r\n', b'\n') for f in
        sorted(glob.glob('eml/**/*.eml', recursive=True), key=lambda f: f[-13:])]
box = mailbox.mbox('mbox', create=False)
got = [re.sub(rb'(?m)^>(>*From )', rb'\1', box.get_bytes(k)) for k in box.keys()]
assert len(got) == len(want), (len(got), len(want))
for i, (g, w) in enumerate(zip(got, want)):
    assert g == w or g == w + b'\n', (i, g[-80:], w[-80:])
P
}

test_export_by_ending() {
	export_archive
	for pair in plain=eml .zip=eml a.ZIP=zip a.mbox=mboxrd a.csv=csv a.jsonl=jsonl \
		a.tar=mailbag a.tar.gz=mailbag a.tgz=mailbag; do
		pf 0 export arc "${pair%=*}" --log-format json
		check "$pair" grep -q "\"format\":\"${pair#*=}\"" out
	done
	pf 0 export arc b.zip --format mboxrd
	check 'who says it is obeyed' grep -q '^From ' b.zip
}

test_export_files() {
	export_archive
	pf 0 export arc eml
	says 'eml: [0-9]+ messages'
	sha256sum --strict --quiet -c eml.sha256
	same_as_archive $(find eml -type f)
	pf 0 export arc all.zip --format zip
	sha256sum --strict --quiet -c all.zip.sha256
	mkdir zip
	python3 -m zipfile -e all.zip zip
	(cd zip && sha256sum --strict --quiet -c manifest-sha256.txt)
	same_as_archive $(find zip -name '*.eml')
	pf 0 export arc md --format maildir
	sha256sum --strict --quiet -c md.sha256
	same_as_archive $(find md -type f)
	pf 0 export arc dat --format dat
	same_as_archive $(find dat/NATIVES -type f)
	pf 0 export arc nara --format nara
	same_as_archive $(find nara/records -type f)
	# What is there stays as it is.
	pf 73 export arc eml
	says 'is there already'
	pf 73 export arc no/such/folder
	pf 2 export arc none 99999
	check 'nothing is left behind' test ! -e none
	check 'nothing is left behind' sh -c '! ls -A | grep "\.part$\|\.sums$"'
}

test_export_mbox() {
	export_archive --codec zst
	pf 0 export arc mbox --format mboxrd
	sha256sum --strict --quiet -c mbox.sha256
	pf 0 export arc eml
	same_as_mbox
	command -v mutt >/dev/null || return 0
	command -v script >/dev/null || return 0
	n=$(find eml -name '*.eml' | wc -l)
	mkdir Mail # mutt would ask whether to make it
	HOME=$W TERM=xterm timeout 20 script -qec \
		"mutt -n -F /dev/null -R -f mbox -e 'set quit=yes' -e 'push x'" seen >/dev/null 2>&1 </dev/null
	check 'mutt counts them' grep -qa "Msgs:$n" seen
}

test_export_tables() {
	export_archive
	pf 0 export arc t.csv --format csv
	pf 0 export arc t.jsonl --format jsonl
	pf 0 export arc safe.csv --format csv --excel-safe
	pf 0 list arc --log-format json
	cmp out t.jsonl
	python3 - <<'P'
import csv, json
rows = list(csv.DictReader(open('t.csv', newline='', encoding='utf-8')))
objects = [json.loads(line) for line in open('t.jsonl', encoding='utf-8')]
assert rows and len(rows) == len(objects)
for r, o in zip(rows, objects):
    for k in r:
        assert r[k] == str(o[k]), (k, r[k], o[k])
for r in csv.DictReader(open('safe.csv', newline='', encoding='utf-8')):
    assert not any(v[:1] in '=+-@\t\r' for v in r.values() if v)
P
	pf 0 stats arc
	says 'messages +[0-9]+'
	pf 0 stats arc --log-format json
	python3 -c 'import json; s = json.load(open("out")); assert s["messages"] and s["folders"]'
}

test_show() {
	export_archive
	pf 0 export arc eml
	for f in $(find eml -name '*.eml'); do
		seq=$(basename "$f" .eml | sed 's/^0*//')
		pf 0 show arc "$seq" --raw
		cmp out "$f"
		pf 0 show arc "$seq"
		check 'no control characters' test -z "$(tr -d '\n\t\040-\176\200-\377' <out)"
		pf 0 show arc "$seq" --headers
		pf 0 show arc "$seq" --parts
	done
	pf 2 show arc 99999
	says 'no such message'
	pf 2 show arc 1 --part 99
	pf 64 show arc
	pf 64 show arc 1 --raw --parts
	pf 64 show arc wrong:word
	pf 0 list arc 1-2
	check 'two lines' test "$(wc -l <out)" = 2
}

# One bad byte: it is named, left out, and the rest comes.
test_export_damaged() {
	export_archive --codec none
	python3 - <<'P'
import glob
f = glob.glob('arc/segments/*.tar')[0]
b = bytearray(open(f, 'rb').read())
at = b.index(b'Subject:')
b[at + 9] ^= 1
import os
os.chmod(f, 0o600)
open(f, 'wb').write(b)
P
	pf 65 export arc eml
	says 'left out: .*message [0-9]+ was changed'
	sha256sum --strict --quiet -c eml.sha256
	check 'all but one' test "$(find eml -type f | wc -l)" = "$(($(popferry_count) - 1))"
	pf 65 export arc zip --format zip
	pf 65 show arc 1-
}

popferry_count() {
	"$POPFERRY" list arc | wc -l
}
