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

# The log's anchor is right about it.
anchored() {
	printf '{"events":%d,"head":"%s"}\n' "$(wc -l <arc/log/custody.jsonl)" \
		"$(tail -n 1 arc/log/custody.jsonl | tr -d '\n' | sha256sum | cut -c 1-64)" \
		>arc/log/custody.head
}

# noticed WHAT: popferry and VERIFY.sh both say that something is wrong.
noticed() {
	pf 65 verify arc
	says "$1"
	got=0
	sh arc/VERIFY.sh arc >out || got=$?
	check "VERIFY.sh finds it: $1" test $got -eq 65
}

# arc of two segments, signed by k.pem.
two_signed() {
	for _ in 1 2; do
		rig_load "$src" "$DATA/twice"
		copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	done
	pf 0 keygen k.key k.pem
	pf 0 seal arc --key k.key --cert k.pem
}

test_evidence() {
	two_signed
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
	anchored
	noticed 'message 3 is gone'

	anew # the reconciliation
	sed -i 's/"stored":/"stored":1/' arc/seals/arc-000002.seal.json
	covered seals/arc-000002.seal.json
	noticed 'does not balance'
	says 'does not balance'
	says 'is not that of metadata/listing.tsv'

	anew # the end of the log, that the next disposal goes by
	sed -i '/"event":"dispose"/,$d' arc/log/custody.jsonl
	noticed 'has lost lines: log/custody.head tells of [0-9]+ events'
	says 'was not noted'
	noticed 'has lost lines' # that it was verified changes nothing
	pf 65 dispose arc 4 --yes --authority x
	pf 65 hold place arc 4 --matter x
	check 'no record was made' test ! -e arc/policy/hold-000001.json
	copy 65 "$(url_pop3s "$src")" archive:arc --dedup none
	says 'has lost lines.* put log/ back'
	cp -f good/log/custody.* arc/log
	pf 0 hold place arc 4 --matter x
	pf 0 verify arc
	sh arc/VERIFY.sh

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
	# One that is not there is not begun anew in its place, nor on a disk that is not mounted.
	rm -rf arc
	copy 65 "$(url_pop3s "$src")" archive:arc --dedup none
	says 'archive arc is not there, and the journal tells of message [0-9]+ in it'
	check 'nothing is made' test ! -e arc
	mkdir arc
	copy 65 "$(url_pop3s "$src")" archive:arc --dedup none
	rmdir arc
	mv newer arc
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
}

# alike [REASON]: popferry and the VERIFY.sh that was kept both find it, soon.
alike() {
	pf 65 verify arc
	says "${1:-damaged}"
	got=0
	timeout 60 sh good/VERIFY.sh "$PWD/arc" >out 2>err || got=$?
	check "VERIFY.sh finds it: $got" test $got -eq 65
}

test_evidence_alike() {
	two_signed
	pf 0 verify arc
	sh arc/VERIFY.sh
	mv arc good

	anew # nothing here is of the archive that archive.json names
	sed -i 's/"slug":"arc"/"slug":"a"/' arc/archive.json
	covered archive.json
	alike 'names the segments a-NUMBER'

	anew # what checks is gone, and its line
	rm arc/VERIFY.sh
	covered VERIFY.sh
	alike 'no line for VERIFY.sh'

	anew # the last line is cut
	truncate -s -1 arc/manifest-sha256.txt
	alike 'manifest-sha256.txt is damaged'

	for file in seals/arc-000001.seal.json segments/arc-000001.tar.gz archive.json; do
		anew # elsewhere, and of the right bytes today
		mv "arc/$file" away
		ln -s "$W/away" "arc/$file"
		alike 'cannot be read'
		rm away
	done

	anew # the list of all files
	mv arc/manifest-sha256.txt away
	ln -s "$W/away" arc/manifest-sha256.txt
	alike 'damaged: manifest-sha256.txt is a link'
	pf 65 hold place arc 2 --matter x
	rm away

	anew # a signature that was changed is found by its line, too
	cat good/seals/arc-000002.seal.p7s >arc/seals/arc-000001.seal.p7s
	alike 'damaged: seals/arc-000001.seal.p7s was changed'

	for file in seals/arc-000001.seal.p7s seals/arc-000002.seal.tsr log/custody.head; do
		anew # a folder, whether it is listed or not
		rm -f "arc/$file"
		mkdir "arc/$file"
		alike "damaged: $file"
		sed -i "\\#$file#d" arc/manifest-sha256.txt
		alike "damaged: $file"
		case $file in seals/*) pf 65 seal arc --check ;; esac
	done

	anew # a folder that lies elsewhere
	mv arc/seals away
	ln -s "$W/away" arc/seals
	alike 'damaged: seals is a link'
	rm -r away

	anew # a pipe holds nobody up
	rm arc/segments/arc-000001.idx
	mkfifo arc/segments/arc-000001.idx
	alike 'cannot be read'

	anew # a number that a shell takes for an octal one, and that is none
	sed -i 's/"count":\([0-9]*\),"first":/"count":08,"first":/' arc/seals/arc-000002.seal.json
	covered seals/arc-000002.seal.json
	alike 'arc-000002.seal.json'

	for file in arc/trust/*; do
		file=trust/${file##*/}
		anew # a certificate that is needed later
		: >"arc/$file"
		alike "$file was changed"
	done

	anew # nobody makes it anew, as if all were as it was
	rm arc/manifest-sha256.txt
	for command in "hold place arc 2 --matter x" "dispose arc 2 --yes --authority x" "import arc $DATA/odd"; do
		pf 65 $command
		says 'manifest-sha256.txt is missing: put it back'
	done
	alike 'manifest-sha256.txt is missing'
	cp good/manifest-sha256.txt arc
	pf 0 import arc "$DATA/odd"
	pf 0 verify arc
}

# The certificates of an encrypted archive are those that archive.json tells of.
test_evidence_recipients() {
	for name in ann ben; do
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
			-keyout $name.key -out $name.pem -subj "/CN=$name" 2>err
	done
	cat ann.pem ben.pem >both.pem
	pf 0 import arc "$DATA/twice" --encrypt-to both.pem
	pf 0 verify arc
	sh arc/VERIFY.sh arc
	mv arc good
	anew
	cat ann.pem >arc/recipients.pem
	covered recipients.pem
	alike 'recipients.pem'
}
