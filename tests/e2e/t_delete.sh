# Deleting at the source: only what was read back from every destination.
# shellcheck shell=sh

left() { # N: so many are in the maildrop
	check "$1 left at the source" test "$(find "$(rig_maildir "$src")/cur" -type f | wc -l)" -eq "$1"
}

expunge() { # USER N: message N of the INBOX, by IMAP
	python3 - "$IMAP" "$1" "$RIG/secret" "$2" <<'P'
import imaplib, sys
box = imaplib.IMAP4("127.0.0.5", int(sys.argv[1]))
box.login(sys.argv[2], open(sys.argv[3]).readline().rstrip("\n"))
box.select("INBOX")
box.store(sys.argv[4], "+FLAGS", "\\Deleted")
box.expunge()
box.logout()
P
}

test_delete_what_is_verified() {
	n=$(rig_load "$src" "$DATA/odd")
	cp -a "$(rig_maildir "$src")" before
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --delete verified --dry-run
	check 'all may go' grep -q ": at most $n would be deleted at the source, once they are verified" out
	left "$n"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc
	left "$n"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --delete verified --dry-run
	left "$n"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --delete verified:1d
	left "$n"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --delete verified --max-delete 1
	counts deleted=1
	left $((n - 1))
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --delete verified
	says 'deleted at the source'
	python3 "$TOOL" uploaded before "$(rig_maildir "$dst")"
	python3 "$TOOL" archive-has before arc
	# What is odd about a message keeps it there; the report says so.
	kept=$(find "$(rig_maildir "$src")/cur" -type f | wc -l)
	check 'nearly all are gone' test "$kept" -lt $((n / 2))
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --delete verified
	counts stored=0 known="$kept" deleted=0
	pf 0 verify "$W/state" "$(url_imaps "$dst")" archive:arc --ca-file "$CA" --dest-password-file "$RIG/secret"
	says "$n verified, 0 changed"
}

test_delete_nothing_from_one_mailbox() {
	n=$(rig_load "$src" "$DATA/twice")
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$src")"
	copy 2 "$(url_pop3s "$src")" "$(url_imaps "$src")" --delete verified
	says 'are both one mailbox'
	counts deleted=1
	left $((n - 1))
	check 'that one is kept' test -s "$(echo "$W"/state/kept-*.eml)"
	copy 2 "$(url_pop3s "$src")" "$(url_imaps "$src")" --delete verified
	left $((n - 2))
	# A timer's runs do not empty it one by one.
	copy 2 "$(url_pop3s "$src")" "$(url_imaps "$src")" --delete verified
	says 'nothing is deleted any more'
	counts deleted=0
	left $((n - 2))
}

test_delete_nothing_that_is_not_there() {
	n=$(rig_load "$src" "$DATA/twice")
	cp -a "$(rig_maildir "$src")" before
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --dedup none
	expunge "$dst" 2
	file=$(find "$(rig_maildir "$dst")/cur" "$(rig_maildir "$dst")/new" -type f | sort | tail -n 1)
	sed -i 's/[Ss]ubject: ./Subject: !/' "$file"
	rm -f "$(rig_maildir "$dst")"/dovecot.index.cache
	pf 65 verify "$W/state" "$(url_imaps "$dst")" --ca-file "$CA" --dest-password-file "$RIG/secret"
	says 'gone-there'
	says 'changed-there'
	says '1 changed, 1 missing'
	copy 2 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --dedup none --delete verified
	counts deleted=$((n - 2))
	left 2
	# Deleted there by its reader: it is not sent again.
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" --dedup none
	check 'not sent again' test "$(find "$(rig_maildir "$dst")/cur" "$(rig_maildir "$dst")/new" -type f | wc -l)" -eq $((n - 1))
}

test_verify_a_job() {
	n=$(rig_load "$src" "$DATA/odd")
	pf 64 verify "$W"/nothing.conf
	copy 0 "$(url_pop3s "$src")" archive:arc
	pf 0 verify "$W/state"
	says "$n verified"
	pf 0 verify arc
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc
	pf 64 verify "$W/state"
	says 'name it as for copy'
	cat >job.conf <<C
source = $(url_pop3s "$src")
dest = $(url_imaps "$dst")
dest = archive:$W/arc
dest-password-file = $RIG/secret
ca-file = $CA
state = $W/state
C
	pf 0 verify --log-format json --report "$W/verdict" job.conf
	says '"good":true'
	grep -q "\"verified\":$n,\"changed\":0,\"missing\":0,\"unknown\":0" "$W/verdict"
	chmod -R u+w arc
	rm -rf arc
	pf 65 verify job.conf
	check 'nothing is made' test ! -e arc
}
