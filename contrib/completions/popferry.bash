# Completion of popferry for bash: source it, or install it as
# /usr/share/bash-completion/completions/popferry. What there is to complete
# comes from `popferry --help`, so that it needs no change with the program.
# Unsupported.

_popferry_commands() {
	popferry --help 2>/dev/null | sed -n '/^Usage/,/^General/s/^  \([a-z]\{1,\}\)  *[A-Z].*/\1/p'
}

_popferry_options() {
	popferry "$1" --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]*' | sort -u
}

_popferry_words() {
	case $1 in
	--dedup) echo message-id exact message-id-only none ;;
	--seen) echo status-header all none older-than: ;;
	--date-source) echo received,header received header none ;;
	--codec) echo gz zst zip none ;;
	--format) echo eml zip mboxrd maildir mailbag csv jsonl dat nara ;;
	--sort) echo date relevance seq ;;
	--scan-policy) echo note quarantine refuse ;;
	--rescue) echo none repair wrap archive ;;
	--delete) echo never verified verified: ;;
	--type) echo ec rsa ;;
	--from) echo date retrieved ;;
	--source-tls | --dest-tls) echo implicit starttls none ;;
	--source-tls-min | --dest-tls-min) echo 1.2 1.1 1.0 ;;
	--log-format) echo text json ;;
	--progress) echo auto always never ;;
	esac
}

_popferry_jobs() {
	ls "${XDG_STATE_HOME:-$HOME/.local/state}/popferry" 2>/dev/null
}

_popferry() {
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		words="$(_popferry_commands) --help --version"
	elif [[ $word == -* ]]; then
		words=$(_popferry_options "${COMP_WORDS[1]}")
	elif [[ $COMP_CWORD == 2 && ${COMP_WORDS[1]} =~ ^(status|verify)$ ]]; then
		words=$(_popferry_jobs)
	else
		words=$(_popferry_words "$previous")
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
	((${#COMPREPLY[@]})) && return
	case $previous in
	--state) mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
	*) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
	esac
}

complete -o filenames -F _popferry popferry
