# An archive for the eyes of a few: stock tools with a key read it, and nobody else.
# shellcheck shell=sh disable=SC2086

# Two keys of each kind: keys/age1, keys/age2, keys/key1.pem with keys/cert1.pem ...
crypt_keys() {
	mkdir keys
	for i in 1 2; do
		new=rsa:2048
		[ $i = 1 ] || new='ec -pkeyopt ec_paramgen_curve:P-256'
		pf 0 keygen --age "keys/age$i"
		grep -o '^age1.*' out >"keys/to$i"
		openssl req -x509 -newkey $new -nodes -days 30 -subj "/CN=reader $i" \
			-keyout "keys/key$i.pem" -out "keys/cert$i.pem" 2>/dev/null
		chmod 600 "keys/key$i.pem"
	done
}

# nothing_told DIR...: no subject, address, UIDL or word of the mail is in any of the files.
nothing_told() {
	for word in Zanzibar bob.secret xylophone sw0rdfish; do
		check "$word is not told" test -z "$(grep -rla "$word" "$@")"
	done
}

# The journal knows UIDLs, as it always does.
nothing_but_the_journal() {
	test ! -d state || find state -type f ! -name 'journal.sqlite*' -exec cp {} beside \;
	nothing_told arc beside
	rm -rf beside/*
}

crypt_mail() { # N
	mkdir -p mail
	i=0
	while [ $i -lt "$1" ]; do
		i=$((i + 1))
		printf 'From: Bob <bob.secret@example.org>\nTo: ann@example.org\nSubject: Zanzibar %d\nMessage-ID: <sw0rdfish-%d@example.org>\nDate: Tue, 05 Mar 2019 09:30:00 +0100\n\nThe xylophone %d\n' \
			$i $i $i >mail/$i.eml
	done
}

# closed_to_others: what needs a key says so, and what has it leaves no trace.
closed_to_others() {
	for command in list stats 'search arc x' 'show arc 1' 'export arc gone --format eml'; do
		case $command in
		*' '*) pf 77 $command ;;
		*) pf 77 "$command" arc ;;
		esac
		says 'it is encrypted to (age1|sha256:).*--identity'
	done
	pf 0 search arc xylophone --identity $key --format seq
	check 'the search finds' test "$(wc -l <out)" = 30
	keeps_an_index
	pf 0 prove arc 3 proof --identity $key
	sh proof/CHECK.sh >out
	nothing_but_the_journal
	keeps_closed
}

# keeps_an_index: for one reader, and nothing of it is told.
keeps_an_index() {
	check 'it keeps an index' test "$(ls arc/index)" = "$(cd arc/index && ls catalog-*.enc lock)"
	stat -c %i:%Y arc/index/catalog-*.enc >one
	pf 0 search arc 'xylophone subject:7' --identity $key --format seq
	check 'the kept one finds' test "$(wc -l <out)" = 1
	check 'and is not written again' test "$(stat -c %i:%Y arc/index/catalog-*.enc)" = "$(cat one)"
	pf 0 search arc xylophone --identity keys/age1 --format seq
	check 'another reader has another' test "$(ls arc/index | grep -c catalog-)" = 2
	for file in arc/index/catalog-*.enc; do
		printf X | dd of=$file bs=1 seek=5000 conv=notrunc 2>/dev/null
	done
	pf 0 search arc xylophone --identity $key --format seq
	says 'thrown away, since it is damaged, or was made by somebody else'
	check 'all are found' test "$(grep -cx '[0-9]*' out)" = 30
	# Killed before and after it is in its place; what is left behind goes with the next.
	for at in 3 4; do
		rm -r arc/index
		POPFERRY_CRASH_AT=$at pf 137 search arc xylophone --identity $key
		nothing_but_the_journal
		pf 0 search arc xylophone --identity $key --format seq
		check 'all are found' test "$(wc -l <out)" = 30
		check 'one index is left' test "$(ls arc/index | grep -c catalog-)" = 1
	done
	pf 77 search arc xylophone
	pf 0 export arc found --format eml --query 'subject:7' --identity $key
	check 'export finds, too' test "$(find found -name '*.eml' | wc -l)" = 1
	rm -rf found
	nothing_but_the_journal
}

# keeps_closed: holds and classes, of which nobody else is told what for.
keeps_closed() {
	cp -r arc arc.full && cp -r state state.full
	pf 77 hold place arc subject:Zanzibar --matter 'xylophone v. bob.secret'
	says 'archive arc: it is encrypted to'
	pf 77 retention show arc
	pf 0 hold place arc 3-4 --matter 'xylophone v. bob.secret'
	says 'hold 1 holds 2 messages'
	pf 0 hold place arc 'subject:Zanzibar 7' --matter 'sw0rdfish' --future --identity $key
	says 'hold 2 holds 1 message, and what comes'
	pf 0 hold list arc
	says '^ *1  .*only --identity tells; messages 3-4'
	pf 0 hold list arc --identity keys/age1
	says 'xylophone v. bob.secret: 3-4; messages 3-4'
	says 'sw0rdfish: subject:Zanzibar 7, then and later; messages [0-9]+'
	pf 0 hold release arc 1 --reason 'xylophone found'
	pf 0 retention set arc from:bob.secret --class Zanzibar --years 6 --identity $key
	pf 77 retention set arc from:bob.secret --class Zanzibar --years 7
	says 'archive arc: it is encrypted to'
	pf 0 retention show arc --identity $key
	says '^Zanzibar: 6 years from when it was retrieved, from:bob.secret'
	pf 0 retention due arc --at 2099-01-01 --identity $key
	says '^29 messages are due' # one is held
	pf 77 retention due arc
	# With stock tools:
	if command -v age >/dev/null; then
		sed 's/.*"secret":"\([^"]*\)".*/\1/' arc/policy/hold-000001.json | base64 -d |
			age -d -i keys/age1 >words
		grep -q '"matter":"xylophone v. bob.secret","words":\["3-4"\]' words
		rm words
	fi
	pf 0 verify arc
	pf 0 verify arc --identity $key
	sh arc/VERIFY.sh
	nothing_but_the_journal
	disposes_closed
}

# disposes_closed: out of a segment that this machine cannot read without a key.
disposes_closed() {
	pf 77 dispose arc 5 --authority xylophone --yes
	pf 2 dispose arc 5 --authority xylophone --yes --identity $key
	says 'must be kept until 20[0-9-]+: class Zanzibar'
	pf 0 retention set arc uidl:none --class Zanzibar --years 6 --authority me --identity $key
	pf 0 dispose arc 5 --identity $key
	says '1 message would go'
	pf 0 search arc xylophone --identity $key --format seq
	cp -r arc before
	cp -r arc/index index
	# Killed, and ended or undone by a run, which has no key; what is there is always good.
	for at in 2 4 6 8 10; do
		rm -rf arc && cp -r before arc
		POPFERRY_CRASH_AT=$at pf 137 dispose arc 5 --authority xylophone --yes --identity $key
		pf 0 verify arc --identity $key
		pf 0 verify arc
		nothing_but_the_journal
		copy 0 "$(url_pop3s "$src")" archive:arc
		counts stored=0 known=30
		check 'nothing is left' test "$(ls arc/open)" = lock
		pf 0 verify arc --identity $key
	done
	rm -rf arc && mv before arc
	pf 0 dispose arc 5 --authority xylophone --yes --identity $key
	says '1 message disposed of'
	# Of the index nothing is left; one that is put back finds it no more.
	check 'no index is left' test -z "$(ls arc/index)"
	cp index/* arc/index
	pf 0 search arc xylophone --identity $key --format seq
	says '1 part of the index is made anew'
	check 'all others are found' test "$(grep -cx '[0-9]*' out)" = 29
	check 'and it is not' test -z "$(grep -x 5 out)"
	pf 2 show arc 5 --identity $key
	says 'was disposed of'
	for i in age1 age2; do
		pf 0 verify arc --identity keys/$i
		says '^.*29 messages .*all good'
		pf 0 list arc --identity keys/$i
		check 'all others are listed' test "$(wc -l <out)" = 29
	done
	pf 0 verify arc
	says '29 messages in 1 encrypted segment'
	(cd arc && sh VERIFY.sh) >out
	says '29 messages encrypted'
	says 'messages disposed of: 1'
	nothing_but_the_journal
	pf 77 recover arc
	pf 0 recover arc --identity $key
	says '29 messages are good, 0 are lost'
	rm -rf arc state && mv arc.full arc && mv state.full state
}

test_encrypt() {
	crypt_keys
	mkdir beside
	crypt_mail 30
	rig_load "$src" mail
	for kind in age cms; do
		rm -rf arc state
		if [ $kind = age ]; then
			set -- --encrypt-to "$(cat keys/to1)" --encrypt-to "$(cat keys/to2)"
			key=keys/age2
		else
			set -- --encrypt-to keys/cert1.pem --encrypt-to keys/cert2.pem
			key=keys/key2.pem
		fi
		# Killed while it is open, then again to the end.
		for at in 40 90; do
			POPFERRY_CRASH_AT=$at "$POPFERRY" copy --source-password-file "$RIG/secret" \
				--ca-file "$CA" --state "$W/state" --progress never \
				"$(url_pop3s "$src")" archive:arc "$@" </dev/null >out 2>&1 || true
			nothing_but_the_journal
		done
		copy 0 "$(url_pop3s "$src")" archive:arc
		counts listed=30 failed=0
		nothing_but_the_journal
		check 'no key is left' test -z "$(find state -name '*.key')"
		# With stock tools:
		segment=$(ls arc/segments/*.tar.gz.*)
		if [ $kind = age ]; then
			if command -v age >/dev/null; then
				age -d -i keys/age1 "$segment" >seg.tar.gz
			else
				cp /dev/null seg.tar.gz
			fi
		else
			openssl cms -decrypt -binary -inform DER -inkey keys/key1.pem \
				-in "$segment" -out seg.tar.gz
		fi
		if test -s seg.tar.gz; then
			check 'tar reads it' test "$(tar tzf seg.tar.gz | grep -c '\.eml$')" = 30
			rm -rf un && mkdir un && tar xzf seg.tar.gz -C un
			(cd un/arc-000001 && sha256sum --quiet -c manifest-sha256.txt)
		fi
		# With a key, and without:
		pf 0 list arc --identity $key
		check 'all are listed' test "$(grep -c Zanzibar out)" = 30
		pf 0 list arc 7 --identity $key --log-format json
		uidl=$(sed -n 's/.*"uidl":"\([^"]*\)".*/\1/p' out)
		check 'no UIDL is told' test -z "$(grep -rlaF "${uidl:?}" arc)"
		pf 0 verify arc --identity $key
		says '30 messages .*all good'
		pf 0 verify arc
		says '30 messages in 1 encrypted segment'
		(cd arc && sh VERIFY.sh) >out
		says '30 messages encrypted'
		for i in 1 2; do
			pf 0 search arc xylophone --identity $key --format seq
			check 'the search finds' test "$(wc -l <out)" = 30
		done
		check 'it keeps an index' test "$(ls arc/index | grep -c catalog-)" = 1
		nothing_but_the_journal
		rm -r arc/index
		[ $kind = cms ] || closed_to_others
		# Later runs need not say to whom; the wrong ones are refused; the journal may be lost.
		copy 0 "$(url_pop3s "$src")" archive:arc
		counts stored=0 known=30
		pf 0 keygen --age keys/other
		copy 64 "$(url_pop3s "$src")" archive:arc --single-recipient \
			--encrypt-to "$(grep -o '^age1.*' out)"
		rm keys/other state/journal.sqlite*
		copy 0 "$(url_pop3s "$src")" archive:arc
		pf 0 list arc --identity $key
		check 'nothing is there twice' test "$(grep -c Zanzibar out)" = 30
		# One bad byte is found with and without a key.
		chmod u+w "$segment"
		printf 'XXXX' | dd of="$segment" bs=1 seek=1400 conv=notrunc 2>/dev/null
		pf 65 verify arc
		pf 65 verify arc --identity $key
		pf 65 recover arc --identity $key
		says '^lost: messages'
		pf 65 dispose arc 1 --authority x --yes --identity $key
	done
	# Before anybody logs in.
	copy 64 "$(url_pop3s "$src")" archive:alone --encrypt-to "$(cat keys/to1)" --state new
	says 'single-recipient'
	counts exit=64 listed=0
	copy 66 "$(url_pop3s "$src")" archive:alone --encrypt-to nobody --state new
	says 'encrypt-to: nobody: No such file'
	copy 78 "$(url_pop3s "$src")" archive:alone --encrypt-to age1nobody --state new
	says 'encrypt-to: age1nobody: is no recipient of age'
	counts exit=78 listed=0
	check 'nothing was begun' test ! -e alone -a ! -e new
}

# From an encrypted archive to another place, and deleted only after it was read back.
test_encrypt_restore() {
	crypt_keys
	crypt_mail 5
	rig_load "$src" mail
	copy 64 "$(url_pop3s "$src")" archive:arc --encrypt-to "$(cat keys/to1)" \
		--encrypt-to "$(cat keys/to2)" --delete verified
	says 'identity'
	copy 0 "$(url_pop3s "$src")" archive:arc --encrypt-to "$(cat keys/to1)" \
		--encrypt-to "$(cat keys/to2)" --identity keys/age1 --check
	pf 77 copy archive:arc "$(url_imaps "$dst")" --dest-password-file "$RIG/secret" \
		--ca-file "$CA" --state state2
	pf 0 copy archive:arc "$(url_imaps "$dst")" --dest-password-file "$RIG/secret" \
		--ca-file "$CA" --state state2 --identity keys/age2
	arrived_in_imap
	# A key with a passphrase.
	echo 'correct horse' >word
	chmod 600 word
	pf 0 keygen --age locked --key-password-file word
	to=$(grep -o '^age1.*' out)
	pf 0 copy archive:arc archive:two --identity keys/age2 --encrypt-to "$to" \
		--single-recipient --state state3
	pf 78 list two --identity locked || pf 64 list two --identity locked || true
	pf 0 list two --identity locked --identity-password-file word
	check 'all are listed' test "$(grep -c Zanzibar out)" = 5
}

# One damaged byte: the file is named once, and what stands behind it is checked all the same.
test_encrypt_damaged() {
	crypt_keys
	mkdir -p first second
	for i in 1 2 3 4; do
		printf 'From: a@b\nSubject: %s\n\n' $i >first/$i.eml
		openssl rand -base64 60000 >>first/$i.eml
	done
	cp first/1.eml second/5.eml
	pf 0 copy eml:first archive:arc --state state --encrypt-to "$(cat keys/to1)" \
		--encrypt-to "$(cat keys/to2)"
	pf 0 copy eml:second archive:arc --state state2
	file=arc/segments/arc-000001.tar.gz.age
	chmod u+w $file
	python3 -c '
import sys
f = open(sys.argv[1], "r+b")
f.seek(100000)
c = f.read(1)[0]
f.seek(100000)
f.write(bytes([c ^ 1]))' $file
	pf 65 verify arc --identity keys/age1
	says '1 sealed segment is good'
	says 'the archive is damaged in [1-9]'
	pf 65 show arc 2 --identity keys/age1
	says 'segments/arc-000001.tar.gz.age: '
	check 'named once' test "$(grep -o 'segments/' err | wc -l)" = 1
	pf 0 show arc 5 --identity keys/age1
}

# What was open when the run was killed is sealed with the key in its state directory.
test_encrypt_seal_what_is_open() {
	crypt_keys
	crypt_mail 9
	POPFERRY_CRASH_AT=26 "$POPFERRY" import --state state arc mail --encrypt-to "$(cat keys/to1)" \
		--encrypt-to "$(cat keys/to2)" >out 2>&1 || true
	check 'there is a key' test -n "$(find state -name '*.key')"
	pf 77 seal arc
	says 'name that with --state'
	mkdir other
	pf 77 seal arc --state other
	says 'is not in other'
	check 'nothing is made there' test -z "$(ls -A other)"
	pf 0 seal arc --state state
	says 'sealed: 1 segment, 9 messages'
	check 'no key is left' test -z "$(find state -name '*.key')"
	pf 0 verify arc --identity keys/age1
	says '9 messages .* all good'
	sh arc/VERIFY.sh arc
	pf 0 import --state state arc mail
	pf 0 list arc --identity keys/age2
	check 'each is there once' test "$(wc -l <out)" = 9
}
