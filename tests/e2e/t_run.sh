# Many profiles in one process.
# shellcheck shell=sh

# mailbox USER [KEY=VALUE...]: boxes/USER.conf, from there to the user of that name with -new.
mailbox() {
	user=$1
	shift
	mkdir -p boxes
	cat >"boxes/$user.conf" <<-CONF
		name = $user
		source = $(url_pop3s "$user")
		dest = $(url_imaps "$user-new")
		source-password-file = $RIG/secret
		dest-password-file = $RIG/secret
		ca-file = $CA
		state = $W/state/$user
	CONF
	for line; do echo "$line" >>"boxes/$user.conf"; done
}

# A line of the result.
line() {
	grep -qE -e "$1" out && return
	echo "standard output has no line: $1"
	cat out
	return 1
}

test_run_many_mailboxes_at_once() {
	python3 "$DATA/make" mail 12 --duplicates 0 >/dev/null
	rig_load "$src" mail >/dev/null
	last=${FULL:+59}
	last=${last:-34}
	good=$((last - 11)) # of those from 10 on
	for k in $(seq 10 "$last"); do
		cp -a "$RIG/mail/$src" "$RIG/mail/$src$k"
		mailbox "$src$k"
	done
	# One cannot log in, one is being worked on by somebody else, one is no profile.
	echo wrong >wrong && chmod 600 wrong
	sed -i "s,^source-password-file.*,source-password-file = $W/wrong," "boxes/${src}20.conf"
	mkdir -p state && mkdir -m 700 "state/${src}30"
	echo 'no = setting' >boxes/zzz.conf
	flock "state/${src}30/lock" sh -c ': >held; until [ -e let-go ]; do sleep 0.1; done' &
	until [ -e held ]; do sleep 0.1; done
	mkdir reports
	pf 64 run -j 8 --progress never --report 'reports/{name}.json' ./boxes
	cp out first && cp err first.err
	touch let-go
	check 'all others are done' test "$(grep -c ': exit 0: 12 listed = 0 known + 12 stored' out)" -eq $good
	line "^${src}20: exit 77: "
	line "^${src}30: exit 75: .*another run is at work here"
	line '^./boxes/zzz.conf: exit 64: '
	line "^$((good + 3)) jobs: $good with exit 0, 1 with exit 64, 1 with exit 75, 1 with exit 77, together exit 64: $((12 * good)) listed"
	check 'errors name their job' grep -q "^popferry: ${src}20: " err
	check 'a report each' test "$(ls reports | wc -l)" -eq $((good + 2))
	for k in 10 31 "$last"; do
		python3 "$TOOL" report "reports/$src$k.json" exit=0 listed=12 stored=12 job="$src$k"
		python3 "$TOOL" uploaded "$(rig_maildir "$src$k")" "$(rig_maildir "$src$k-new")"
	done
	python3 "$TOOL" report "reports/${src}20.json" exit=77
	python3 "$TOOL" report "reports/${src}30.json" exit=75
	# And again: what failed is made up for, nothing is stored twice.
	rm boxes/zzz.conf && echo "$PASS" >wrong
	pf 0 run -j8 --progress never --log-format json -v boxes/
	check 'all jobs end' test "$(grep -c '"event":"finished".*"exit":0' err)" -eq $((good + 2))
	check 'one line for all' \
		grep -q "\"event\":\"all-finished\",\"exit\":0,\"jobs\":$((good + 2)),\"good\":$((good + 2))" err
	check 'events name their job' sh -c "! grep -v '\"event\":\"all-finished\"' err | grep -qv '\"job\":\"'"
	check 'nothing on standard output' test ! -s out
	for k in 20 30 "$last"; do
		python3 "$TOOL" uploaded "$(rig_maildir "$src$k")" "$(rig_maildir "$src$k-new")"
	done
}

test_run_stopped_in_the_middle() {
	python3 "$DATA/make" mail 200 --duplicates 0 >/dev/null
	rig_slow "$POP3S" 300
	for k in 1 2 3 4 5 6; do
		rig_load "$src$k" mail >/dev/null
		mailbox "$src$k" "report = $W/{name}.json"
		sed -i "s,^source = .*,source = pop3s://$src$k@127.0.0.1:$SLOW," "boxes/$src$k.conf"
	done
	"$POPFERRY" run -j 3 --progress always boxes/ </dev/null >out 2>err &
	child=$!
	waited=0
	until [ "$(find "$(rig_maildir "${src}1-new")" -type f -path '*/cur/*' 2>/dev/null | wc -l)" -ge 5 ]; do
		waited=$((waited + 1))
		check 'messages arrive within a minute' test $waited -lt 600
		check 'it runs until then' kill -0 $child
		sleep 0.1
	done
	began=$(date +%s)
	kill -TERM $child
	got=0
	wait $child || got=$?
	cat out
	check "exit $got, not 75" test "$got" -eq 75
	check 'within 10 s' test $(($(date +%s) - began)) -le 10
	check 'three were stopped' test "$(grep -c ': exit 75: stopped on request' out)" -eq 3
	line '^6 jobs: 3 with exit 75, 3 not begun, together exit 75: '
	check 'those have a report' sh -c "ls $src*.json | wc -l | grep -qx 3"
	check 'the others have nothing' test ! -e "state/${src}4"
	for k in 1 2 3 4 5 6; do
		sed -i "s,^source = .*,source = $(url_pop3s "$src$k")," "boxes/$src$k.conf"
	done
	pf 0 run -j 6 --progress never boxes/
	check 'what was done before is known' sh -c "! grep -q '^${src}1: .* = 0 known' out"
	for k in 1 2 3 4 5 6; do
		python3 "$TOOL" uploaded "$(rig_maildir "$src$k")" "$(rig_maildir "$src$k-new")"
	done
}

test_run_refuses_what_two_jobs_cannot_share() {
	mailbox a && mailbox b && mailbox c
	pf 64 run -j 2 boxes/a.conf boxes/b.conf boxes/a.conf
	says 'boxes/a.conf and boxes/a.conf have the same state directory'
	pf 64 run boxes/a.conf boxes/b.conf --state one
	says 'the same state directory, .*write .name. in it'
	pf 64 run -j 2 boxes/ --report all.json
	says 'boxes/a.conf and boxes/b.conf would write the same report, all.json'
	sed -i 's/^name = .*/name = same/' boxes/b.conf boxes/c.conf
	pf 64 run boxes/
	says 'boxes/b.conf and boxes/c.conf are both called same.*state = .*/state/c there'
	check 'nothing was begun' test ! -e state
	mkdir none
	pf 64 run ./none
	says 'holds no profile'
	pf 64 run -j 0 boxes/
	pf 64 run -j
	pf 64 run --jobs=x boxes/
	says 'expected a number from 1 to 1000'
	pf 64 copy -j 2 a b
}

# Few open files are enough, or it says how many it takes; half of them in an archive.
test_run_with_few_open_files() {
	rig_load "$src" "$DATA/odd"
	for k in $(seq 10 29); do
		mailbox "$src-$k"
		sed -i "s,^source = .*,source = $(url_pop3s "$src")," "boxes/$src-$k.conf"
		[ $((k % 2)) -eq 0 ] || echo "dest = archive:$W/arc-$k" >>"boxes/$src-$k.conf"
	done
	(
		ulimit -Sn 64
		ulimit -Hn 1024
		pf 0 run -j 1000 --progress never ./boxes
	)
	line '^20 jobs: 20 with exit 0'
	(
		ulimit -n 200
		pf 78 run -j 20 --progress never ./boxes
		says 'needs 624 open files and this process may have 200: use --jobs 4 at most'
		cp "boxes/$src-10.conf" many.conf
		printf '[imap]\nconnections = 16\n' >>many.conf
		pf 78 run -j 4 --progress never ./many.conf "boxes/$src"-1[123].conf
		says 'needs 256 open files'
		pf 0 run -j 4 --progress never ./boxes
	)
	line 'together exit 0: '
}

# Two jobs into one archive take turns. {name} in the state directory.
test_run_into_one_archive() {
	rig_load "$src" "$DATA/odd" >/dev/null
	for k in 1 2 3 4; do
		cat >"$k.conf" <<-CONF
			name = job-$k
			source = $(url_pop3s "$src")
			dest = archive:$W/arc
			source-password-file = $RIG/secret
			ca-file = $CA
		CONF
	done
	pf 0 run -j 4 --progress never --state 'of/{name}' --dry-run 1.conf 2.conf 3.conf 4.conf
	check 'nothing was made' test ! -e of
	pf 0 run -j 4 --progress never --state 'of/{name}' 1.conf 2.conf 3.conf 4.conf
	pf 0 run -j 4 --progress never --state 'of/{name}' --report - [1-4].conf
	python3 -c '
import json
d, text, n = json.JSONDecoder(), open("out").read().lstrip(), 0
while text:
    report, end = d.raw_decode(text)
    n, text = n + report["known"], text[end:].lstrip()
assert n > 9'
	check 'a state directory each' test "$(ls of | tr '\n' ' ')" = 'job-1 job-2 job-3 job-4 '
	pf 0 verify arc --report verdict.json
	check 'verify has a report' grep -q '^{"good":true,"exit":0,' verdict.json
	python3 -c 'import json; d = json.load(open("verdict.json")); assert d["messages"] > 9 and d["archive"] == "arc"'
	pf 0 verify arc --report -
	check 'and it is all' sh -c 'wc -l <out | grep -qx 1'
	f=$(ls arc/segments/*.tar.* | head -n 1)
	printf x | dd of="$f" bs=1 seek=400 conv=notrunc 2>/dev/null
	pf 65 verify arc --report verdict.json
	check 'with what is wrong' grep -q '^{"good":false,"exit":65,.*"reason":"..*' verdict.json
	pf 65 verify arc --report nowhere/verdict.json
	says 'the report could not be written'
}

# null: keeps nothing and does not say that all is safe; --check is told.
# A folder may hold one profile today and two tomorrow: its lines look the same.
test_run_one_of_many() {
	rig_load "$src" "$DATA/twice" >/dev/null
	mkdir box
	{
		echo "source = $(url_pop3 "$src")"
		echo 'source-tls = none'
		echo "source-password-file = $RIG/secret"
		echo "dest = archive:$W/arc"
	} >box/one.conf
	for how in box/ '-j 4 ./box/one.conf'; do
		pf 0 run $how
		check "$how: a line a job" grep -q ': exit 0: ' out
		check "$how: and one of all" grep -q '^1 job: 1 with exit 0, together exit 0: ' out
	done
	pf 0 run ./box/one.conf
	check 'one by itself is told of as by copy' sh -c '! grep -q ": exit 0" out'
	# That there is no TLS is said each time.
	pf 0 run -q ./box/one.conf
	says '^warn no-tls job='
	check 'and nothing else' test "$(cat out err | wc -l)" = 1
}

test_run_says_what_it_did() {
	rig_load "$src" "$DATA/odd" >/dev/null
	copy 0 "$(url_pop3s "$src")" null:
	check 'not safe' sh -c '! grep -q safe out'
	says 'nothing is kept'
	rm -rf state
	copy 0 --check "$(url_pop3s "$src")" archive:arc
	says 'all are safe'
	says 'read back from archive:arc: [1-9][0-9]* verified, 0 changed, 0 missing'
}
