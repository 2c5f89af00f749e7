# A table of accounts, a job a row.
# shellcheck shell=sh

# batch_rows NAME...: the header and a row each, of $src-NAME to $src-NAME-new, into $W/table.csv.
batch_rows() {
	echo 'name,source,dest,source-password-file,dest-password-file'
	for name; do
		echo "$name,$(url_pop3s "$src-$name"),$(url_imaps "$src-$name-new"),$RIG/secret,$RIG/secret"
	done
}

batch() { # CODE ARG...
	code=$1
	shift
	pf "$code" batch --ca-file "$CA" --state "$W/state/{name}" --progress never "$@"
}

batch_mail() { # NAME...
	python3 "$DATA/make" mail 8 --duplicates 0 >/dev/null
	for name; do rig_load "$src-$name" mail >/dev/null; done
}

batch_moved() { # NAME...
	for name; do
		python3 "$TOOL" uploaded "$(rig_maildir "$src-$name")" "$(rig_maildir "$src-$name-new")"
	done
}

batch_line() { # REGEX: a line of standard output
	grep -qE -e "$1" out && return
	echo "standard output has no line: $1"
	cat out
	return 1
}

# Three that go, a wrong password, a closed port; and again with those that failed.
test_batch_some_fail() {
	batch_mail a b c d e
	(umask 077 && echo wrong >wrong)
	batch_rows a b c d e >table.csv
	sed -i -e "s,^\(d.*\)$RIG/secret,\1$W/wrong," -e "s,^\(e.*127.0.0.1:\)$POP3S,\1$(rig_port)," table.csv
	sed -i "1s/^/# five mailboxes\n\n/" table.csv
	mkdir reports
	batch 77 -j 3 --report 'reports/{name}.json' --failed failed.csv table.csv
	batch_line '^5 jobs: 3 with exit 0, 1 with exit (68|69|75), 1 with exit 77, together exit 77: 32 listed'
	batch_line '^d: exit 77: '
	for k in a b c; do
		batch_line "^$k: exit 0: 8 listed = 0 known [+] 8 stored"
		python3 "$TOOL" report "reports/$k.json" exit=0 listed=8 stored=8 job="$k"
	done
	python3 "$TOOL" report reports/d.json exit=77
	batch_moved a b c
	check 'those that failed, as they were' sh -c '(sed -n 3p table.csv; grep "^[de]," table.csv) | cmp - failed.csv'
	check 'for its owner only' test "$(stat -c %a failed.csv)" = 600
	# What was wrong is put right; the same file is read, and written again.
	echo "$PASS" >wrong
	sed -i "s,^\(e.*pop3s:[^:]*:\)[0-9]*,\1$POP3S," failed.csv
	batch 0 -j 8 --failed failed.csv failed.csv
	batch_line '^2 jobs: 2 with exit 0, together exit 0: 16 listed'
	batch_moved a b c d e
	check 'only the header is left' sh -c 'sed -n 3p table.csv | cmp - failed.csv'
	batch 0 --failed failed.csv failed.csv
	batch_line '^0 jobs: together exit 0'
	# All at once, from standard input, in pieces; nothing is new.
	sed -i "s,^\(e.*pop3s:[^:]*:\)[0-9]*,\1$POP3S," table.csv
	(head -c 100 table.csv && sleep 0.3 && tail -c +101 table.csv) |
		"$POPFERRY" batch --ca-file "$CA" --state "$W/state/{name}" --progress never -j 5 - >out 2>err
	batch_line '^5 jobs: 5 with exit 0, .*: 40 listed = 40 known'
}

# Jobs of rows have no profile and a directory with a number: their names do for them.
test_batch_jobs_by_name() {
	batch_mail a b
	batch_rows a b | sed "s/^[ab],/batch-&/; s,$(url_imaps "$src-a-new"),archive:$W/arc," >table.csv
	pf 0 batch --ca-file "$CA" --progress never -j 2 table.csv
	pf 0 status batch-a
	batch_line '^  8 listed = 0 known [+] 8 stored'
	pf 0 status batch-a batch-b
	check 'both are told' test "$(grep -c '^  8 listed = ' out)" = 2
	pf 0 verify batch-a
	batch_line 'archive:.*/arc: 8 verified, 0 changed, 0 missing'
	pf 64 verify --quick batch-a
	says 'are for an ARCHIVE'
	pf 64 verify batch-b
	says 'the journal does not tell how to reach imap:'
	pf 0 verify batch-b "$(url_imaps "$src-b-new")" --dest-password-file "$RIG/secret" --ca-file "$CA"
	batch_line ': 8 verified, 0 changed, 0 missing'
	# Another destination makes another job of it; the whole name of one still tells it.
	sed -i '/^batch-b/d; s,archive:[^ ,]*,archive:'"$W/other," table.csv
	pf 0 batch --ca-file "$CA" --progress never table.csv
	pf 0 status batch-a
	check 'each with its destination' test "$(grep '^  into' out | sort | tr -d '\n')" = \
		"  into archive:$W/arc  into archive:$W/other"
	pf 0 status --log-format json batch-a
	check 'for programs, too' test "$(grep -c '"destinations":\["archive:[^"]*"\]' out)" = 2
	pf 64 verify batch-a
	says '^popferry: 2 jobs are called batch-a; .* such as .*/batch-a-[0-9a-f]{8}$'
	whole=$(sed -n 's,.*/,,p' err)
	pf 0 status "$whole"
	check 'one of them' test "$(grep -c '^  into' out)" = 1
	pf 0 verify "$whole"
	# A profile of the same name is meant before; also a broken one, which is told.
	mkdir -p "$XDG_CONFIG_HOME/popferry/profiles"
	echo 'nonsense = 1' >"$XDG_CONFIG_HOME/popferry/profiles/batch-b.conf"
	for verb in status verify; do
		pf 64 "$verb" batch-b
		says 'batch-b.conf:1: nonsense: '
	done
	rm "$XDG_CONFIG_HOME/popferry/profiles/batch-b.conf"
	pf 64 status batch-c
	says '^popferry: batch-c is no directory here, no job that has run and no profile: '
	pf 65 verify batch-c
}

# Every bad row is told, and nothing begins.
test_batch_bad_rows() {
	batch_mail a b
	batch_rows a b >table.csv
	cat >>table.csv <<-ROWS
		c,pop3s://c@127.0.0.1
		d,pop3s://d:hunter2@127.0.0.1:1,archive:d,,
		,nonsense,archive:e,,
		f,pop3s://f@127.0.0.1:1,archive:f,"x"y,
	ROWS
	batch 64 --report '{name}.json' --failed failed.csv table.csv
	says 'table.csv:4: the row has 2 fields, and there are 5 columns'
	says 'table.csv:5: source: the URL holds a password'
	says 'table.csv:6: source: expected pop3s://'
	says 'table.csv:7: the row has text behind the closing quote'
	says 'nothing was begun'
	check 'no password is shown' sh -c '! grep -q hunter2 out err'
	check 'nothing was begun' test ! -e state -a ! -e a.json -a ! -e failed.csv
	check 'and nobody has anything' test ! -e "$(rig_maildir "$src-a-new")"
	batch_rows a >table.csv
	for k in $(seq 10 60); do echo "$k,x,y,,"; done >>table.csv
	batch 64 table.csv
	says 'table.csv:22: source: '
	check 'twenty are enough' sh -c '! grep -q table.csv:23: err'
	says 'and 31 more rows'
	# What two jobs cannot share, and a column that is none.
	batch_rows a b a >table.csv
	batch 64 table.csv
	says 'table.csv:2 and table.csv:4 have the same state directory'
	batch_rows a b >table.csv
	batch 64 --report all.json table.csv
	says 'table.csv:2 and table.csv:3 would write the same report'
	sed -i '1s/dest,/dset,/' table.csv
	batch 64 table.csv
	says 'table.csv:1: column 3 is no setting.*did you mean "dest"'
	says 'table.csv:2: there is no destination'
	# The command line.
	batch_rows a >table.csv
	batch 64 --shard 3/2 table.csv
	batch 64 --shard 0/2 table.csv
	batch 64 --shard 1 table.csv
	says 'expected I/N'
	batch 64 -j 0 table.csv
	batch 64 table.csv table.csv
	batch 64 none.csv
	says 'none.csv: No such file'
	batch 64 .
	says 'is a directory'
	: >empty.csv
	batch 64 empty.csv
	says 'its first line names columns'
	batch 73 --failed nowhere/failed.csv table.csv
	ln -s table.csv link
	for file in - . .. nowhere/ /dev/null link; do batch 64 --failed $file table.csv; done
	says '--failed: link is no file'
	batch 64 --folder '{nobody}' table.csv
	says 'table.csv:2: --folder: there is no column for .nobody.'
	check 'nothing was begun' test ! -e state
}

# Passwords in the table: only when asked for, in a closed file, and nowhere else.
test_batch_inline_secrets() {
	batch_mail a b
	chmod 600 table.csv 2>/dev/null || : >table.csv && chmod 600 table.csv
	secret=$(printf '%s' "$PASS" | sed 's/"/""/g')
	cat >table.csv <<-ROWS
		name;source-user;source-host;source-port;source_password;dest;dest-password
		a;$src-a;127.0.0.1;$POP3S;"$secret";$(url_imaps "$src-a-new");"$secret"
		b;$src-b;127.0.0.1;$POP3S;"$secret";$(url_imaps "$src-b-new");not-the-password
	ROWS
	batch 64 table.csv
	says 'column of passwords.*source-password-file.*--allow-inline-secrets'
	chmod 644 table.csv
	batch 64 --allow-inline-secrets table.csv
	says 'others can read .*chmod 600'
	check 'nothing was begun' test ! -e state
	chmod 600 table.csv
	batch 77 --allow-inline-secrets --report '{name}.json' --trace '{name}.trace' -v -v \
		--failed failed.csv table.csv
	batch_line '^a: exit 0: 8 listed'
	batch_line '^b: exit 77: '
	batch_moved a
	check 'the row that failed, as it was' sh -c 'sed -n "1p;3p" table.csv | cmp - failed.csv'
	check 'closed' test "$(stat -c %a failed.csv)" = 600
	half=$(printf '%s' "$PASS" | cut -c 1-6)
	for what in "$half" not-the-password "$(printf %s "$PASS" | openssl base64 -A)"; do
		check 'no password in any output' sh -c \
			'! grep -rqF -e "$1" out err state ./*.json ./*.trace' sh "$what"
	done
	# A bad row of such a table tells nothing of what stands in it.
	printf 'source;dest;dedup;password\npop3s://a@h;archive:d;hunter2;x\n' >table.csv
	batch 64 --allow-inline-secrets table.csv
	says 'table.csv:2: dedup: expected MODE'
	check 'not even there' sh -c '! grep -q hunter2 out err'
}

# As spreadsheets and other programs write them.
test_batch_dialects() {
	batch_mail a b
	{
		printf '\357\273\277Name;Source;Dest\r\n;;\r\n'
		printf '"a";%s;%s\r\n' "$(url_pop3s "$src-a")" "$(url_imaps "$src-a-new")"
	} >sheet.csv
	batch 0 --source-password-file "$RIG/secret" --dest-password-file "$RIG/secret" sheet.csv
	batch_line '^1 job: 1 with exit 0'
	batch_moved a
	# Users and files of passwords, the rest from a profile and options.
	printf 'user\tpw\n%s\tsecret\n' "$src-b" >users.tsv
	cat >shared.conf <<-CONF
		source = pop3s://{user}@127.0.0.1:$POP3S
		source-password-file = $RIG/{pw}
		dest = archive:$W/never
	CONF
	mkdir arc
	batch 0 --profile ./shared.conf --dest 'archive:arc/{name}' users.tsv
	batch_line "^$src-b@127.0.0.1: exit 0: 8 listed"
	check 'an archive of its own' test -d "arc/$src-b@127.0.0.1/segments"
	check 'options win' test ! -e never
	# imapsync's rows and those of Microsoft 365.
	(umask 077 && cat >imapsync.csv <<-ROWS)
		127.0.0.1;$src-a;"a pass ""word\\ 1";127.0.0.1;$src-a-new;"a pass ""word\\ 1";
	ROWS
	batch 0 --allow-inline-secrets --source "pop3s://{source-user}@127.0.0.1:$POP3S" \
		--dest "imaps://{dest-user}@127.0.0.1:$IMAPS" --state "$W/state/a" imapsync.csv
	batch_line 'exit 0: 8 listed = 8 known'
	(umask 077 && cat >m365.csv <<-ROWS)
		EmailAddress,UserName,Password
		$src-b-new@127.0.0.1,$src-b,"a pass ""word\\ 1"
	ROWS
	batch 0 --allow-inline-secrets --source "pop3s://{UserName}@127.0.0.1:$POP3S" \
		--dest "imaps://{EmailAddress}@127.0.0.1:$IMAPS" --dest-password-file "$RIG/secret" m365.csv
	batch_moved b
	printf 'ann@example.org;hunter2;Ann\n' >other.csv
	batch 64 --dest archive:x other.csv
	check 'its fields are not shown' sh -c '! grep -qi "hunter2" out err'
}

# Each job is in one part, the same whatever the other rows are.
test_batch_shards() {
	names=$(seq -f 'n%g' 1 40)
	batch_rows $names | sed "s,127.0.0.1:[0-9]*\(.*127.0.0.1\),127.0.0.1:$(rig_port)\1," >table.csv
	: >all
	for k in 1 2 3; do
		batch 69 -j 8 -q --shard $k/3 --failed $k.csv table.csv
		check 'each has some' test "$(wc -l <$k.csv)" -gt 5
		tail -n +2 $k.csv >>all
	done
	check 'each row once' sh -c 'tail -n +2 table.csv | sort >want; sort all | cmp - want'
	(head -n 1 table.csv && tail -n +2 table.csv | tac | grep -v '^n7,') >other.csv
	batch 69 -j 8 -q --shard 2/3 --failed again.csv other.csv
	check 'the same' sh -c 'grep -v ^n7, 2.csv | sort >want; sort again.csv | cmp - want'
	check 'as popferry(1) says' test "$(cut -d, -f1 2.csv | sed 1d | sort | tr '\n' ' ')" = "$(python3 -c '
def part(s):
    h = 0xcbf29ce484222325
    for c in s.encode(): h = (h ^ c) * 0x100000001b3 & (1 << 64) - 1
    return (h ^ h >> 32) % 3 + 1
print("".join(s + " " for s in sorted("n%d" % k for k in range(1, 41)) if part(s) == 2))')"
}

# A signal: what was not begun is to be tried again, too.
test_batch_stopped() {
	batch_mail a b c
	rig_slow "$POP3S" 20
	batch_rows a b c | sed "s,127.0.0.1:$POP3S,127.0.0.1:$SLOW," >table.csv
	"$POPFERRY" batch --ca-file "$CA" --state "$W/state/{name}" --progress never -j 1 --failed failed.csv \
		table.csv >out 2>err </dev/null &
	child=$!
	waited=0
	until [ -e state/a/journal.sqlite ]; do
		waited=$((waited + 1))
		check 'it begins within a minute' test $waited -lt 600
		sleep 0.1
	done
	kill -TERM $child
	got=0
	wait $child || got=$?
	check "exit $got, not 75" test "$got" -eq 75
	batch_line '^3 jobs: 1 with exit 75, 2 not begun, together exit 75'
	check 'all are to be tried again' cmp table.csv failed.csv
	batch_rows a b c >table.csv
	batch 0 -j 3 table.csv
	batch_moved a b c
}
