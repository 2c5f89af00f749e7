# What is wrong is said, with the right code, and nothing is done.
# shellcheck shell=sh

# refused_certificate ADDR REGEX: both ends refuse that server and say why.
refused_certificate() {
	copy 77 "$(url_pop3s "$src" "$1")" archive:arc
	says "$2"
	copy 77 "$(url_pop3 "$src" "$1")" archive:arc
	says "$2"
	rig_load "$src" "$DATA/odd/plain.eml"
	copy 77 "$(url_pop3s "$src")" "$(url_imaps "$dst" "$1")" --state "$W/state2"
	says "$2"
	copy 77 "$(url_pop3s "$src")" "$(url_imap "$dst" "$1")" --state "$W/state2"
	says "$2"
	check 'no password was sent' sh -c "! grep -E 'Login: user=<($src|$dst)>.*lip=$1,' $RIG/dovecot.log"
}

# Quirk Q63: certificates that are not right.
test_a_certificate_for_another_host_is_refused() {
	refused_certificate 127.0.0.2 'mail\.example\.net'
}

test_an_expired_certificate_is_refused() {
	refused_certificate 127.0.0.3 'expired'
}

test_a_certificate_of_an_unknown_ca_is_refused() {
	refused_certificate 127.0.0.4 'popferry test stranger'
}

test_the_system_does_not_trust_the_test_ca() {
	rig_load "$src" "$DATA/odd/plain.eml"
	pf 77 copy "$(url_pop3s "$src")" archive:arc --state state --source-password-file "$RIG/secret"
	says 'popferry test ca'
}

test_a_pin_stands_for_a_ca_and_a_wrong_one_refuses() {
	rig_load "$src" "$DATA/odd/plain.eml"
	pin() {
		openssl x509 -in "$RIG/ca/$1.pem" -noout -pubkey | openssl pkey -pubin -outform der |
			openssl dgst -sha256 -binary | openssl base64 -A
	}
	copy 77 "$(url_pop3s "$src")" archive:arc --source-pin "sha256//$(pin stranger)"
	copy 0 "$(url_pop3s "$src" 127.0.0.4)" archive:arc --source-pin "sha256//$(pin unknown)" \
		--state "$W/state2"
	counts stored=1
}

test_a_wrong_password_is_told_at_once() {
	rig_load "$src" "$DATA/odd/plain.eml"
	(umask 077 && echo wrong >wrong)
	copy 77 "$(url_pop3s "$src")" archive:arc --source-password-file wrong
	says "$src"
	copy 77 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --dest-password-file wrong
	says "$dst"
}

# Quirk Q62; the versions themselves are t_tls's.
test_old_tls_is_warned_of() {
	rig_load "$src" "$DATA/odd/plain.eml"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --source-tls-min 1.0
	says 'old-tls.*others may read'
	check 'of this end only' sh -c "! grep 'old-tls.*imaps' '$W/err'"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")"
	check 'where it was asked for' sh -c "! grep old-tls '$W/err'"
	copy 64 "$(url_pop3s "$src")" archive:arc --source-tls-min 3
	says '1\.0, 1\.1, 1\.2'
}

# Quirk Q71: providers that must be asked to let mail programs in. What a profile knows of that is
# said with the refusal, and not otherwise.
test_what_is_known_of_a_provider_is_said_with_a_refused_login() {
	rig_load "$src" "$DATA/odd/plain.eml"
	(umask 077 && echo wrong >wrong)
	printf '[%s]\nnotes = %s\n' pop3 'Switch on POP in the shop first.' \
		imap 'Only app passwords will do.' >gate.conf
	with_gate() {
		copy "$@" --source-profile "$W/gate.conf" --dest-profile "$W/gate.conf"
	}
	with_gate 77 "$(url_pop3s "$src")" archive:arc --source-password-file wrong
	says 'provider-notes.*Switch on POP in the shop first\.'
	check 'not the other server' sh -c "! grep -q 'app passwords' '$W/err'"
	with_gate 77 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --dest-password-file wrong
	says 'provider-notes.*Only app passwords will do\.'
	check 'not the other server' sh -c "! grep -q 'in the shop' '$W/err'"
	with_gate 0 "$(url_pop3s "$src")" archive:arc
	check 'no notes where the login works' sh -c "! grep -q provider-notes '$W/err'"
}

test_an_unknown_host() {
	python3 -c 'import socket
try: socket.getaddrinfo("mail.invalid", 1)
except socket.gaierror as e: raise SystemExit(e.errno != socket.EAI_NONAME)' ||
		skip 'the resolver does not say that mail.invalid does not exist'
	rig_load "$src" "$DATA/odd/plain.eml"
	copy 68 pop3s://anna@mail.invalid archive:arc
	says 'mail\.invalid'
	copy 68 "$(url_pop3s "$src")" imaps://anna@mail.invalid --state "$W/state2"
}

test_a_closed_port() {
	rig_load "$src" "$DATA/odd/plain.eml"
	port=$(rig_port)
	copy 69 "pop3s://anna@127.0.0.1:$port" archive:arc
	says "$port"
	copy 69 "$(url_pop3s "$src")" "imaps://anna@127.0.0.1:$port" --state "$W/state2"
	says "$port"
}

test_a_password_file_others_can_read() {
	cp "$RIG/secret" open
	chmod 640 open
	copy 78 "$(url_pop3s "$src")" archive:arc --source-password-file open
	says 'open'
}

test_a_password_in_a_url() {
	copy 64 "pop3s://anna:verysecret@127.0.0.1:$POP3S" archive:arc
	check 'it is not repeated' sh -c '! grep -q verysecret out err'
}

# What is not even begun has its report, too, where its name was understood.
test_a_refused_run_has_a_report() {
	refused_report() {
		check "$1: exit" grep -q '"exit":64' "$1"
		check "$1: reason" grep -q "\"reason\":.*$2" "$1"
		check "$1: nothing" grep -q '"listed":0' "$1"
		rm -f "$1"
	}
	copy 64 "$(url_pop3s "$src")" archive:arc --report option.json --dedup sometimes
	refused_report option.json sometimes
	copy 64 "$(url_pop3s "$src")" archive:arc --dedup sometimes --report=behind.json
	refused_report behind.json sometimes
	copy 64 "$(url_pop3s "$src")" archive:arc --nosuch --seen never --report behind.json
	refused_report behind.json nosuch
	copy 64 "http://127.0.0.1/" archive:arc --report url.json
	refused_report url.json 'SOURCE: expected'
	copy 64 "$(url_pop3s "$src")" --report args.json
	refused_report args.json DEST
	echo 'dedup = sometimes' >bad.conf
	pf 64 run ./bad.conf --report profile.json
	refused_report profile.json bad.conf
	pf 64 run ./bad.conf --nosuch --report profile.json
	refused_report profile.json nosuch
	pf 64 run ./bad.conf --report '{name}.json'
	check 'no file without a name' sh -c '! ls *.json'
}

test_wrong_usage() {
	copy 64 "$(url_pop3s "$src")"
	copy 64 "$(url_pop3s "$src")" archive:arc --dedup sometimes
	says 'sometimes'
	copy 64 "$(url_pop3s "$src")" archive:arc --no-such-option
	says 'no-such-option'
	copy 64 "http://127.0.0.1/" archive:arc
	pf 64 run ./missing.conf
	says 'missing\.conf'
}

# Quirk Q73.
test_a_second_run_beside_the_first() {
	python3 "$DATA/make" mail 300 >/dev/null
	rig_load "$src" mail
	rig_slow "$POP3S" 400
	copy 0 "pop3s://$src@127.0.0.1:$SLOW" archive:arc &
	first=$!
	n=0
	until grep -q "Login: user=<$src>" "$RIG/dovecot.log" || [ $n -ge 100 ]; do
		n=$((n + 1))
		sleep 0.1
	done
	got=0
	"$POPFERRY" copy "pop3s://$src@127.0.0.1:$POP3S" archive:arc2 --state state --ca-file "$CA" \
		--source-password-file "$RIG/secret" >second 2>&1 || got=$?
	cat second
	check "the second ends with $got, not 75" test "$got" -eq 75
	check 'the first ends well' wait $first
}

test_secrets_stay_secret() {
	rig_load "$src" "$DATA/odd/plain.eml"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --trace trace -v -v --log-format json
	copy 0 "$(url_pop3 "$src")" "$(url_imap "$dst")" --trace trace2 -v -v --state "$W/state2"
	printf '%s\n' "$PASS" >word
	printf '\0%s\0%s' "$src" "$PASS" | openssl base64 -A | cut -c 1-40 >plain
	printf '\0%s\0%s' "$dst" "$PASS" | openssl base64 -A | cut -c 1-40 >>plain
	printf '%s' "$PASS" | openssl base64 -A >>plain
	printf '%s\n' 'word' | sed 's/word/a pass /' >part
	check 'not in a trace, a log, a report or the journal' sh -c \
		'! grep -rlF -f part -f plain trace trace2 err out report.json state state2'
}

test_each_secret_source_works() {
	rig_load "$src" "$DATA/odd/plain.eml"
	SECRET=$PASS "$POPFERRY" copy "$(url_pop3s "$src")" archive:a --state s1 --ca-file "$CA" \
		--source-password-env SECRET
	"$POPFERRY" copy "$(url_pop3s "$src")" archive:b --state s2 --ca-file "$CA" \
		--source-password-command "cat $RIG/secret"
	arrived_in_archive a
	arrived_in_archive b
}

# What ends a run before it begins is in its report, too.
test_refused_key_is_reported() {
	copy 78 "$(url_pop3s "$src")" archive:arc --sign-key none.key --sign-cert none.pem
	counts exit=78 listed=0
	check 'nothing was begun' test ! -e arc
	for k in 1 2; do
		cat >$k.conf <<-CONF
			name = job-$k
			source = $(url_pop3s "$src")
			dest = archive:$W/arc-$k
			source-password-file = $RIG/secret
			ca-file = $CA
			state = $W/state-$k
		CONF
	done
	printf 'sign-key = none.key\nsign-cert = none.pem\n' >>2.conf
	pf 78 run -j 2 --progress never --report '{name}.json' ./1.conf ./2.conf
	python3 "$TOOL" report job-1.json exit=0
	python3 "$TOOL" report job-2.json exit=78
}

# What was typed wrong is told with what may have been meant. No word that follows is shown: it may
# be a password.
test_what_is_mistyped_is_told() {
	mistyped() { # REGEX ARG...
		regex=$1
		shift
		pf 64 "$@"
		says "$regex"
		check 'no password is shown' sh -c '! grep -q hunter2 out err'
	}
	mistyped 'no command cpoy .did you mean copy' cpoy
	mistyped 'no command cpoy .did you mean copy' help cpoy
	mistyped 'no command frobnicate; try' frobnicate
	mistyped 'fodler is no option of copy; did you mean --folder\?' copy --fodler=hunter2
	mistyped 'reprot is no option of run; did you mean --report\?' run --reprot hunter2
	mistyped 'shrad is no option of batch; did you mean --shard\?' batch --shrad 1/2
	mistyped 'log-fromat is no option of list; did you mean --log-format\?' list --log-fromat json
	mistyped 'xyzzy is no option of list; try .popferry list --help' list --xyzzy
	mistyped '--source-password: passwords do not stand on command lines' \
		copy --source-password hunter2
	mistyped '--password: passwords do not stand.*--source-password-file' probe --password=hunter2
	mistyped '--password is no option of list; try' list --password hunter2
	mistyped 'SOURCE: expected pop3s:.*tar:FILE$' copy ann:hunter2@pop.example.org archive:arc
	mistyped 'DEST: expected imaps:[^,]*, imap:[^,]* or archive:DIR$' \
		copy pop3s://ann@pop.example.org imap.example.org:hunter2
	mistyped 'only servers can be probed: pop3s://host, pop3://host, imaps:' probe pop.example.org
	mistyped 'only servers can be probed.*popferry verify' probe archive:arc
	mkdir boxes
	mistyped 'for what is in the directory write boxes/: there is no profile "boxes"' run boxes
	printf 'source pop3s://ann:hunter2@pop.example.org\n' >a.conf
	mistyped 'a.conf:1: source pop3s: expected KEY = VALUE' run ./a.conf
	mkdir arc && echo '{}' >arc/archive.json
	mistyped 'arc is an archive, and no state directory.*popferry stats' status arc
	mistyped 'boxes is no state directory of a job: it holds no journal' status boxes
	mistyped 'the TARGET comes first' export arc from:ann
	mistyped 'the TARGET comes first' export arc 'subject:a b' out
	printf 'From: a@b\n\nx\n' >a.eml
	pf 0 copy eml:a.eml archive:real --progress never --state "$W/state"
	pf 78 verify real --against nothing
	says '--against: there is no file nothing, and it is no SHA-256'
	pf 0 list --version
	check 'a command tells it, too' grep -q '^popferry [0-9]' out
	pf 0 export real ./from:ann
	pf 0 export real other:thing
	pf 0 export real 2024
	check 'they are targets' test -d from:ann -a -d other:thing -a -d 2024
}
