# What the source looks like afterwards.
# shellcheck shell=sh

# seen: how many of the source's messages carry the mark of having been read.
seen() { find "$(rig_maildir "$src")" -type f -name '*:2,*S*' | wc -l; }

test_mail_stays_unseen() {
	n=$(rig_load "$src" "$DATA/twice")
	copy 0 "$(url_pop3s "$src")" archive:arc --trace trace
	counts listed="$n" failed=0
	check 'RSET was sent' grep -q 'C: RSET' trace
	check 'nothing is marked as read' test "$(seen)" -eq 0
	copy 0 "$(url_pop3s "$src")" archive:arc
	check 'nor by a run that fetches nothing' test "$(seen)" -eq 0
}

test_without_reset_it_does_not() {
	n=$(rig_load "$src" "$DATA/twice")
	cat >"$W/job.conf" <<-EOF
		source = $(url_pop3s "$src")
		dest = archive:$W/arc
		source-password-file = $RIG/secret
		ca-file = $CA
		state = $W/state
		[pop3]
		rset = no
	EOF
	pf 0 run "$W/job.conf" --progress never
	check 'all are marked as read by the server' test "$(seen)" -eq "$n"
}

# A directory that cannot be read (too deep) counts as failed, until a run can read it.
test_unreadable_directory_is_not_failed_for_ever() {
	deep=$(printf 'd/%.0s' $(seq 80))
	mkdir -p "$W/mail/$deep"
	printf 'From: a@b\n\none\n' >"$W/mail/one.eml"
	printf 'From: a@b\n\ntwo\n' >"$W/mail/$deep/two.eml"
	cat >"$W/job.conf" <<-EOF
		source = eml:$W/mail
		dest = archive:$W/arc
		state = $W/state
	EOF
	pf 2 run "$W/job.conf" --progress never
	pf 0 status "$W/job.conf"
	check 'status tells what failed, and where' grep -q 'd/d/.* cannot be read' "$W/out"
	mv "$W/mail/${deep}two.eml" "$W/mail/two.eml"
	rm -r "$W/mail/d"
	pf 0 run "$W/job.conf" --progress never
	pf 0 status "$W/job.conf"
	check 'and no more when it was read' sh -c '! grep -q "cannot be read" "$1"' sh "$W/out"
	check 'nothing is failed' grep -q ' 0 failed' "$W/out"
}
