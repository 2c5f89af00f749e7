# Mail from the wild, when make was given CORPUS=DIR.
# shellcheck shell=sh

# ferry_corpus SET: to an archive and IMAP in one pass; each byte and each message is compared.
ferry_corpus() {
	[ -n "${CORPUS:-}" ] || skip 'no CORPUS=DIR given'
	[ -f "$CORPUS/$1.tar.zst" ] || skip "$CORPUS has no $1.tar.zst"
	python3 "$CORPUS/load-maildir.py" --skip-empty "$CORPUS/$1.tar.zst" "$(rig_maildir "$src")"
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
	ferry_corpus real
}

test_corpus_torture() {
	ferry_corpus torture
}
