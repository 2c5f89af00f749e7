# One message, proved to somebody who has nothing but a folder.
# shellcheck shell=sh

# A judge's machine: no archive, no popferry.
judge() { # CODE [SIGNERS [TSAS]]
	want=$1
	shift
	got=0
	env -i PATH=/usr/bin:/bin TMPDIR="$W/court" sh -c 'cd court && sh -u proof/CHECK.sh "$@"' \
		judge "$@" >out 2>err || got=$?
	check 'nothing is said to stderr' test ! -s err
	[ "$got" -eq "$want" ] && return
	echo "CHECK.sh: exit $got, not $want"
	cat out err
	return 1
}

# evidence: an archive of two runs, arc, signed and timestamped; and the keys' certificates.
evidence() {
	tsa_begin tsa
	pf 0 keygen k.key k.pem --name 'Ann Archivist'
	rig_load "$src" "$DATA/odd"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	rig_load "$src" "$DATA/twice"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	pf 0 seal arc --key k.key --cert k.pem --tsa "$URL" --tsa-ca tsa/ca.pem
	mkdir court
	cp k.pem tsa/ca.pem court
}

test_prove() {
	evidence
	pf 0 list arc
	n=$(wc -l <out)
	for seq in 1 2 "$n"; do
		rm -rf court/proof
		pf 0 prove arc "$seq" court/proof
		pf 0 show arc "$seq" --raw
		cmp out court/proof/message.eml
		judge 0
		says "right: this is message $seq of archive urn:uuid:"
		says 'nobody vouched for who signed'
		judge 0 k.pem ca.pem
		check 'who it was' grep -q 'signed: 1 subject=CN = Ann Archivist' out
		judge 65 ca.pem
		judge 65 k.pem k.pem
		pf 0 prove --check court/proof
		says 'not known here'
		says 'nobody vouched for who signed'
		pf 0 prove --check court/proof --trust k.pem --tsa-ca tsa/ca.pem
		says ': right'
		says 'signed by CN = Ann Archivist'
		pf 65 prove --check court/proof --trust tsa/ca.pem
	done
	grep -q '"event":"prove","n":[0-9]*,"object":"1"' arc/log/custody.jsonl
	pf 0 verify arc
	# Only what is needed is there, and the work of others is not disclosed.
	check 'its files' test "$(cd court/proof && echo *)" = \
		'CHECK.sh HOWTO.txt message.eml proof.json seal.json seal.p7s seal.tsr trust'
	pf 0 prove --check court/proof --log-format json
	python3 -c 'import json
o = json.load(open("out"))
assert o["good"] and o["marks"]["signature"] == "unknown", o'
}

# Which message: by number, digest or Message-ID; and what cannot be proved.
test_prove_which() {
	rig_load "$src" "$DATA/odd"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	pf 0 list arc --log-format json
	sha=$(sed -n '1s/.*"sha256":"\([0-9a-f]*\)".*/\1/p' out)
	id=$(sed -n 's/.*"message_id":"\(<[^"]*@[^"]*>\)".*/\1/p' out | sort | uniq -u | grep -v folded | head -n 1)
	pf 0 prove arc "sha256:$sha" by-sha
	pf 0 prove arc "$id" by-id
	grep -qF "$id" by-id/message.eml
	rm -rf by-id
	id=${id#<}
	pf 0 prove arc "${id%>}" by-id
	mkdir court
	cp -r by-id court/proof
	judge 0
	says 'is not signed'
	pf 0 prove --check by-id
	says 'nobody vouches that the seal is of that archive'
	: >court/proof/proof.json
	pf 65 prove --check court/proof
	says 'proof.json is damaged'
	pf 2 prove --check by-id --trust "$RIG/ca/ca.pem"
	pf 2 prove arc 999999 none
	pf 2 prove arc nobody@nowhere none
	pf 64 prove arc nothing none
	pf 64 prove arc 'sha256:' none
	pf 64 prove arc 1
	pf 73 prove arc 1 by-sha
	says 'is there already'
	pf 73 prove arc 1 nowhere/there
	pf 65 prove nowhere 1 none
	pf 64 prove arc 1 none --trust x
	check 'nothing is left' sh -c '! ls -d none .*.part'
	# A neighbour that was disposed of leaves its leaf.
	pf 0 dispose arc 3 --yes --authority 'request 7'
	pf 2 prove arc 3 none
	says 'was disposed of'
	pf 0 prove arc 2 after
	rm -rf court/proof
	cp -r after court/proof
	judge 0
	pf 0 prove --check after
	cp -r arc disc
	rm disc/seals/*.json
	pf 65 prove disc 1 none
	says 'is missing'
}

# Every byte of what is proved, flipped: both notice.
test_prove_damage() {
	evidence
	pf 0 prove arc 1 court/proof
	cp -r court/proof good
	for file in proof.json message.eml seal.json seal.p7s seal.tsr; do
		for seed in 1 2; do
			python3 - "court/proof/$file" "$seed" <<'P'
import random, sys
r = random.Random(sys.argv[1] + sys.argv[2])
b = bytearray(open(sys.argv[1], 'rb').read())
b[r.randrange(len(b))] ^= 1 << r.randrange(8)
open(sys.argv[1], 'wb').write(b)
P
			judge 65
			pf 65 prove --check court/proof
			cp "good/$file" court/proof
		done
	done
	rm court/proof/seal.tsr
	judge 65 k.pem ca.pem
	pf 2 prove --check court/proof --trust k.pem --tsa-ca tsa/ca.pem
	judge 0
	says 'is not timestamped'
	for file in proof.json message.eml seal.json; do
		mv "court/proof/$file" away
		judge 65
		pf 65 prove --check court/proof
		mv away "court/proof/$file"
	done
}

# verify asks for signatures and timestamps, too; whoever is not vouched for is told.
test_prove_verify() {
	evidence
	pf 0 verify arc
	says '2 seals signed by CN = Ann Archivist \(fingerprint [0-9a-f]{64}\), the certificate in trust/, which nobody vouched for'
	says '2 seals timestamped by CN = TSA tsa .*nobody vouched'
	pf 0 verify arc --full --trust k.pem --tsa-ca tsa/ca.pem --report r.json
	says 'Ann Archivist .*, who is trusted'
	python3 -c 'import json
o = json.load(open("r.json"))
assert o["good"] and o["signed"] == o["timestamped"] == 2 and o["findings"] == [], o
assert o["signers"][0]["verdict"] == o["tsas"][0]["verdict"] == "trusted", o'
	pf 65 verify arc --quick --trust tsa/ca.pem --report r.json
	says 'is not signed as it should be'
	python3 -c 'import json
o = json.load(open("r.json"))
assert not o["good"] and o["exit"] == 65 and o["damaged"] == len(o["findings"]) == 2, o'
	pf 64 verify arc --quick --full
	pf 64 verify state --trust k.pem
	pf 78 verify arc --trust nothing.pem
	# What waits for a TSA is no damage, unless it was asked for.
	first=$(ls arc/seals/*.tsr | head -n 1)
	mv "$first" .
	sed -i "\\#${first#arc/}#d" arc/manifest-sha256.txt # as if it had never been
	pf 0 verify arc --quick
	says '1 seal: timestamp pending'
	pf 2 verify arc --quick --tsa-ca tsa/ca.pem
	sh arc/VERIFY.sh >out
	says 'timestamp is pending: 1'
	cp "$(ls arc/seals/*.tsr | tail -n 1)" "$first"
	pf 65 verify arc --quick
	says 'DAMAGED in 1 place'
	got=0
	sh arc/VERIFY.sh >out || got=$?
	check 'VERIFY.sh finds it' test $got -eq 65
	says 'tsr is not a timestamp of this'
	cp -f "$(basename "$first")" "$first"
	sh arc/VERIFY.sh arc k.pem tsa/ca.pem >out
	says 'seals timestamped: 2 subject'
	sh arc/VERIFY.sh k.pem tsa/ca.pem >again # of the archive that it lies in
	check 'the archive need not be named' cmp again out
	got=0
	sh arc/VERIFY.sh k.pem nobody.pem >again 2>err || got=$?
	check 'certificates that are not there are nobody else' test $got -eq 69
	says 'nobody.pem cannot be read'
	check 'all are vouched for' sh -c '! grep -q nobody out'
	got=0
	sh arc/VERIFY.sh arc tsa/ca.pem >out || got=$?
	check 'VERIFY.sh asks who' test $got -eq 65
	says 'by nobody of'
}

# Everybody's certificate has expired since: at the timestamp's time all was good.
test_prove_expired() {
	tsa_begin tsa
	mkdir team court
	(cd team && rig_ca ca)
	pf 0 keygen team/k.key team/k.pem
	rig_load "$src" "$DATA/odd"
	copy 0 "$(url_pop3s "$src")" archive:arc
	for life in 4 8 16 32; do # a slow machine needs more
		rm -f arc/seals/*.p7s arc/seals/*.tsr
		end=$(date -u -d "+$life seconds" +%Y%m%d%H%M%SZ)
		short_lived tsa tsa 'keyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n'
		short_lived team k 'keyUsage=critical,digitalSignature,nonRepudiation\n'
		pf 0 seal arc --key team/k.key --cert team/k.pem --tsa "$URL" --tsa-ca tsa/ca.pem && break
	done
	pf 0 prove arc 1 court/proof
	cp team/ca.pem court/team.pem
	cp tsa/ca.pem court
	until [ "$(date -u +%Y%m%d%H%M%SZ)" \> "$end" ]; do sleep 0.5; done
	judge 0
	judge 0 team.pem ca.pem
	pf 0 prove --check court/proof --trust team/ca.pem --tsa-ca tsa/ca.pem
	pf 0 verify arc --trust team/ca.pem --tsa-ca tsa/ca.pem
	sh arc/VERIFY.sh arc team/ca.pem tsa/ca.pem
	# Without the timestamp nobody knows when it was signed.
	rm court/proof/seal.tsr arc/seals/*.tsr
	judge 65 team.pem
	says 'not valid then'
	pf 65 prove --check court/proof --trust team/ca.pem
	pf 65 verify arc --trust team/ca.pem
	got=0
	sh arc/VERIFY.sh arc team/ca.pem || got=$?
	check 'VERIFY.sh asks when' test $got -eq 65
}
