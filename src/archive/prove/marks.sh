# ---- signatures and timestamps ----

# Seconds since 1970 of "Nov 22 13:55:01 2026 GMT".
seconds() {
	awk '{
		month = (index("JanFebMarAprMayJunJulAugSepOctNovDec", $1) + 2) / 3
		year = month < 3 ? $4 - 1 : $4
		day = 365 * year + int(year / 4) - int(year / 100) + int(year / 400)
		day += int((153 * ((month + 9) % 12) + 2) / 5) + $2 - 719469
		split($3, t, ":")
		printf "%.0f\n", 86400 * day + 3600 * t[1] + 60 * t[2] + int(t[3])
	}'
}

# Who a certificate is of, on one line.
who() {
	openssl x509 -in "$1" -noout -subject -fingerprint -sha256 2>/dev/null | tr '\n' ' '
	echo
}

# openssl, which trusts nobody that is not named.
openssl_alone() {
	SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/nonexistent openssl "$@" >/dev/null 2>&1
}

# Is $1 a timestamp of $2? Where no TSA is named, those in it are taken at their word.
stamped() {
	test -f "$2" || return 1
	openssl ts -reply -in "$1" -token_out -out "$tmp/token" 2>/dev/null
	openssl pkcs7 -inform DER -in "$tmp/token" -print_certs -out "$tmp/given" 2>/dev/null
	openssl_alone cms -verify -noverify -inform DER -in "$tmp/token" -signer "$tmp/tsa" \
		-out /dev/null
	made=$(openssl ts -reply -in "$1" -text 2>/dev/null | sed -n 's/^Time stamp: //p')
	at=$(printf '%s\n' "$made" | sed '/^$/d' | seconds)
	test -n "$at" || return 1
	openssl_alone ts -verify -in "$1" -data "$2" -CAfile "${tsas:-$tmp/given}" \
		-partial_chain -attime "$at"
}

# $1.p7s and $1.tsr of $1.json, if they are there: each right, and as of the time when the
# timestamp says it was made, for certificates expire.
check_marks() {
	at=
	rm -f "$tmp/signer" "$tmp/tsa"
	if test -f "$1.tsr"; then
		if stamped "$1.tsr" "$1.p7s"; then
			who "$tmp/tsa" >>"$tmp/tsas"
		elif stamped "$1.tsr" "$1.json"; then
			who "$tmp/tsa" >>"$tmp/tsas"
			test ! -f "$1.p7s" || at=
		else
			bad "$1.tsr is not a timestamp of this${tsas:+ by one of $tsas}"
			at=
		fi
	fi
	test -f "$1.p7s" || return 0
	if ! openssl_alone cms -verify -noverify -binary -inform DER -in "$1.p7s" \
		-content "$1.json" -signer "$tmp/signer" -out /dev/null; then
		bad "$1.p7s is not a signature of $1.json"
		return 0
	fi
	who "$tmp/signer" >>"$tmp/signers"
	openssl_alone cms -verify -binary -inform DER -in "$1.p7s" -content "$1.json" \
		-CAfile "${signers:-$tmp/signer}" -partial_chain -purpose any \
		${at:+-attime "$at"} -out /dev/null ||
		bad "$1.p7s is by a certificate that was not valid then${signers:+, or by nobody of $signers}"
}

# Whether those are the ones who should is for people.
tell_marks() {
	for by in signers tsas; do
		test -s "$tmp/$by" || continue
		what=signed
		test "$by" = signers || what=timestamped
		sort "$tmp/$by" | uniq -c | sed "s/^ */seals $what: /"
	done
	if test -s "$tmp/signers" && test -z "$signers"; then
		echo 'nobody vouched for who signed: compare the fingerprint, or name the certificate'
	fi
	if test -s "$tmp/tsas" && test -z "$tsas"; then
		echo 'nobody vouched for who timestamped: compare the fingerprint, or name the CA'
	fi
}

