# Mail in files as a source: what was exported comes back, and what mail programs leave.
# shellcheck shell=sh

# table ARCHIVE COLUMN...: the columns of every message that is sealed, sorted.
table() {
	python3 - "$@" <<'P'
import csv, glob, io, sys, tarfile
rows = []
for name in glob.glob(sys.argv[1] + '/segments/*.tar.*'):
    if name.endswith('.idx'):
        continue
    with tarfile.open(name, ignore_zeros=True) as t:
        for m in t:
            if m.name.endswith('/metadata/messages.csv'):
                text = t.extractfile(m).read().decode()
                rows += [' '.join(r[c] for c in sys.argv[2:]) for r in csv.DictReader(io.StringIO(text, newline=''))]
print('\n'.join(sorted(rows)))
P
}

# same A B COLUMN...: both archives have the same in these columns.
same() {
	a=$1 b=$2
	shift 2
	table "$a" "$@" >same.a
	table "$b" "$@" >same.b
	check 'there is something' test -s same.a
	check "$a and $b are the same in $*" cmp same.a same.b
}

import() {
	code=$1
	shift
	pf "$code" import --progress never "$@"
}

test_import_exports() {
	rig_load "$src" "$DATA/odd" "$DATA/twice"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none --folder 'Years/%Y' --seen older-than:12y
	for format in eml zip maildir mboxrd; do
		pf 0 export arc "x.$format" --format "$format"
		import 0 "from-$format" "x.$format"
	done
	same arc from-eml sha256 source_folder
	same arc from-zip sha256 source_folder
	same arc from-maildir sha256 source_folder flags
	# Line ends are not those of the mail any more, and all else is.
	same arc from-mboxrd subject message_id
	tar czf maildir.tgz x.maildir
	import 0 from-tar maildir.tgz
	same from-maildir from-tar sha256 source_folder flags internal_date
	import 0 from-segment arc/segments/*.tar.gz
	same arc from-segment sha256
	# All of them into one, once each; and again.
	import 0 all x.eml x.zip maildir.tgz arc
	same arc all sha256
	import 0 all x.zip
	same arc all sha256
	pf 0 verify all
}

test_import_to_imap() {
	mkdir -p md/cur md/new md/tmp md/.Sent.2020/cur
	printf 'Subject: one\r\nMessage-ID: <1@x>\r\n\r\n1\r\n' >'md/cur/1500000000.a:2,S'
	printf 'Subject: two\nMessage-ID: <2@x>\n\n2\n' >md/new/1500000001.b
	printf 'Subject: three\r\nMessage-ID: <3@x>\r\n\r\n3\r\n' >'md/.Sent.2020/cur/1500000002.c:2,FR'
	touch -d @1234567890 md/cur/*
	copy 0 maildir:md "$(url_imaps "$dst")" --check
	counts listed=3 stored=3
	box=$(rig_maildir "$dst")
	check 'the date came along' test "$(stat -c %Y "$box"/cur/*,S)" = 1234567890
	check 'and the folder, with flags' ls "$(rig_maildir "$dst" Sent.2020)"/cur/*,FR
	# A mail program goes on with it.
	mv md/new/1500000001.b 'md/cur/1500000001.b:2,S'
	printf 'Subject: four\n\n4\n' >md/new/1500000003.d
	copy 0 maildir:md "$(url_imaps "$dst")"
	counts listed=4 known=3 stored=1
	# The wrong way round.
	copy 64 maildir:md "$(url_imaps "$dst")" --delete verified
	says 'ever deleted from files'
	copy 64 archive:arc maildir:md
	says 'maildir: is a source only'
	copy 66 mbox:nowhere archive:arc --state "$W/another"
	says 'nowhere cannot be read'
}

test_import_mbox_grows() {
	printf 'From a@b Tue Nov 22 10:00:00 2016\nSubject: one\nStatus: RO\n\n>From here\n\n' >Old.mbox
	printf 'From a@b Tue Nov 22 11:00:00 2016\nSubject: two\n\nx\n\n' >>Old.mbox
	import 0 arc Old.mbox
	check 'folder, date, flags' test "$(table arc source_folder internal_date flags | head -n 1)" = \
		'Old 2016-11-22T10:00:00+00:00 seen'
	printf 'From a@b Tue Nov 22 12:00:00 2016\nSubject: three\n\ny\n\n' >new
	sed 's/^Subject: two/&\nStatus: RO\nX-Status: A/' Old.mbox >>new
	mv new Old.mbox
	import 0 arc Old.mbox
	says '3 listed = 2 known \+ 1 stored'
	check 'each once' test "$(table arc sha256 | wc -l)" -eq 3
}

test_import_cut_and_odd() {
	mkdir tree
	for i in 1 2 3 4; do
		{ printf 'Subject: %s\r\n\r\n' $i && head -c 3000 /dev/urandom | base64; } >tree/$i.eml
	done
	ln -s /etc/passwd tree/link.eml
	mkfifo tree/pipe.eml
	tar -C tree --exclude=link.eml --exclude=pipe.eml -czf whole.tgz .
	head -c 7000 whole.tgz >cut.tgz
	(cd tree && python3 -m zipfile -c ../whole.zip [1-4].eml)
	head -c 9000 whole.zip >cut.zip
	import 65 cut cut.tgz whole.zip
	says 'cut.tgz is damaged or cut off'
	import 65 cut cut.zip
	says 'cut.zip is damaged or cut off'
	check 'all that can be had, once' test "$(table cut sha256 | wc -l)" -eq 4
	import 0 arc tree
	says 'link.eml.*symbolic link'
	says '4 listed .* 4 stored'
	import 0 arc tree/[1-4].eml
	says '4 listed .* 4 stored'
	check 'nothing twice' test "$(table arc sha256 | wc -l)" -eq 4
	import 66 arc whole.zip nowhere
	import 64 arc whole.zip whole.tgz --report r.json
	says 'name'
	import 64 arc
	import 0 small tree --max-size 10
	says '4 filtered'
}

# Another kind of file than directories are read for is not passed over in silence.
test_import_nothing_found() {
	mkdir boxes empty
	cp "$DATA"/odd/*.eml boxes 2>/dev/null || cp "$DATA"/odd/* boxes
	for f in boxes/*; do mv "$f" "${f%.eml}.msg"; done
	import 0 arc boxes
	says 'passed-over .*files=.*no messages'
	import 0 arc empty
	check 'nothing to tell of' sh -c '! grep passed-over err'
}
