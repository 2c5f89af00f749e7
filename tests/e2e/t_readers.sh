# Programs of others read what archives are made of: every message byte for byte, every bag.
# shellcheck shell=sh

# unpack TOOL CODEC SEGMENT: into un/. 1: it is not here, or does not read these.
unpack() {
	rm -rf un
	mkdir un
	case $1-$2 in
	tar-zip | unzip-gz | unzip-zst | unzip-none | python-zst) return 1 ;;
	tar-zst) tar --zstd -xf "$3" -C un ;;
	tar-*) tar -xf "$3" -C un ;;
	bsdtar-*)
		command -v bsdtar >/dev/null || return 1
		bsdtar -xf "$3" -C un
		;;
	unzip-zip) unzip -q "$3" -d un ;;
	python-zip) python3 -m zipfile -e "$3" un ;;
	python-*) python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall("un")' "$3" ;;
	7z-*)
		command -v 7z >/dev/null || return 1
		[ "$2" != zst ] || 7z i | grep -qw zstd || return 1
		7z x -oun "$3" >/dev/null || return 2
		for inner in un/*.tar; do
			[ ! -f "$inner" ] || { 7z x -oun "$inner" >/dev/null && rm "$inner"; }
		done
		;;
	esac
}

test_other_programs_read_each_codec() {
	read_by=0 least=9 codecs='gz zst zip none'
	[ -n "${FULL:-}" ] || codecs='gz zip' least=5
	n=$(rig_load "$src" "$DATA/odd")
	for codec in $codecs; do
		copy 0 "$(url_pop3s "$src")" "archive:arc-$codec" --codec $codec \
			--state "$W/state-$codec" --folder '100%% of/it'
		pf 0 list arc-$codec --log-format json
		sed 's/.*"sha256":"\([0-9a-f]*\)".*/\1/' out | sort >want
		check 'all are listed' test "$(wc -l <want)" -eq "$n"
		for tool in tar bsdtar python 7z unzip; do
			got=0
			unpack $tool $codec arc-$codec/segments/*-000001.[tz]* || got=$?
			[ $got -ne 1 ] || continue
			check "$tool reads $codec" test $got -eq 0
			find un -path '*/data/eml/*' -name '*.eml' -exec sha256sum {} + | cut -d' ' -f1 | sort >got
			check "$tool has them all" cmp got want
			python3 "$E2E/bagit.py" un/arc-$codec-000001
			is_a_mailbag un/arc-$codec-000001
			read_by=$((read_by + 1))
		done
	done
	check "read $read_by times" test $read_by -ge $least
}

# What checks the bags finds what is wrong with one.
test_a_broken_bag_is_none() {
	rig_load "$src" "$DATA/twice"
	copy 0 "$(url_pop3s "$src")" archive:arc
	tar -xf arc/segments/*.tar.gz
	python3 "$E2E/bagit.py" arc-000001
	chmod -R u+w arc-000001
	one=$(cd arc-000001 && find data -name '*.eml' | head -n 1)
	for harm in 'echo x >>"$one"' 'echo x >data/more' 'echo x >more' 'rm "$one"' \
		'echo nothing >>bag-info.txt' 'sed -i "s/^Payload-Oxum: ./&9/" bag-info.txt' \
		'sed -i "s,  data,  ./data," manifest-sha256.txt' 'sed -i 2d manifest-sha256.txt' \
		'rm tagmanifest-sha256.txt' 'ln -s x data/link' 'echo "BagIt-Version: 0.97" >bagit.txt' \
		'sed -i "2p" manifest-sha256.txt' 'echo "http://x 1 data/x" >fetch.txt'; do
		rm -rf broken
		cp -R arc-000001 broken
		(cd broken && eval "$harm")
		# Where its own sums would tell, they are made anew.
		case $harm in
		*manifest* | *BagIt* | *bag-info*)
			[ ! -f broken/tagmanifest-sha256.txt ] ||
				(cd broken && find . -type f ! -path './data/*' ! -name 'tagmanifest*' -printf '%P\n' |
					xargs sha256sum >tagmanifest-sha256.txt)
			;;
		esac
		check "$harm is found" sh -c '! python3 "$0" broken' "$E2E/bagit.py"
	done
}
