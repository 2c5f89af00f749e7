# What is said to people of one message says so.
# shellcheck shell=sh

# one COMMAND...: it ends with 0, counts one of something, and not as if there were more.
one() {
	ended=0
	"$@" >said 2>&1 || ended=$?
	cat said
	check "$* ends with 0" test "$ended" = 0
	check "$* counts one" grep -Eq '(^|[^0-9.])1 (message|segment|seal|job)([^s]|$)' said
	check "$* counts one as one" sh -c \
		'! grep -E "(^|[^0-9.])1 ((sealed|encrypted) )?(message|segment|seal|row|job|index)e?s( |,|:|$)" said'
}

test_one() {
	mkdir box
	printf 'From: a@b\nMessage-ID: <1@x>\nSubject: one\n\nHello\n' >box/1.eml
	rig_load "$src" box
	copy 0 "$(url_pop3s "$src")" archive:arc
	check 'no more is told than was asked for' sh -c '! grep listed err'
	copy 0 "$(url_pop3s "$src")" archive:arc -v
	says '^info listed job=.* messages=1 todo=0 repeated-uidl=0 unreadable-rows=0$'
	one "$POPFERRY" status state
	one "$POPFERRY" verify arc
	one "$POPFERRY" recover arc
	one "$POPFERRY" stats arc
	one "$POPFERRY" report --verify --html r.html arc
	check 'so does the page' grep -q ': 1 message and 1 seal good' r.html
	one "$POPFERRY" export --format mboxrd arc out.mbox
	one "$POPFERRY" search --rebuild arc
	one "$POPFERRY" seal arc
	one sh arc/VERIFY.sh arc
	one "$POPFERRY" probe --source-password-file "$RIG/secret" --ca-file "$CA" "$(url_pop3s "$src")"
}
