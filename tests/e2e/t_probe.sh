# `popferry probe` says which end of host, port and TLS is wrong.
# shellcheck shell=sh

probe() { # CODE URL [REGEX...]
	code=$1 url=$2
	shift 2
	pf "$code" probe "$url" --ca-file "$CA"
	for regex; do says "$regex"; done
}

test_probe_shows_what_is_offered() {
	rig_load "$src" "$DATA/odd/plain.eml"
	pf 0 probe "$(url_pop3s "$src")" --ca-file "$CA" --source-password-file "$RIG/secret"
	for what in 'TLSv1\.[23]' 'popferry test ca' 'PIPELINING' 'UIDL' 'accepted' '1 message'; do says "$what"; done
	pf 0 probe "$(url_imaps "$dst")" --ca-file "$CA" --dest-password-file "$RIG/secret"
	for what in 'TLSv1\.[23]' 'popferry test ca' 'MULTIAPPEND' 'accepted'; do says "$what"; done
	probe 0 "$(url_pop3 "$src")" 'TLSv1\.[23]'
	probe 0 "$(url_imap "$dst")" 'TLSv1\.[23]'
}

# Quirk Q20: not all that a user thinks of as the mailbox.
test_probe_tells_what_pop3_does_not_show() {
	for name in gmx:'without the spam folder' gmail:'neither Spam nor Trash' generic:'the inbox alone'; do
		pf 0 probe "$(url_pop3s anna%40example.org)" --ca-file "$CA" --source-profile "$TOP/profiles/${name%%:*}.conf"
		says "${name#*:}"
	done
}

# Any failure code but those that mean something else; the words matter here.
wrong() { # URL REGEX...
	url=$1
	shift
	got=0
	timeout 60 "$POPFERRY" probe "$url" --ca-file "$CA" --timeout 1 >"$W/out" 2>"$W/err" </dev/null || got=$?
	case $got in
	69 | 75 | 76 | 77) ;;
	*) check "probe $url: exit $got" false ;;
	esac
	for regex; do says "$regex"; done
}

test_probe_finds_the_wrong_port() {
	wrong "pop3s://anna@127.0.0.1:$POP3" 'TLS' "pop3://anna@127.0.0.1:$POP3"
	wrong "pop3://anna@127.0.0.1:$POP3S" 'TLS from the first byte' "pop3s://anna@127.0.0.1:$POP3S"
	wrong "imaps://anna@127.0.0.1:$IMAP" 'TLS' "imap://anna@127.0.0.1:$IMAP"
	wrong "imap://anna@127.0.0.1:$IMAPS" 'TLS from the first byte' "imaps://anna@127.0.0.1:$IMAPS"
	for port in "$IMAP" "$IMAPS"; do
		wrong "pop3s://anna@127.0.0.1:$port" 'IMAP server'
		wrong "pop3://anna@127.0.0.1:$port" 'IMAP server'
	done
	for port in "$POP3" "$POP3S"; do
		wrong "imaps://anna@127.0.0.1:$port" 'POP3 server'
		wrong "imap://anna@127.0.0.1:$port" 'POP3 server'
	done
}

test_probe_finds_a_bad_certificate() {
	probe 77 "$(url_pop3s anna 127.0.0.2)" 'mail\.example\.net'
	probe 77 "$(url_imap anna 127.0.0.3)" 'expired'
	probe 77 "$(url_imaps anna 127.0.0.4)" 'popferry test stranger'
}

# Quirk Q64.
test_probe_finds_that_there_is_no_tls() {
	wrong "$(url_pop3 anna 127.0.0.5)" 'STLS'
	wrong "$(url_imap anna 127.0.0.5)" 'STARTTLS'
	pf 0 probe "$(url_pop3 anna 127.0.0.5)" --source-tls none
	says 'clear'
}
