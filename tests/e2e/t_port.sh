# A URL whose port is that of another scheme.
# shellcheck shell=sh

test_port() {
	for url in "$src@127.0.0.9:995" "$src@127.0.0.9:110"; do
		rm -rf state arc
		copy 69 "pop3://$url" archive:arc
		case $url in
		*995) says 'warn tls-port.*port 995.*pop3s://' ;;
		*) check 'the right port is not warned of' sh -c '! grep tls-port err' ;;
		esac
		copy 69 "pop3s://$url" archive:arc
		check 'nor TLS' sh -c '! grep tls-port err'
	done
	rig_load "$src" "$DATA/twice"
	copy 69 "$(url_pop3s "$src")" "imap://$dst@127.0.0.9:993"
	says 'warn tls-port.*port 993.*imaps://'
	# Plain text where TLS was expected is told at once, with what to do.
	copy 69 "pop3s://$src@127.0.0.1:$POP3" archive:arc
	says 'speaks no TLS from the first byte \(it said "\+OK.*use pop3://'
}
