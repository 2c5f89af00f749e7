# Somebody who may write all files of an archive, and has no key of its signers.
# shellcheck shell=sh

# covered FILE...: arc/manifest-sha256.txt is right about these, which may be gone.
covered() {
	for file; do
		sed "\\#  $file\$#d" arc/manifest-sha256.txt >lines
		if [ -e "arc/$file" ]; then (cd arc && sha256sum "$file") >>lines; fi
		sort -k 2 lines >arc/manifest-sha256.txt
	done
}

anew() {
	rm -rf arc
	cp -r good arc
	chmod -R u+w arc
}

# noticed WHAT: popferry and VERIFY.sh both say that something is wrong.
noticed() {
	pf 65 verify arc
	says "$1"
	got=0
	sh arc/VERIFY.sh arc >out || got=$?
	check "VERIFY.sh finds it: $1" test $got -eq 65
}

test_evidence() {
	rig_load "$src" "$DATA/twice"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	rig_load "$src" "$DATA/twice"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	pf 0 keygen k.key k.pem
	pf 0 seal arc --key k.key --cert k.pem
	pf 0 dispose arc 3 --yes --authority 'request 7'
	mv arc good

	anew # the end is cut off
	rm arc/segments/*-000002* arc/seals/*-000002*
	covered segments/arc-000002.tar.gz segments/arc-000002.idx seals/arc-000002.seal.json \
		seals/arc-000002.seal.p7s
	noticed 'arc-000002 is missing'
	: >arc/open/arc-000002.log # as if it were under way
	noticed 'arc-000002 is missing'

	anew # the index says that messages were disposed of
	sed -i 's/\tL\t/\tT\t/' arc/segments/arc-000002.idx
	covered segments/arc-000002.idx
	noticed 'is not the file that was sealed'

	anew # another message than the record tells of is gone, and the log was written anew
	sed -i 's/"seqs":"3"/"seqs":"4"/' arc/policy/disposition-000001.json
	covered policy/disposition-000001.json
	sed -i '/"event":"dispose"/,$d' arc/log/custody.jsonl
	noticed 'message 3 is gone'

	anew # the reconciliation
	sed -i 's/"stored":/"stored":1/' arc/seals/arc-000002.seal.json
	covered seals/arc-000002.seal.json
	noticed 'does not balance'
	says 'does not balance'
	says 'is not that of metadata/listing.tsv'

	anew # what checks is exchanged
	echo 'echo good' >arc/VERIFY.sh
	covered VERIFY.sh
	sed -i '/VERIFY.sh/d' arc/manifest-sha256.txt
	pf 65 verify arc
	says 'no line for VERIFY.sh'

	anew # signatures are gone: whoever asks for them is told, and all others, too
	rm arc/seals/*.p7s
	covered seals/arc-000001.seal.p7s seals/arc-000002.seal.p7s
	pf 0 verify arc
	says 'tells of 2 signatures, and there are 0: some were taken away'
	pf 2 verify arc --trust k.pem
	sh arc/VERIFY.sh arc >out
	says 'tells of 2 signatures, and there are 0: some were taken away'
	got=0
	sh arc/VERIFY.sh arc k.pem >out || got=$?
	check 'VERIFY.sh asks for them' test $got -eq 65
}

# The destination was put back from an older copy: nobody says that all is safe.
test_evidence_older() {
	rig_load "$src" "$DATA/twice"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	cp -r arc older
	rig_load "$src" "$DATA/twice"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	cp arc/seals/arc-000002.seal.json kept
	sum=$(sha256sum <kept | cut -d' ' -f1)
	pf 0 verify arc --against kept
	pf 0 verify arc --quick --against "$sum"
	pf 0 verify "$W/state"
	mv arc newer
	mv older arc
	pf 0 verify arc
	pf 65 verify arc --against kept
	says 'damaged: no seal here is the one that was kept'
	says 'arc does not go as far as kept'
	pf 65 verify arc --quick --against "$sum"
	pf 78 verify arc --against nothere
	pf 64 verify "$W/state" --against kept
	pf 65 verify "$W/state"
	says 'missing'
	copy 65 "$(url_pop3s "$src")" archive:arc --dedup none
	says 'ends with message [0-9]+, and the journal tells of message [0-9]+ there'
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none --state "$W/anew"
	arrived_in_archive arc
	rm -rf arc
	copy 65 "$(url_pop3s "$src")" archive:arc --dedup none
	rm -rf arc
	mv newer arc
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
}
