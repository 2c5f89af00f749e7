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
