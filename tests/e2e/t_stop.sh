# Stopped in any way at any moment, and started again.
# shellcheck shell=sh

# in_background ARG...: copy, as its own process, so that $! is the program.
in_background() {
	"$POPFERRY" copy --source-password-file "$RIG/secret" --dest-password-file "$RIG/secret" \
		--ca-file "$CA" --state "$W/state" --report "$W/report.json" --progress never "$@" \
		</dev/null >"$W/out" 2>"$W/err" &
	child=$!
}

# some_of N: waits until IMAP holds N messages of this test.
some_of() {
	waited=0
	until [ "$(find "$(rig_maildir "$dst")/cur" "$(rig_maildir "$dst")/new" -type f 2>/dev/null | wc -l)" -ge "$1" ]; do
		waited=$((waited + 1))
		check "$1 messages arrive within a minute" test $waited -lt 600
		check 'it runs until then' kill -0 $child
		sleep 0.1
	done
}

test_kill_9_at_any_moment() {
	python3 "$DATA/make" mail 600 --duplicates 0 >/dev/null
	n=$(rig_load "$src" mail)
	rig_slow "$POP3S" 1500
	kills=0 rounds=0
	while [ $kills -lt "${KILLS:-4}" ]; do
		rounds=$((rounds + 1))
		in_background "pop3s://$src@127.0.0.1:$SLOW" "$(url_imaps "$dst")" archive:arc
		sleep "$(python3 -c "import random; print(random.Random($rounds + ${SEED:-0}).uniform(0.05, 1.3))")"
		if kill -9 $child 2>/dev/null; then kills=$((kills + 1)); fi
		wait $child || continue
		break # it got through
	done
	echo "$kills kills in $rounds rounds"
	check 'it was killed at least twice' test $kills -ge 2
	copy 0 "pop3s://$src@127.0.0.1:$SLOW" "$(url_imaps "$dst")" archive:arc
	counts listed="$n" failed=0
	arrived_in_imap
	arrived_in_archive arc
	pf 0 verify arc
	copy 0 "pop3s://$src@127.0.0.1:$SLOW" "$(url_imaps "$dst")" archive:arc
	counts stored=0 known="$n"
}

test_killed_and_the_journal_lost() {
	python3 "$DATA/make" mail 200 --duplicates 0 >/dev/null
	rig_load "$src" mail
	rig_slow "$POP3S" 600
	in_background "pop3s://$src@127.0.0.1:$SLOW" "$(url_imaps "$dst")"
	some_of 20
	kill -9 $child
	wait $child || true
	rm -rf state
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")"
	arrived_in_imap
}

# stopped_by SIGNAL: in its middle, within 10 s, with 75, and the next run ends the work.
stopped_by() {
	python3 "$DATA/make" mail 300 --duplicates 0 >/dev/null
	n=$(rig_load "$src" mail)
	rig_slow "$POP3S" 400
	in_background "pop3s://$src@127.0.0.1:$SLOW" "$(url_imaps "$dst")" archive:arc
	some_of 10
	began=$(date +%s)
	kill -"$1" $child
	got=0
	wait $child || got=$?
	check "exit $got, not 75" test "$got" -eq 75
	check 'within 10 s' test $(($(date +%s) - began)) -le 10
	counts exit=75 listed="$n"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc
	check 'what was done before is known' sh -c "! grep -q '\"known\":0,' report.json"
	arrived_in_imap
	arrived_in_archive arc
}

test_sigterm_ends_in_good_order() {
	stopped_by TERM
}

test_sigint_ends_in_good_order() {
	stopped_by INT
}

test_the_state_can_be_asked_while_it_runs() {
	python3 "$DATA/make" mail 200 >/dev/null
	rig_load "$src" mail
	rig_slow "$POP3S" 400
	in_background "pop3s://$src@127.0.0.1:$SLOW" "$(url_imaps "$dst")"
	some_of 10
	got=0
	"$POPFERRY" status state >status 2>&1 || got=$?
	cat status
	check "status ends with $got" test $got -eq 0
	kill -9 $child
	wait $child || true
	"$POPFERRY" status state
}

# Nothing is at work yet: a passphrase is waited for.
test_sigterm_before_anything_begins() {
	printf 'word\n' >pass && chmod 600 pass
	pf 0 keygen seal.key seal.pem --key-password-file pass
	in_background "$(url_pop3s "$src")" archive:arc --sign-key seal.key --sign-cert seal.pem \
		--sign-password-command 'sleep 3'
	sleep 1
	kill -TERM $child
	rc=0
	wait $child || rc=$?
	check "exit $rc, not 75" test $rc -eq 75
	check 'nothing was begun' test ! -e arc
}

# stopped_soon WHERE: what runs in the background waits there; it is told to stop.
stopped_soon() {
	sleep 1
	began=$(date +%s)
	kill -TERM $child
	rc=0
	wait $child || rc=$?
	check "75 in $1, not $rc" test $rc -eq 75
	check 'within 5 s' test $(($(date +%s) - began)) -lt 5
}

# A password command that takes its time is not waited for either.
test_sigterm_while_a_password_is_waited_for() {
	"$POPFERRY" copy --source-password-command 'sleep 30' --ca-file "$CA" --state state \
		--report report.json "$(url_pop3s "$src")" archive:arc </dev/null >out 2>err &
	child=$!
	stopped_soon 'a password command'
	counts exit=75
}

# All is copied; a timestamp is waited for, and then the report is written.
test_sigterm_when_all_is_done() {
	rig_load "$src" "$DATA/odd/plain.eml"
	python3 -c '
import socket, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(9)
print(s.getsockname()[1], flush=True)
c = s.accept()[0]
open("asked", "w").close()
time.sleep(2)' >port &
	until [ -s port ]; do sleep 0.1; done
	in_background "$(url_pop3s "$src")" archive:arc --tsa "http://127.0.0.1:$(cat port)/"
	until [ -e asked ]; do sleep 0.1; done
	kill -TERM $child
	rc=0
	wait $child || rc=$?
	check "exit $rc, not 0" test $rc -eq 0
	counts exit=0 stored=1
}

# A server that takes the connection and says nothing: a stop ends the wait, and is told.
test_sigterm_while_a_server_is_silent() {
	python3 -c '
import socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(9)
print(s.getsockname()[1], flush=True)
time.sleep(30)' >port &
	silent=$!
	until [ -s port ]; do sleep 0.1; done
	for at in source dest; do
		rm -f report.json
		if [ $at = source ]; then
			in_background "pop3s://$src@127.0.0.1:$(cat port)" "$(url_imaps "$dst")"
		else
			rig_load "$src" "$DATA/odd/plain.eml"
			in_background "$(url_pop3s "$src")" "imaps://$dst@127.0.0.1:$(cat port)"
		fi
		stopped_soon "a silent $at"
		check 'with a report' grep -q '"exit":75' report.json
	done
	kill $silent
}
