# An archive that proves itself: its seals, its history, and VERIFY.sh without popferry.
# shellcheck shell=sh

# sealed_archive OPTION...: $W/arc has a segment from each of some runs.
sealed_archive() {
	for part in odd twice; do
		rig_load "$src" "$DATA/$part"
		copy 0 "$(url_pop3s "$src")" archive:arc --dedup none "$@"
	done
	check 'it has several segments' test "$(ls arc/seals | wc -l)" -ge 2
	cp arc/VERIFY.sh auditor.sh # the auditor's own
}

# audit CODE: VERIFY.sh, where no popferry can be had.
audit() {
	got=0
	env -i PATH=/usr/bin:/bin TMPDIR="$W" sh auditor.sh arc >out 2>err || got=$?
	[ "$got" -eq "$1" ] && return
	echo "VERIFY.sh: exit $got, not $1"
	cat out err
	return 1
}

test_seal_good() {
	for codec in gz ${FULL:+zst zip none}; do # t_archive_seal has them all, too
		rm -rf arc state
		sealed_archive --codec "$codec"
		pf 0 verify arc
		says 'all good'
		audit 0
		says '^good: [0-9]+ segments?, [0-9]+ messages?'
		check 'nothing was said to stderr' test ! -s err
		check 'it cleans up' sh -c '! ls -d verify.*'
	done
}

# The SHA-256 of a seal on paper is enough: by hand, from the last seal to one message.
test_seal_by_hand() {
	sealed_archive
	python3 - <<'P'
import glob, hashlib, json, tarfile
sha = lambda b: hashlib.sha256(b).digest()
prev, leaves = None, []
for name in sorted(glob.glob('arc/seals/*.seal.json')):
    text = open(name, 'rb').read()
    seal = json.loads(text)
    assert text == json.dumps(seal, sort_keys=True, separators=(',', ':'),
                              ensure_ascii=False).encode() + b'\n', name
    assert (seal['prev'] or {}).get('sha256') == prev
    prev = hashlib.sha256(text).hexdigest()
    segment = 'arc/segments/' + seal['segment']['name']
    assert hashlib.sha256(open(segment, 'rb').read()).hexdigest() == seal['segment']['sha256']
    with tarfile.open(segment) as tar:
        bag = seal['segment']['name'].split('.')[0]
        rows = tar.extractfile(bag + '/metadata/merkle.tsv').read().decode().splitlines()[1:]
        mail = {m.name[-13:-4]: tar.extractfile(m).read() for m in tar if m.name.endswith('.eml')}
    for row in rows:
        seq, size, digest, salt, leaf = row.split('\t')
        data = mail['%09d' % int(seq)]
        assert hashlib.sha256(data).hexdigest() == digest and len(data) == int(size)
        leaves.append(sha(b'\0' + f'v1 {seq} {digest} {size} {salt}'.encode()))
        assert leaves[-1].hex() == leaf
    def root(l):
        if len(l) == 1:
            return l[0]
        k = 1
        while 2 * k < len(l):
            k *= 2
        return sha(b'\1' + root(l[:k]) + root(l[k:]))
    assert root(leaves).hex() == seal['tree']['root'] and len(leaves) == seal['tree']['size']
lines = open('arc/log/custody.jsonl', 'rb').read().splitlines()
before = b'\0' * 32
for i, line in enumerate(lines):
    event = json.loads(line)
    assert event['n'] == i + 1 and event['prev'] == before.hex(), line
    before = sha(line)
P
}

# A signature is looked at too, by openssl alone.
test_seal_signed() {
	sealed_archive
	pf 0 keygen key.pem cert.pem
	pf 0 seal arc --key key.pem --cert cert.pem
	n=$(ls arc/seals/*.json | wc -l)
	audit 0
	says "seals signed: $n subject=.*fingerprint"
	first=$(ls arc/seals/*.p7s | head -n 1)
	last=$(ls arc/seals/*.p7s | tail -n 1)
	cp "$last" was
	cp -f "$first" "$last"
	audit 65
	says "$(basename "$last") is not a signature of"
	cp -f was "$last"
	audit 0
}

# Each kind of file, at random places: found by both.
test_seal_damage() {
	sealed_archive
	cp -r arc good
	for file in arc/manifest-sha256.txt arc/log/custody.jsonl arc/seals/* \
		${FULL:+arc/archive.json arc/README.txt arc/VERIFY.sh} arc/segments/*; do
		for seed in 1 ${FULL:+2 3}; do
			chmod u+w "$file"
			python3 - "$file" "$seed" <<'P'
import os, random, sys
r = random.Random(sys.argv[1] + sys.argv[2])
f = open(sys.argv[1], 'r+b')
at = r.randrange(os.fstat(f.fileno()).st_size)
f.seek(at)
was = f.read(1)[0]
f.seek(at)
f.write(bytes([was ^ 1 << r.randrange(8)]))
P
			audit 65
			pf 65 verify arc
			case $file in
			arc/archive.json | arc/manifest-sha256.txt) ;;
			*) says "$(basename "$file")" ;;
			esac
			cp "good/${file#arc/}" "$file.new"
			mv "$file.new" "$file"
			cp -f good/log/custody.* arc/log # verify was noted there
		done
	done
	audit 0
	for file in arc/seals/*; do
		rm -f "$file"
		audit 65
		pf 65 verify arc --quick
		says "$(basename "$file") is missing"
		cp "good/${file#arc/}" "$file"
		cp -f good/log/custody.* arc/log
	done
	audit 0
}

# What is done with the archive stands in its log, which the next seal binds.
test_seal_history() {
	sealed_archive
	pf 0 verify arc --quick
	says 'only the files and seals'
	pf 0 verify arc --sample 3
	says ' 3 were read'
	pf 64 verify arc --sample none
	pf 64 verify state --quick
	pf 0 export arc out.zip --format zip
	pf 0 copy archive:arc archive:again --state "$W/again-state" --progress never
	for event in retrieve seal verify export restore; do
		grep -q "\"event\":\"$event\"" arc/log/custody.jsonl || check "$event is told" false
	done
	grep -q '"sources":\["pop3.*"event":"retrieve"' arc/log/custody.jsonl ||
		check 'where the mail came from is told' false
	n=$(wc -l <arc/log/custody.jsonl)
	rig_load "$src" "$DATA/odd"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	if [ "$(wc -l <arc/log/custody.jsonl)" -gt $((n + 1)) ]; then # there was something new
		last=$(ls arc/seals/* | tail -n 1)
		grep -q "\"custody\":{\"events\":$((n + 1))," "$last" || check 'the seal tells' false
	fi
	pf 0 verify arc --log-format json
	says '"seals":[1-9][0-9]*,"unsealed":0,"events":[1-9]'
	audit 0
	# Of a copy that cannot be written nothing is noted.
	cp -r arc disc
	chmod -w disc/log/custody.jsonl disc/log
	[ "$(id -u)" = 0 ] || {
		cp disc/log/custody.jsonl was
		pf 0 verify disc
		cmp was disc/log/custody.jsonl
	}
}

# Killed at any step, with a source that is gone: what was committed is sealed.
test_seal_what_is_open() {
	pf 0 keygen k.key k.pem
	mkdir mail
	for i in 1 2 3 4 5 6 7 8 9; do
		printf 'Subject: %d\nDate: Tue, 05 Mar 2019 09:30:00 +0100\n\n%d\n' $i $i >mail/$i.eml
	done
	at=0 sealed=0 died=137 step=7
	[ -z "${FULL:-}" ] || step=1
	while [ $died -ne 0 ]; do
		at=$((at + step))
		rm -rf arc state
		died=0
		POPFERRY_CRASH_AT=$at "$POPFERRY" import --state state arc mail >out 2>&1 || died=$?
		test -s arc/manifest-sha256.txt || continue
		sh arc/VERIFY.sh arc >told
		cp -r arc open
		pf 0 seal arc
		says 'arc: (sealed: 1 segment, 9 messages|nothing is open: [01] segments? (is|are) sealed)$'
		if grep -q 'sealed: 1' out; then
			sealed=$((sealed + 1))
			check 'VERIFY.sh told of it' grep -q 'not sealed' told
		else
			check 'VERIFY.sh told of nothing open' test -z "$(grep 'not sealed' told)"
		fi
		pf 0 verify arc
		sh arc/VERIFY.sh arc >told
		check 'nothing is open' test -z "$(grep 'not sealed' told)"
		pf 0 seal arc
		says 'nothing is open: [01] segments? (is|are) sealed'
		pf 0 import --state state arc mail
		pf 0 list arc
		check "each is there once ($at)" test "$(grep -c . out)" = 9
		pf 0 verify arc
		[ $sealed = 1 ] && [ ! -e busy ] && mv open busy
		rm -rf open
	done
	check "it was sealed after $sealed of $at steps" test $sealed -ge 2
	seal_busy
	seal_read_only
}

# Somebody is at work there: 75, and what is sealed is signed all the same.
seal_busy() {
	cp -r busy arc.busy
	got=0
	flock arc.busy/open/lock "$POPFERRY" seal arc.busy >out 2>err || got=$?
	check "75, not $got" test $got = 75
	says 'another run is at work here'
	flock arc.busy/open/lock "$POPFERRY" seal arc.busy --key k.key --cert k.pem >out 2>err
	says 'there are no seals, and nothing to sign'
	check 'no word of signed seals' test -z "$(grep 'are signed' out err)"
	pf 0 seal arc.busy --key k.key --cert k.pem
	says 'sealed: 1 segment, 9 messages'
	says '1 seal, 1 signed'
	pf 0 seal arc.busy --check --trust k.pem
}

seal_read_only() {
	[ "$(id -u)" != 0 ] || return 0 # who may write everywhere
	chmod -R a-w busy
	pf 73 seal busy
	chmod -R u+w busy
}
