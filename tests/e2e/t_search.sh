# Messages of an archive found by their words; the index beside it is made, kept and made anew.
# shellcheck shell=sh

# found NUMBER: so many numbers were printed.
found() {
	check "$1 found" test "$(wc -l <out)" = "$1"
}

test_search() {
	rig_load "$src" "$DATA/odd"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	n=$("$POPFERRY" list arc | wc -l)
	pf 0 search arc seq:1- --format seq --sort seq
	found "$n"
	# What is in each message is found: each subject leads to its message.
	pf 0 list arc --log-format json
	python3 - <<'P'
import json, os, subprocess
tried = 0
for line in open('out', encoding='utf-8'):
    m = json.loads(line)
    words = [w for w in m['subject'].split() if w.isascii() and w.isalpha()]
    if not words:
        continue
    q = 'subject:"%s" sha256:%s' % (' '.join(words[:1]), m['sha256'][:12])
    got = subprocess.run([os.environ.get('POPFERRY', 'popferry'), 'search', 'arc', q, '--format', 'seq'],
                         capture_output=True, text=True)
    assert str(m['seq']) in got.stdout.split(), (q, got)
    tried += 1
assert tried > 5, tried
P
	pf 0 search arc from:example.org --format jsonl
	python3 -c 'import json; [json.loads(l)["seq"] for l in open("out")]'
	pf 0 search arc from:example.org --format csv --excel-safe
	python3 -c 'import csv; assert all(r["sha256"] for r in csv.DictReader(open("out", newline="")))'
	pf 0 search arc from:example.org
	check 'no control characters' test -z "$(tr -d '\n\040-\176\200-\377' <out)"
	says '[0-9]+ messages?$'
	pf 0 search arc has:attachment --limit 1 --format seq
	found 1
	pf 2 search arc nosuchwordanywhere
	pf 64 search arc 'from:'
	says 'character 6'
	pf 64 search arc '(a'
	pf 64 search arc
	pf 64 search arc a --format xml
	pf 65 search nothere a
	# It is noted, with what anybody can compute.
	pf 0 search arc seq:1-3 --format seq --sort seq
	check 'noted' grep -q "\"event\":\"search\".*$(sha256sum <out | cut -c 1-64)\|$(sha256sum <out | cut -c 1-64).*\"event\":\"search\"" arc/log/custody.jsonl
	pf 0 verify arc
}

test_search_index() {
	rig_load "$src" "$DATA/odd/list.eml" "$DATA/odd/nested.eml"
	copy 0 "$(url_pop3s "$src")" archive:arc
	pf 0 search arc --index
	says '2 messages in the index'
	# New mail is in the next search; a bad index is thrown away once.
	rig_load "$src" "$DATA/odd/attachment.eml"
	copy 0 "$(url_pop3s "$src")" archive:arc
	pf 0 search arc has:attachment --format seq
	check 'the new one' grep -q '^3$' out
	echo 'not a database at all, whatever its name says' >arc/index/catalog.sqlite
	pf 0 search arc seq:3 --format seq
	says 'thrown away'
	found 1
	pf 0 search arc seq:3 -q
	check 'said once' test ! -s err
	pf 0 search --rebuild arc
	(cd arc && sh VERIFY.sh >/dev/null)
	# Killed in the middle, it goes on.
	rm -r arc/index
	POPFERRY_CRASH_AT=1 "$POPFERRY" search arc seq:1 2>/dev/null || true
	pf 0 search arc seq:1- --format seq
	found 3
	# One bad byte: the rest is found.
	seg=$(ls arc/segments/*.tar.gz | head -n 1)
	chmod u+w "$seg"
	printf 'XXXX' | dd of="$seg" bs=1 seek=400 conv=notrunc 2>/dev/null
	pf 65 search --rebuild arc seq:1- --format seq
	says 'damaged or lost'
	check 'the rest' grep -q '^3$' out
}

# Mail that is HTML alone is found and shown by its text.
# Whoever reads slowly what is found keeps nobody from the index.
test_search_slow_reader() {
	for i in $(seq 600); do
		printf 'From x Thu Jan  1 00:00:00 2015\nFrom: a@example.org\nSubject: %0200d\n\nfound\n\n' "$i"
	done >many.mbox
	copy 0 mbox:many.mbox archive:arc --dedup none
	pf 0 search arc --index
	python3 - "$POPFERRY" <<'P'
import fcntl, sqlite3, subprocess, sys, termios, time
def waiting(pipe):
    return fcntl.ioctl(pipe, termios.FIONREAD, b'....')
search = subprocess.Popen([sys.argv[1], 'search', 'arc', 'found', '--format', 'jsonl'], stdout=subprocess.PIPE, bufsize=0)
first, before = search.stdout.read(1), None
while waiting(search.stdout) != before:  # all of it is more than a pipe holds
    before = waiting(search.stdout)
    time.sleep(0.3)
db = sqlite3.connect('arc/index/catalog.sqlite', timeout=2, isolation_level=None)
db.execute('BEGIN EXCLUSIVE')
db.execute('ROLLBACK')
assert (first + search.stdout.read()).count(b'\n') == 600
assert search.wait() == 0
P
}

test_search_html() {
	printf 'Subject: page\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n%s\r\n' \
		'<style>p {}</style><p>Gr&uuml;<b>&szlig;e</b></p><!-- x --><p>second &lt;line&gt;' >page.eml
	rig_load "$src" page.eml
	copy 0 "$(url_pop3s "$src")" archive:arc
	pf 0 search arc '"grüße second line"' --format seq
	found 1
	pf 2 search arc style
	pf 0 show arc 1
	check 'without tags' sh -c 'grep -q "^Grüße$" out && grep -q "^second <line>$" out'
	pf 0 show arc 1 --part 1
	check 'a part as it is' grep -q '^<style>' out
}

# The page: complete without a script or a network, and nothing in mail gets out of its text.
test_report() {
	rig_load "$src" "$DATA/odd"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	cat >hostile.eml <<'M'
From: "<script>alert(1)</script>" <a&b'"@example.org>
Subject: </title></table><img src=http://example.org/x onerror=alert(2)> &amp;
Message-ID: <hostile@example.org>

x
M
	sed -i 's/$/\r/' hostile.eml
	rig_load "$src" hostile.eml
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	pf 0 report arc --html a.html
	pf 0 report arc --html b.html
	cmp a.html b.html
	pf 0 report arc --html - --limit 0
	python3 - a.html out <<'P'
import html.parser, sys
class Check(html.parser.HTMLParser):
    void = {'meta', 'input', 'br', 'rect'}
    def __init__(self):
        super().__init__(); self.open = []; self.text = ''; self.scripts = 0
    def handle_starttag(self, tag, attrs):
        assert tag not in ('img', 'link', 'iframe', 'object'), tag
        for k, v in attrs:
            assert not k.startswith('on'), (tag, k)
            assert k not in ('src', 'href') or v.startswith('#'), (tag, k, v)
        self.scripts += tag == 'script'
        if tag not in self.void: self.open.append(tag)
    def handle_endtag(self, tag):
        if tag not in self.void: assert self.open.pop() == tag, (tag, self.getpos())
    def handle_data(self, d): self.text += d
for name in sys.argv[1:]:
    c = Check(); c.feed(open(name, encoding='utf-8').read()); c.close()
    assert c.open == [] and c.scripts == 1, (c.open, c.scripts)
    if name == 'a.html':
        assert "<script>alert(1)</script>" in c.text and 'onerror=alert(2)' in c.text
P
	# A browser runs the one script, and nothing of the mail.
	if command -v chromium >/dev/null; then
		HOME=$W timeout 60 chromium --headless --no-sandbox --disable-gpu --dump-dom \
			"file://$W/a.html" >dom 2>/dev/null
		check 'rows can be filtered' grep -q '<label>Show only' dom
		check 'no picture' sh -c '! grep -q "<img" dom'
	fi
	n=$("$POPFERRY" list arc | wc -l)
	check 'each message' test "$(grep -c '^<tr class="m">' a.html)" = "$n"
	pf 0 report arc --html v.html --verify
	check 'verified' grep -q "$n messages and 2 seals good" v.html
	check 'noted' grep -q '"event":"report"' arc/log/custody.jsonl
	pf 64 report arc
	pf 64 report arc --html x --limit some
	pf 73 report arc --html no/such/folder/x.html
	pf 65 report nothere --html x.html
	pf 0 verify arc
}
