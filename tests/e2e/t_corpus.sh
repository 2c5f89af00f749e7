# Mail from the wild, when make was given CORPUS=DIR.
# shellcheck shell=sh

# ferry_corpus SET N: to an archive and IMAP in one pass; each byte and each message is
# compared. Each Nth message is taken, and with FULL=1 all.
ferry_corpus() {
	[ -n "${CORPUS:-}" ] || skip 'no CORPUS=DIR given'
	[ -f "$CORPUS/$1.tar.zst" ] || skip "$CORPUS has no $1.tar.zst"
	python3 "$CORPUS/load-maildir.py" --skip-empty "$CORPUS/$1.tar.zst" "$(rig_maildir "$src")"
	[ -n "${FULL:-}" ] || find "$(rig_maildir "$src")" -type f | sort |
		awk -v each="$2" 'NR % each' | tr '\n' '\0' | xargs -0 rm -f
	[ -z "$RIG_OWNER" ] || chown -R "$RIG_OWNER" "$RIG/mail/$src"
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --dedup none --codec zst
	cat out
	counts failed=0 duplicate=0
	arrived_in_archive arc
	arrived_in_imap
	copy 0 "$(url_pop3s "$src")" "$(url_imaps "$dst")" archive:arc --dedup none --codec zst
	counts stored=0
	pf 0 verify arc
	rm -rf "$RIG/mail/$src" "$RIG/mail/$dst" arc
}

test_corpus_real() {
	ferry_corpus real 5
}

test_corpus_torture() {
	ferry_corpus torture 1
}
