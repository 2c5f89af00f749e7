# verify --server: what is listed there, and what the archive has of it.
# shellcheck shell=sh

# compare CODE ARGUMENT...
compare() {
	code=$1
	shift
	pf "$code" verify --server arc "$(url_pop3s "$src")" --source-password-file "$RIG/secret" \
		--ca-file "$CA" --trace trace.txt "$@"
	check 'nothing was fetched or deleted' sh -c '! grep -E "(RETR|TOP|DELE) " trace.txt'
	rm trace.txt
}

test_server() {
	rig_load "$src" "$DATA/odd"
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	n=$(ls "$DATA/odd" | wc -l)
	compare 0
	says "arc: $n on the server \(pop3:.*\), $n in the archive: $n are in both, 0 only on the server, 0 only in"
	# Something comes, and something goes.
	rig_load "$src" "$DATA/twice"
	compare 2 --report r.json
	says 'of the server.s messages are not there: numbers? [0-9]'
	python3 -c 'import json
o = json.load(open("r.json"))
assert not o["good"] and o["exit"] == 2 and o["both"] + o["only_on_server"] == o["on_server"], o
assert len(o["numbers"]) == o["only_on_server"] > 0, o'
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	compare 0
	rm "$(find "$(rig_maildir "$src")" -type f -path '*/cur/*' -o -type f -path '*/new/*' | head -n 1)"
	compare 0 --log-format json
	says '"only_on_server":0,"only_in_archive":1,'
	grep -q '"event":"verify".*"object":"pop3:' arc/log/custody.jsonl
	pf 0 verify arc
	pf 64 verify --server arc
	pf 64 verify --server arc imaps://a@localhost
	pf 64 verify --server arc archive:arc
	pf 64 verify --server --quick arc "$(url_pop3s "$src")"
	pf 64 verify arc --source-password-file x
	pf 65 verify --server nowhere "$(url_pop3s "$src")"
	pf 69 verify --server arc "pop3s://a@127.0.0.1:$(rig_port)" --source-password-file "$RIG/secret"
}

# letter NAME ID [LINE]: a message in the maildrop.
letter() {
	printf 'From: ann@example.org\nDate: Tue, 5 Mar 2019 09:30:00 +0100\nMessage-ID: <%s@x>\nSubject: %s\n%s\nHello\n' \
		"$2" "$2" "${3:+$3
}" >"box/$1"
}

# told CODE N=V...: so verify --server counts; $url is the server, $access an identity.
told() {
	pf "$1" verify --server arc "$url" --source-tls none --source-password-file "$RIG/secret" \
		--report r.json $access
	shift
	python3 - "$@" <<'P'
import json, sys
o = json.load(open('r.json'))
fates = ['both', 'duplicates', 'filtered', 'failed', 'left', 'only_on_server']
assert o['on_server'] == sum(o[f] for f in fates), o
assert len(o['numbers']) == o['only_on_server'] + o['failed'] + o['left'], o
assert len(o['filtered_numbers']) == o['filtered'], o
for want in sys.argv[1:]:
    name, value = want.split('=')
    assert str(o[name]).replace(' ', '') == value, (want, o)
P
}

# What the runs left out is known of their listings.
server_told() {
	letter a one
	letter b one 'Received: from b.example.net by example.org; Tue, 5 Mar 2019 09:31:10 +0100'
	letter c three "$(head -c 20000 /dev/zero | tr '\0' x | fold -w 70)"
	letter d.bad four
	letter e five
	copy 2 "$url" archive:arc --source-tls none --max-size 10k "$@"
	told 2 both=2 duplicates=1 filtered=1 failed=1 only_on_server=0 'numbers=[4]'
	says 'arc: of others its listings tell: 1 duplicate of what it has, 1 left out by a rule, 1 failed, 0 not'
	rm box/d.bad
	told 0 both=2 duplicates=1 filtered=1 failed=0 only_on_server=0 'filtered_numbers=[3]'
	grep -q '"duplicates":1,"filtered":1,.*"event":"verify","n":[0-9]*,"object":"pop3:' arc/log/custody.jsonl
	# What no run has seen, and what runs from elsewhere tell of.
	letter f six
	told 2 both=2 duplicates=1 filtered=1 only_on_server=1 'numbers=[5]'
	says '1 of the server.s messages is not there: number 5'
	url=$(echo "$url" | sed 's/ann/ben/') told 2 both=2 duplicates=0 filtered=0 only_on_server=3
	# Another name, a smaller rule, and what is known of a duplicate once more.
	mv box/a box/a2
	copy 0 "$url" archive:arc --source-tls none --max-size 100k "$@"
	told 0 both=4 renamed=1 duplicates=1 filtered=0 only_in_archive=0
	# What is a duplicate of nothing is not there.
	pf 0 dispose arc 1 --yes --authority x $access
	told 2 both=3 duplicates=0 only_on_server=2 'numbers=[1,2]'
	pf 0 verify arc $access
}

test_server_told() {
	pf 0 keygen --age k
	to=$(grep -o 'age1[0-9a-z]*' k)
	mkdir box
	python3 "$E2E/pop3.py" "$W/box" "$RIG_PID" >port &
	until [ -s port ]; do sleep 0.1; done
	url="pop3://ann@127.0.0.1:$(cat port)"
	for format in gz zst zip none; do
		rm -rf arc state box/*
		access='' server_told --codec $format
	done
	for format in gz zip; do
		rm -rf arc state box/*
		access='--identity k' server_told --codec $format --encrypt-to "$to" --single-recipient
	done
}
