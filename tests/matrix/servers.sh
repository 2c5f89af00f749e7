# servers.sh: the servers of the matrix. POSIX sh; source it after ../e2e/lib.sh.
#
# All of them run on free ports of the loopback interface, without root (as root
# they become user 65534), out of $RIG, and are stopped by the PIDs kept in $PIDS.
#   start NAME         starts it. When it cannot be run, returns 1 with the reason
#                      in $WHY
#   stop_all           stops all, the Dovecot of lib.sh too
#   load NAME USER FILE...     messages into a maildrop
#   prepare NAME USER  an account that is to receive mail
#   from NAME USER     sets FROM: the source for popferry, with its options
#   to NAME USER FOLDER        sets TO: the destination
#   port_of NAME pop3|imap, secret_of NAME      of the server without TLS, for mail.py
#
# shellcheck shell=sh disable=SC2034,SC2046,SC2086,SC2153,SC2154
MATRIX=$TOP/tests/matrix
MAIL=$MATRIX/mail.py
PYTHON=$(command -v /usr/bin/python3 || echo python3) # one that starts fast
SOURCES='dovecot cyrus courier mailutils popa3d solid'
DESTS='dovecot cyrus courier mailutils'
PIDS='' WHY=''

begin_servers() {
	rig_start
	trap stop_all EXIT
	CACHE=${MATRIX_CACHE:-$TOP/build/matrix}
	M=$RIG/m
	mkdir -p "$M" "$RIG/homes" "$RIG/private/var/mail" "$RIG/private/var/lib/popa3d" \
		"$RIG/private/etc" "$RIG/spool"
	(umask 077 && echo matrix-secret >"$M/secret" && echo matrix-secret >"$M/known")
	hand_over "$M" "$RIG/homes" "$RIG/private" "$RIG/spool"
	chown "$(id -u)" "$M/secret"
	mkdir -p "$RIG/tmp/home/popferry/profiles"
	# Some greet with a timestamp, so APOP is tried without TLS, but have no passwords for it.
	printf '[pop3]\nauth = user\n' >"$RIG/tmp/home/popferry/profiles/plain-login.conf"
	export HOMES="$RIG/homes" PRIVATE="$RIG/private" SECRET="$M/known"
}

hand_over() {
	[ -z "$RIG_OWNER" ] || chown -R "$RIG_OWNER" "$@"
}

stop_all() {
	[ -z "$PIDS" ] || kill $PIDS 2>/dev/null
	for pid in $PIDS; do wait "$pid" 2>/dev/null; done
	PIDS=''
	rig_stop
}

# Where a server is unpacked, readable for whom it runs as.
unpacked() {
	WHY=$("$MATRIX/fetch" "$1" 2>&1) || return 1
	ROOT=$CACHE/$1/root
	if [ -n "$RIG_OWNER" ] && ! setpriv --reuid 65534 --regid 65534 --clear-groups test -r "$ROOT/usr"; then
		cp -a "$ROOT" "$M/$1.root" && ROOT=$M/$1.root
	fi
	LIBS=$ROOT/usr/lib:$ROOT/usr/lib/x86_64-linux-gnu:$ROOT/lib/x86_64-linux-gnu
}

preload() {
	[ -e "$M/login.so" ] ||
		WHY=$(${CC:-cc} -std=c11 -D_GNU_SOURCE -O1 -fPIC -shared -o "$M/login.so" "$MATRIX/login.c" -ldl 2>&1) || {
		WHY="tests/matrix/login.c cannot be compiled: $WHY"
		return 1
	}
}

# serve PORT-VARIABLE KIND COMMAND...: inetd.py, once it has said its port.
serve() {
	serve_to=$1 serve_kind=$2
	shift 2
	: >"$M/said"
	LOG=$M/$serve_to.log "$PYTHON" "$MATRIX/inetd.py" "$serve_kind" "${SAY:-$M/secret}" 8 "$@" \
		>"$M/said" 2>>"$M/inetd.log" </dev/null &
	PIDS="$PIDS $!"
	[ "$serve_kind" = itself ] || wait_for test -s "$M/said" || {
		WHY="inetd.py does not start: $(tail -n 1 "$M/inetd.log")"
		return 1
	}
	eval "$serve_to=\$(cat \"\$M/said\")"
}

wait_for() {
	wait_n=0
	until "$@" 2>/dev/null; do
		wait_n=$((wait_n + 1))
		[ $wait_n -lt 100 ] || return 1
		sleep 0.1
	done
}

greets() {
	wait_for "$PYTHON" "$TOOL" greets "$@" || {
		WHY="it does not greet on port $*: $(cat "$M"/*.log 2>/dev/null | tail -n 1)"
		return 1
	}
}

start() {
	WHY=''
	case $1 in
	dovecot) return 0 ;; # rig_start did
	esac
	unpacked "$1" && "start_$1"
}

# ---- Cyrus: its own master, with a saslauthd that believes everything -----------------

start_cyrus() {
	name=$(id -un "$RIG_UID") || {
		WHY="user $RIG_UID has no name"
		return 1
	}
	C=$M/cyrus
	CYRUS_BIN=$ROOT/usr/lib/cyrus/bin CYRUS_LIBS=$LIBS
	set -- $("$PYTHON" "$E2E/../ports.py" 2 $$)
	cyrus_pop3=$1 cyrus_imap=$2
	mkdir -p "$C/var" "$C/spool" "$C/run/proc" "$C/run/lock" "$C/run/socket"
	cat >"$C/imapd.conf" <<X
configdirectory: $C/var
proc_path: $C/run/proc
mboxname_lockpath: $C/run/lock
defaultpartition: default
partition-default: $C/spool
cyrus_user: $name
admins: admin
altnamespace: yes
unixhierarchysep: yes
allowplaintext: yes
sasl_pwcheck_method: saslauthd
sasl_mech_list: PLAIN
sasl_saslauthd_path: $C/run/mux
autocreate_quota: 0
autocreate_post: yes
popminpoll: 0
duplicatesuppression: no
lmtpsocket: $C/run/socket/lmtp
idlesocket: $C/run/socket/idle
notifysocket: $C/run/socket/notify
X
	cat >"$C/cyrus.conf" <<X
START {
  recover cmd="$CYRUS_BIN/ctl_cyrusdb -C $C/imapd.conf -r"
}
SERVICES {
  imap cmd="$CYRUS_BIN/imapd -C $C/imapd.conf" listen="127.0.0.1:$cyrus_imap" prefork=0 maxchild=20
  pop3 cmd="$CYRUS_BIN/pop3d -C $C/imapd.conf" listen="127.0.0.1:$cyrus_pop3" prefork=0 maxchild=20
}
EVENTS {
}
X
	hand_over "$C"
	SAY=$C/run/mux
	serve cyrus_login saslauthd || return 1
	SAY=''
	serve cyrus_master itself env CYRUS_USER="$name" LD_LIBRARY_PATH="$LIBS" \
		"$CYRUS_BIN/master" -C "$C/imapd.conf" -M "$C/cyrus.conf" -p "$C/run/pid" -D
	greets "$cyrus_pop3" "$cyrus_imap"
}

as_owner() {
	[ -z "$RIG_OWNER" ] || set -- setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
	"$@"
}

cyrus_tool() {
	tool=$1
	shift
	as_owner env CYRUS_USER="$name" LD_LIBRARY_PATH="$CYRUS_LIBS" "$CYRUS_BIN/$tool" -C "$C/imapd.conf" "$@"
}

# The spool is written, then looked through: so Cyrus serves what it would not take.
load_cyrus() {
	user=$1
	shift
	prepare_cyrus "$user" && folder=$(cyrus_tool mbpath "user/$user") && [ -d "$folder" ] &&
		"$PYTHON" "$MAIL" spool "$folder" "$@" && hand_over "$folder" &&
		cyrus_tool reconstruct "user/$user" >>"$M/reconstruct.log" 2>&1
}

prepare_cyrus() {
	"$PYTHON" "$MAIL" login "$cyrus_imap" "$1" "$M/secret" # the first login makes the INBOX
}

# ---- Courier: the login is inetd.py's, all after it the server's ----------------------

start_courier() {
	preload || return 1
	LIBS=$LIBS:$ROOT/usr/lib/courier-authlib
	serve courier_pop3 pop3 env LD_LIBRARY_PATH="$LIBS" "$ROOT/usr/lib/courier/courier/courierpop3d" Maildir &&
		serve courier_imap imap env LD_LIBRARY_PATH="$LIBS" LD_PRELOAD="$M/login.so" \
			IMAP_CAPABILITY='IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE' \
			IMAP_KEYWORDS=1 IMAP_ACL=1 IMAP_UMASK=022 IMAP_USELOCKS=1 IMAP_MAILBOX_SANITY_CHECK=1 \
			IMAP_TRASHFOLDERNAME=Trash MAILDIRPATH=Maildir SENDMAIL=/bin/false HEADERFROM=X-IMAP-Sender \
			"$ROOT/usr/bin/imapd" Maildir && greets "$courier_pop3" "$courier_imap"
}

load_courier() {
	user=$1
	shift
	"$PYTHON" "$TOOL" load "$RIG/homes/$user/Maildir" "$@" >/dev/null && hand_over "$RIG/homes/$user"
}

prepare_courier() {
	load_courier "$1"
}

# ---- GNU mailutils --------------------------------------------------------------------

# pop3d reads an mbox. imap4d writes Maildirs: with an mbox it forgets messages that
# were appended to the selected folder, though it said OK, when the folder is closed.
start_mailutils() {
	preload || return 1
	for kind in 'pop3d mbox' 'imap4d maildir'; do
		type=${kind#* } kind=${kind% *}
		cat >"$M/$kind.conf" <<X
auth { authentication pam; authorization system; };
mailbox { mail-spool "$RIG/spool"; mailbox-type $type; };
logging { syslog no; };
tcp-wrappers { enable no; };
X
		serve mailutils_$kind server env LD_LIBRARY_PATH="$LIBS" LD_PRELOAD="$M/login.so" \
			"$ROOT/usr/sbin/$kind" --config-file="$M/$kind.conf" -i || return 1
	done
	mailutils_pop3=$mailutils_pop3d mailutils_imap=$mailutils_imap4d
	greets "$mailutils_pop3" "$mailutils_imap"
}

load_mailutils() {
	user=$1
	shift
	mkdir -p "$RIG/homes/$user" && "$PYTHON" "$MAIL" mbox "$RIG/spool/$user" "$@" &&
		hand_over "$RIG/homes/$user" "$RIG/spool/$user"
}

# A new folder gets another UIDVALIDITY when its first session is cut off, so it is not new.
prepare_mailutils() {
	mkdir -p "$RIG/homes/$1" && hand_over "$RIG/homes/$1" &&
		"$PYTHON" "$MAIL" login "$mailutils_imap" "$1" "$M/secret" "$FOLDER"
}

# ---- popa3d: an mbox below /var/mail; solid-pop3d: a Maildir --------------------------

start_popa3d() {
	preload && serve popa3d_pop3 server env LD_LIBRARY_PATH="$LIBS" LD_PRELOAD="$M/login.so" \
		"$ROOT/usr/sbin/popa3d" && greets "$popa3d_pop3"
}

load_popa3d() {
	user=$1
	shift
	"$PYTHON" "$MAIL" mbox "$RIG/private/var/mail/$user" "$@" && hand_over "$RIG/private/var/mail/$user"
}

start_solid() {
	preload || return 1
	cat >"$RIG/private/etc/spop3d.conf" <<'X'
<Global>
	MailDropName "Maildir"
	MailDropType maildir
	AddBulletins no
	LogStatistics no
</Global>
X
	serve solid_pop3 server env LD_LIBRARY_PATH="$LIBS" LD_PRELOAD="$M/login.so" \
		"$ROOT/usr/sbin/solid-pop3d" && greets "$solid_pop3"
}

# It locks a maildrop out when the last line of one message has no end.
load_solid() {
	load_courier "$@" && "$PYTHON" "$MAIL" ended "$RIG/homes/$user/Maildir"
}

# ---- all ------------------------------------------------------------------------------

load() {
	server=$1 user=$2
	shift 2
	case $server in
	dovecot) rig_load "$user" "$@" >/dev/null ;;
	*) "load_$server" "$user" "$@" ;;
	esac
}

prepare() {
	case $1 in
	dovecot) ;;
	*) "prepare_$1" "$2" ;;
	esac
}

# What popferry is told, and what mail.py is.
secret_of() {
	if [ "$1" = dovecot ]; then echo "$RIG/secret"; else echo "$M/secret"; fi
}

port_of() { # NAME pop3|imap
	case $1-$2 in
	dovecot-pop3) echo "$POP3" ;;
	dovecot-imap) echo "$IMAP" ;;
	*) eval "echo \$$1_$2" ;;
	esac
}

# Where mail.py has to look instead of asking the server.
maildir_of() { # NAME USER
	case $1 in
	mailutils) echo "$RIG/homes/$2/$FOLDER" ;;
	esac
}

from() { # NAME USER
	FROM="--source-password-file $(secret_of "$1")"
	if [ "$1" = dovecot ]; then
		FROM="$FROM --ca-file $CA $(url_pop3s "$2")"
	else
		FROM="$FROM --source-profile plain-login --source-tls none pop3://$2@127.0.0.1:$(port_of "$1" pop3)"
	fi
}

to() { # NAME USER FOLDER
	TO="--dest-password-file $(secret_of "$1")"
	if [ "$1" = dovecot ]; then
		TO="$TO --ca-file $CA $(url_imaps "$2")/$3"
	else
		TO="$TO --dest-tls none imap://$2@127.0.0.1:$(port_of "$1" imap)/$3"
	fi
}
