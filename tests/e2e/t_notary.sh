# A run signs and timestamps what it seals.
# shellcheck shell=sh

test_notary() {
	tsa_begin tsa
	pf 0 keygen k.key k.pem --name 'Ann Archivist'
	rig_load "$src" "$DATA/odd"
	# A wrong key is told before anything is done.
	pf 0 keygen other.key other.pem
	copy 78 "$(url_pop3s "$src")" archive:arc --sign-key k.key --sign-cert other.pem
	check 'nothing was begun' test ! -e arc
	copy 78 "$(url_pop3s "$src")" archive:arc --tsa "$URL" --tsa-ca nothing.pem
	copy 64 "$(url_pop3s "$src")" archive:arc --sign-key k.key
	# One that left its seals unsigned, and then a TSA that cannot be had.
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	rig_load "$src" "$DATA/twice"
	dead=http://127.0.0.1:$(rig_port)/
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none --sign-key k.key --sign-cert k.pem \
		--tsa "$dead" --tsa-ca tsa/ca.pem
	says 'seals-wait'
	says '2 seals signed, 0 timestamped; 2 waiting'
	pf 0 verify arc --trust k.pem
	says '2 seals: timestamp pending'
	# The next run has nothing new, and makes up for it.
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none --sign-key k.key --sign-cert k.pem \
		--tsa "$dead" --tsa "$URL" --tsa-ca tsa/ca.pem
	says '0 seals signed, 2 timestamped'
	pf 0 verify arc --trust k.pem --tsa-ca tsa/ca.pem
	grep -q '"event":"sign"' arc/log/custody.jsonl
	openssl_accepts k.pem tsa/ca.pem
	# Nobody asked for a signature of what goes nowhere.
	copy 0 "$(url_pop3s "$src")" archive:dry --sign-key k.key --sign-cert k.pem --dry-run
	check 'nothing was made' test ! -e dry/seals
	copy 64 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --sign-key k.key --sign-cert k.pem
	says 'there is none among the destinations'
}

# The same from profiles, an encrypted key, several at a time; and a bad TSA fails a run.
test_notary_run() {
	tsa_begin tsa
	echo 'open sesame' >pass
	chmod 600 pass
	pf 0 keygen k.key k.pem --key-password-file pass
	rig_load "$src" "$DATA/odd"
	for name in one two; do
		cat >$name.conf <<C
name = $name
source = $(url_pop3s "$src")
dest = archive:$W/$name
state = $W/$name.state
source-password-file = $RIG/secret
ca-file = $CA
sign-key = $W/k.key
sign-cert = $W/k.pem
sign-password-file = $W/pass
tsa = http://127.0.0.1:1/
tsa = $URL
tsa-ca = $W/tsa/ca.pem
C
	done
	pf 0 run ./one.conf ./two.conf -j 2 --progress never
	for name in one two; do
		pf 0 verify $name --quick --trust k.pem --tsa-ca tsa/ca.pem
	done
	pf 64 run ./one.conf --sign-password-command 'echo x' --sign-password-env X
	pf 78 run ./one.conf --sign-password-command 'echo wrong'
	says 'passphrase is wrong'
	rm one/seals/*.tsr
	sed -i '/\.tsr$/d' one/manifest-sha256.txt # as if it had never been
	pf 77 run ./one.conf --tsa "$URL" --tsa-ca k.pem --progress never
	says 'name its CA with --tsa-ca'
}
