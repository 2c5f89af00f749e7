# Seals signed and timestamped, and checked by openssl alone.
# shellcheck shell=sh

# tsa_begin NAME [END]: a TSA, whose certificate is valid until END (YYYYMMDDHHMMSSZ); $NAME is
# its folder, $URL its address and $TLS_URL the same with TLS.
tsa_begin() {
	mkdir "$1"
	(
		cd "$1"
		rig_ca ca
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tsa.key \
			-out tsa.csr -subj "/CN=TSA $1"
		printf 'keyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n' >ext
		tsa_ca_conf
		openssl ca -batch -notext -config db/cnf -cert ca.pem -keyfile ca.key -in tsa.csr \
			-out tsa.pem -extfile ext -startdate 20200101000000Z -enddate "${2:-20491231235959Z}"
		cat >tsa.cnf <<C
[tsa]
default_tsa = here
[here]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
certs = ca.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
other_policies = 1.2.3.4.2
digests = sha256
ess_cert_id_chain = yes
C
		echo 01 >serial
	)
	URL=http://127.0.0.1:$(tsa_serve "$1")/tsa
	TLS_URL=https://localhost:$(tsa_serve "$1" "$RIG/ca/good.pem" "$RIG/ca/good.key")/tsa
}

tsa_ca_conf() {
	mkdir -p db && : >db/index.txt && echo 01 >db/serial
	printf '[ca]\ndefault_ca = here\n[here]\ndatabase = db/index.txt\nserial = db/serial\n' >db/cnf
	printf 'new_certs_dir = db\ndefault_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n' >>db/cnf
}

tsa_serve() { # FOLDER [CERT KEY]: prints the port
	folder=$1
	shift
	: >"$folder/port"
	"$PYTHON" -S "$E2E/tsa.py" "$folder" "$RIG_PID" "$@" >"$folder/port" 2>/dev/null &
	n=0
	until [ -s "$folder/port" ]; do
		n=$((n + 1))
		[ $n -lt 100 ] || return 1
		sleep 0.1
	done
	cat "$folder/port"
}

# seals_of N: an archive with so many seals, whatever they say.
seals_of() {
	mkdir -p arc/seals
	[ -f arc/archive.json ] || echo '{}' >arc/archive.json
	for k in $(seq "$1"); do
		[ -f "arc/seals/x-$k.seal.json" ] || echo "{\"seal\":$k}" >"arc/seals/x-$k.seal.json"
	done
}

# openssl_accepts SIGNERS TSAS: all seals of arc/, with what openssl has for that.
openssl_accepts() {
	for s in arc/seals/*.json; do
		s=${s%.json}
		openssl cms -verify -binary -inform DER -in "$s.p7s" -content "$s.json" -CAfile "$1" \
			-out /dev/null
		openssl cms -verify -binary -cades -inform DER -in "$s.p7s" -content "$s.json" \
			-CAfile "$1" -purpose any -out /dev/null
		openssl ts -verify -in "$s.tsr" -data "$s.p7s" -CAfile "$2"
	done
}

# Each file that never changes has a line in manifest-sha256.txt, and it is right.
all_listed() {
	for file in arc/seals/* arc/trust/* arc/segments/*; do
		grep -qF "  ${file#arc/}" arc/manifest-sha256.txt || check "$file is listed" false
	done
	(cd arc && sha256sum -c --quiet manifest-sha256.txt)
	pf 0 verify arc
	sh arc/VERIFY.sh arc
}

# What was signed is listed at once, or by the next call, whatever came in between.
test_seal_listed() {
	tsa_begin tsa
	rig_load "$src" "$DATA/twice"
	copy 0 "$(url_pop3s "$src")" archive:arc
	pf 0 keygen k.key k.pem
	mv arc was
	n=0
	until [ $n -gt 30 ]; do
		n=$((n + 1))
		rm -rf arc && cp -r was arc
		died=0
		POPFERRY_CRASH_AT=$n "$POPFERRY" seal arc --key k.key --cert k.pem --tsa "$URL" \
			--tsa-ca tsa/ca.pem || died=$?
		pf 0 verify arc
		sh arc/VERIFY.sh arc
		pf 0 seal arc --key k.key --cert k.pem --tsa "$URL" --tsa-ca tsa/ca.pem
		all_listed
		[ $died -ne 0 ] || break
	done
	check "it ends: $n" test $n -gt 4 -a $n -lt 30
	# Nothing new, nothing written.
	ls -i arc/manifest-sha256.txt >before
	pf 0 seal arc --key k.key --cert k.pem --tsa "$URL" --tsa-ca tsa/ca.pem
	ls -i arc/manifest-sha256.txt | cmp before -
	# Somebody is at work: it is signed and said, and the next call lists it.
	rm -rf arc && cp -r was arc
	flock arc/open/lock "$POPFERRY" seal arc --key k.key --cert k.pem >out 2>err
	says '1 signed'
	says 'does not list all signatures and timestamps yet'
	check 'it is not' test -z "$(grep p7s arc/manifest-sha256.txt)"
	pf 0 verify arc
	pf 0 seal arc --key k.key --cert k.pem
	all_listed
	# A damaged list is told, and not made anew.
	truncate -s -1 arc/manifest-sha256.txt
	pf 65 seal arc --key k.key --cert k.pem
	says 'manifest-sha256.txt is damaged'
	rm arc/manifest-sha256.txt
	pf 0 seal arc --key k.key --cert k.pem
	check 'nobody makes it anew' test ! -e arc/manifest-sha256.txt
	# A run lists what it signs.
	rm -rf arc "$W/state"
	copy 0 "$(url_pop3s "$src")" archive:arc --sign-key k.key --sign-cert k.pem
	check 'signed' test -n "$(ls arc/seals/*.p7s)"
	all_listed
}

# What a copy seals is signed and timestamped; later only what is new.
test_seal() {
	tsa_begin tsa
	rig_load "$src" "$DATA/twice"
	copy 0 "$(url_pop3s "$src")" archive:arc
	all=$(ls arc/seals/*.json | wc -l)
	pf 0 keygen k.key k.pem --name 'Ann Archivist'
	pf 0 seal arc --key k.key --cert k.pem --tsa "$URL" --tsa-ca tsa/ca.pem
	says "$all seals?, $all signed and $all timestamped now"
	openssl_accepts k.pem tsa/ca.pem
	openssl_accepts "$(ls arc/trust/signer-*.pem)" "$(ls arc/trust/tsa-*.pem)"
	pf 0 seal arc --check --trust k.pem --tsa-ca tsa/ca.pem
	says 'signed by CN = Ann Archivist'
	says 'timestamped 20[0-9-]+T[0-9:]+Z by CN = TSA tsa'
	pf 0 seal arc --check --trust k.pem --tsa-ca tsa/ca.pem --log-format json
	python3 -c 'import json
for row in map(json.loads, open("out")):
    assert row["signature"] == row["timestamp"] == "trusted", row'
	find arc/seals arc/trust -type f -exec sha256sum {} + | sort >before
	pf 0 seal arc --key k.key --cert k.pem --tsa "$URL" --tsa-ca tsa/ca.pem
	says ' 0 signed and 0 timestamped now'
	find arc/seals arc/trust -type f -exec sha256sum {} + | sort >after
	cmp before after
	rig_load "$src" "$DATA/odd"
	copy 0 "$(url_pop3s "$src")" archive:arc
	pf 0 seal arc --key k.key --cert k.pem --tsa "$URL" --tsa-ca tsa/ca.pem
	says ' 1 signed and 1 timestamped now'
	pf 0 verify arc
	sh arc/VERIFY.sh
	tail -n 2 arc/log/custody.jsonl | grep -q '"event":"sign"'
	openssl_accepts k.pem tsa/ca.pem
}

# A TSA that cannot be had, one that gives nothing good, and TLS.
test_seal_tsa() {
	tsa_begin tsa
	seals_of 2
	pf 0 keygen k.key k.pem --type rsa
	dead=http://127.0.0.1:$(rig_port)/
	pf 75 seal arc --key k.key --cert k.pem --tsa "$dead" --tsa-ca tsa/ca.pem
	says '2 signed and 0 timestamped now, 2 waiting'
	says 'connection refused'
	pf 2 seal arc --check --trust k.pem --tsa-ca tsa/ca.pem
	echo busy >tsa/manner
	pf 75 seal arc --tsa "$URL" --tsa "$dead" --tsa-ca tsa/ca.pem
	echo html >tsa/manner
	pf 76 seal arc --tsa "$URL" --tsa-ca tsa/ca.pem
	rm tsa/manner
	pf 77 seal arc --tsa "$URL" --tsa-ca k.pem
	says 'name its CA with --tsa-ca'
	pf 77 seal arc --tsa "$TLS_URL" --tsa-ca tsa/ca.pem --ca-file tsa/ca.pem
	check 'none was taken' test -z "$(find arc -name '*.tsr')"
	pf 0 seal arc --tsa "$dead" --tsa "$TLS_URL" --tsa-ca tsa/ca.pem --ca-file "$CA" \
		--tsa-policy 1.2.3.4.2
	says '0 signed and 2 timestamped'
	openssl ts -reply -in arc/seals/x-1.seal.tsr -text 2>/dev/null | grep -q 'Policy OID: 1.2.3.4.2'
	openssl_accepts k.pem tsa/ca.pem
	seals_of 3
	pf 76 seal arc --tsa "$URL" --tsa-ca tsa/ca.pem --tsa-policy 1.2.3.4.9
	says 'refuses to give a timestamp'
	# The same answer again.
	seals_of 4
	pf 0 seal arc --tsa "$URL" --tsa-ca tsa/ca.pem
	echo replay >tsa/manner
	seals_of 5
	pf 76 seal arc --tsa "$URL" --tsa-ca tsa/ca.pem
	says 'something else than x-5.seal.json'
}

# Nothing that was changed, exchanged or made by others passes.
test_seal_check() {
	tsa_begin tsa
	tsa_begin other
	seals_of 2
	pf 0 keygen k.key k.pem
	pf 0 keygen o.key o.pem
	pf 64 seal arc --key k.key
	pf 64 seal arc --check --key k.key --cert k.pem
	pf 64 seal arc --check --state state
	pf 64 seal arc --tsa ftp://x/
	pf 65 seal nothing --check
	mkdir empty && echo '{}' >empty/archive.json
	pf 0 seal empty --check
	pf 2 seal empty --check --trust k.pem
	pf 78 seal arc --key k.key --cert o.pem
	chmod 644 k.key
	pf 78 seal arc --key k.key --cert k.pem
	says 'others can read'
	chmod 600 k.key
	pf 0 seal arc --key k.key --cert k.pem --tsa "$URL" --tsa-ca other/ca.pem
	pf 0 seal arc --check --trust k.pem --tsa-ca other/ca.pem
	pf 65 seal arc --check --trust o.pem --tsa-ca other/ca.pem
	pf 65 seal arc --check --trust k.pem --tsa-ca tsa/ca.pem
	pf 0 seal arc --check
	says 'not known here'
	cp -r arc good
	echo '{"seal":9}' >arc/seals/x-2.seal.json
	pf 65 seal arc --check --trust k.pem --tsa-ca other/ca.pem
	says 'x-2.seal.json is not what was signed'
	pf 65 seal arc --check
	rm -rf arc && cp -r good arc
	mv arc/seals/x-1.seal.tsr x && mv arc/seals/x-2.seal.tsr arc/seals/x-1.seal.tsr && mv x arc/seals/x-2.seal.tsr
	pf 65 seal arc --check
	says 'over something else than x-1.seal.p7s'
	rm -rf arc && cp -r good arc
	rm arc/seals/x-2.seal.json
	pf 65 seal arc --check
	says 'there is no x-2.seal.json: a seal is missing'
}

# short_lived FOLDER NAME EXTENSIONS: a certificate for FOLDER/NAME.key, good until $end.
short_lived() (
	cd "$1"
	tsa_ca_conf
	openssl req -new -key "$2.key" -out "$2.csr" -subj "/CN=Short $2"
	printf "$3" >ext
	openssl ca -batch -notext -config db/cnf -cert ca.pem -keyfile ca.key -in "$2.csr" \
		-out "$2.pem" -extfile ext -startdate 20200101000000Z -enddate "$end"
)

# The signer's and the TSA's certificates expire; what they did before stays good.
test_seal_expired() {
	tsa_begin tsa
	seals_of 2
	mkdir team
	(cd team && rig_ca ca)
	pf 0 keygen team/k.key team/k.pem
	for life in 4 8 16 32; do # a slow machine needs more
		rm -f arc/seals/*.p7s arc/seals/*.tsr
		end=$(date -u -d "+$life seconds" +%Y%m%d%H%M%SZ)
		short_lived tsa tsa 'keyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n'
		short_lived team k 'keyUsage=critical,digitalSignature,nonRepudiation\n'
		pf 0 seal arc --key team/k.key --cert team/k.pem --tsa "$URL" --tsa-ca tsa/ca.pem && break
	done
	until [ "$(date -u +%Y%m%d%H%M%SZ)" \> "$end" ]; do sleep 0.5; done
	check 'it has expired' sh -c '! openssl verify -CAfile team/ca.pem team/k.pem'
	pf 0 seal arc --check --trust team/ca.pem --tsa-ca tsa/ca.pem
	# Without a timestamp nobody knows when it was made.
	rm arc/seals/x-1.seal.tsr
	pf 65 seal arc --check --trust team/ca.pem --tsa-ca tsa/ca.pem
	says 'expired at'
	# And nothing new is made with them.
	seals_of 3
	pf 78 seal arc --key team/k.key --cert team/k.pem
	says 'expired at'
	pf 76 seal arc --tsa "$URL" --tsa-ca tsa/ca.pem
	says 'expired at'
}

# Killed after each step: the next call makes what is missing, and nothing twice.
test_seal_killed() {
	tsa_begin tsa
	seals_of 3
	pf 0 keygen k.key k.pem
	kills=0
	until POPFERRY_CRASH_AT=1 "$POPFERRY" seal arc --key k.key --cert k.pem --tsa "$URL" --tsa-ca tsa/ca.pem; do
		kills=$((kills + 1))
		check 'it ends' test $kills -lt 20
	done
	check 'one a signature and one a timestamp' test $kills -eq 6
	check 'nothing else is there' test "$(ls -A arc/seals | wc -l)" = 9
	pf 0 seal arc --check --trust k.pem --tsa-ca tsa/ca.pem
	openssl_accepts k.pem tsa/ca.pem
}

# An encrypted key, and its passphrase from all the places a password comes from.
test_seal_passphrase() {
	seals_of 1
	echo 'open sesame' >pass
	echo 'wrong' >wrong
	chmod 600 pass wrong
	pf 0 keygen k.key k.pem --key-password-file pass
	check 'encrypted' grep -q 'ENCRYPTED PRIVATE KEY' k.key
	pf 64 seal arc --key k.key --cert k.pem
	says 'key-password-file'
	pf 78 seal arc --key k.key --cert k.pem --key-password-file wrong
	says 'passphrase is wrong'
	pf 0 seal arc --key k.key --cert k.pem --key-password-command 'cat pass'
	seals_of 2
	SESAME='open sesame' pf 0 seal arc --key k.key --cert k.pem --key-password-env SESAME
	pf 0 seal arc --check --trust k.pem
}

# A key in a token, where there is a software one to try it with.
test_seal_token() {
	module=${PKCS11_MODULE_PATH:-/usr/lib/softhsm/libsofthsm2.so}
	engine=${OPENSSL_ENGINES:-$(openssl version -e | sed 's/.*"\(.*\)"/\1/')}/pkcs11.so
	command -v softhsm2-util >/dev/null && [ -e "$module" ] && [ -e "$engine" ] || skip 'no SoftHSM'
	mkdir tokens
	printf 'directories.tokendir = %s\n' "$W/tokens" >softhsm.conf
	export SOFTHSM2_CONF="$W/softhsm.conf" PKCS11_MODULE_PATH="$module"
	softhsm2-util --module "$module" --init-token --free --label team --pin 1234 --so-pin 1234
	seals_of 1
	pf 0 keygen k.key k.pem
	softhsm2-util --module "$module" --import k.key --token team --label sign --id 01 --pin 1234
	rm k.key
	echo 1234 >pin && echo 4321 >wrong && chmod 600 pin wrong
	uri='pkcs11:token=team;object=sign;type=private'
	pf 78 seal arc --key "$uri" --cert k.pem --key-password-file wrong
	pf 0 seal arc --key "$uri" --cert k.pem --key-password-file pin
	pf 0 seal arc --check --trust k.pem
}
