# lib.sh: real servers to test against. POSIX sh; source it, it runs nothing.
#
# A private Dovecot on loopback addresses and free ports, started without
# root or with it, with its own certificates, mail and log, all in one folder
# that goes away at the end. Any user name logs in with the password $PASS
# and finds an empty mailbox; a user "full" has room for 20 kB.
#
#   rig_start          makes $RIG and starts the server. Ends the program when it
#                      cannot: 77 when Dovecot is missing
#   rig_stop           stops it and removes $RIG (kept when KEEP is set). Idempotent;
#                      rig_start traps the usual signals and the end of the shell
#   rig_load USER FILE...   messages (.eml files or folders of them) into the
#                      user's INBOX, in this order, as the server will number them
#   rig_maildir USER [FOLDER]   prints the Maildir: what the server really stores
#   url_pop3s USER [ADDR], url_pop3, url_imaps, url_imap   a URL of that server
#   rig_slow TARGET KBYTES   a proxy on 127.0.0.1 that lets so much through a second, each
#                      way; sets SLOW to its port. Ends with the server
#   rig_port           prints a port nothing listens on
#
# Set by rig_start:
#   RIG       the folder; $RIG/tmp is free for use
#   PASS      the password of every user; $RIG/secret holds it, mode 0600
#   CA        the CA file that signed the good certificate
#   POP3 POP3S IMAP IMAPS   the ports, the same on each address:
#   127.0.0.1  a good certificate, for localhost and 127.0.0.1
#   127.0.0.2  one for another host       127.0.0.3  an expired one
#   127.0.0.4  one of an unknown CA       127.0.0.5  no TLS at all

# shellcheck shell=sh disable=SC2034  # what is set here is for the tests
: "${TOP:?set it to the folder of the checkout}"
E2E=$TOP/tests/e2e
PASS='a pass "word\ 1'
# What stands behind python3, found once (of pyenv and the like it is a script that searches each
# time); without site-packages, which nothing here needs.
PYTHON=$(python3 -S -c 'import sys; print(sys.executable)') || exit 1
python3() { "$PYTHON" -S "$@"; }
RIG='' RIG_PID='' RIG_OWNER=''

# ---- certificates -----------------------------------------------------------------

rig_ca() { # NAME: $RIG/ca/NAME.pem and .key
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
		-keyout "$1.key" -out "$1.pem" -subj "/CN=popferry test $1" \
		-addext basicConstraints=critical,CA:TRUE \
		-addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
}

rig_leaf() { # NAME CN SAN CA [START END]
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-keyout "$1.key" -out "$1.csr" -subj "/CN=$2" 2>/dev/null || return 1
	printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$3" >"$1.ext"
	mkdir -p db && : >db/index.txt && echo 01 >db/serial
	cat >db/cnf <<C
[ca]
default_ca = here
[here]
database = db/index.txt
serial = db/serial
new_certs_dir = db
default_md = sha256
policy = any
[any]
commonName = supplied
C
	openssl ca -batch -notext -config db/cnf -cert "$4.pem" -keyfile "$4.key" \
		-in "$1.csr" -out "$1.pem" -extfile "$1.ext" \
		-startdate "${5:-20200101000000Z}" -enddate "${6:-20491231235959Z}" 2>/dev/null
}

rig_certificates() (
	mkdir -p "$RIG/ca" && cd "$RIG/ca" || exit 1
	rig_ca ca && rig_ca stranger &&
		rig_leaf good localhost 'DNS:localhost,IP:127.0.0.1,IP:127.0.0.5' ca &&
		rig_leaf wronghost mail.example.net DNS:mail.example.net ca &&
		rig_leaf expired localhost DNS:localhost,IP:127.0.0.3 ca 20200101000000Z 20200201000000Z &&
		rig_leaf unknown localhost DNS:localhost,IP:127.0.0.4 stranger
)

# ---- the server -------------------------------------------------------------------

rig_config() {
	cat <<C
base_dir = $RIG/run
state_dir = $RIG/state
log_path = $RIG/dovecot.log
protocols = pop3 imap
listen = 127.0.0.1, 127.0.0.2, 127.0.0.3, 127.0.0.4, 127.0.0.5
ssl = yes
ssl_min_protocol = TLSv1.2
ssl_cert = <$RIG/ca/good.pem
ssl_key = <$RIG/ca/good.key
local 127.0.0.2 {
  ssl_cert = <$RIG/ca/wronghost.pem
  ssl_key = <$RIG/ca/wronghost.key
}
local 127.0.0.3 {
  ssl_cert = <$RIG/ca/expired.pem
  ssl_key = <$RIG/ca/expired.key
}
local 127.0.0.4 {
  ssl_cert = <$RIG/ca/unknown.pem
  ssl_key = <$RIG/ca/unknown.key
}
local 127.0.0.5 {
  ssl = no
}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
auth_cache_size = 0
$RIG_ACCOUNT
mail_location = maildir:~/Maildir
mail_max_userip_connections = 0
first_valid_uid = $RIG_UID
first_valid_gid = $RIG_GID
mail_plugins = quota
plugin {
  quota = maildir:room
}
protocol imap {
  mail_plugins = quota imap_quota
}
namespace inbox {
  inbox = yes
}
passdb {
  driver = passwd-file
  args = username_format=%n $RIG/users
}
userdb {
  driver = passwd-file
  args = username_format=%n $RIG/users
  result_success = return-ok
}
passdb {
  driver = static
  args = password=$RIG_STATIC
}
userdb {
  driver = static
  args = uid=$RIG_UID gid=$RIG_GID home=$RIG/mail/%n allow_all_users=yes
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service pop3-login {
  chroot =
  service_count = 0
  inet_listener pop3 {
    port = $POP3
  }
  inet_listener pop3s {
    port = $POP3S
    ssl = yes
  }
}
service imap-login {
  chroot =
  service_count = 0
  inet_listener imap {
    port = $IMAP
  }
  inet_listener imaps {
    port = $IMAPS
    ssl = yes
  }
}
C
}

rig_port() {
	"$E2E/../ports.py" 1 $$
}

rig_slow() {
	: >"$RIG/slow"
	"$PYTHON" -S "$E2E/mailtool.py" proxy "$1" "$2" "$RIG_PID" >"$RIG/slow" &
	rig_n=0
	until SLOW=$(cat "$RIG/slow") && [ -n "$SLOW" ]; do
		rig_n=$((rig_n + 1))
		[ $rig_n -lt 100 ] || return 1
		sleep 0.1
	done
}

rig_start() {
	command -v /usr/sbin/dovecot >/dev/null && [ -x /usr/lib/dovecot/pop3 ] && [ -x /usr/lib/dovecot/imap ] || {
		echo 'popferry tests: Dovecot is missing; run "make deps" first' >&2
		exit 77
	}
	RIG=$(mktemp -d /tmp/popferry.XXXXXX) || exit 1 # short: holds Unix sockets
	trap rig_stop EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	chmod 755 "$RIG"
	mkdir "$RIG/run" "$RIG/state" "$RIG/mail" "$RIG/tmp"
	RIG_UID=$(id -u) RIG_GID=$(id -g)
	if [ "$RIG_UID" -eq 0 ]; then # mail must not belong to root: any other user will do
		RIG_UID=65534 RIG_GID=65534 RIG_OWNER=65534:65534
		internal=$(id -un 65534) login=$internal
		group=$(getent group 65534 | cut -d: -f1)
	else
		internal=$(id -un) login=$internal group=$(id -gn)
	fi
	RIG_ACCOUNT="default_internal_user = $internal
default_login_user = $login
default_internal_group = $group"
	RIG_STATIC="{PLAIN.b64}$(printf %s "$PASS" | openssl base64 -A)"
	(umask 077 && printf '%s\n' "$PASS" >"$RIG/secret")
	printf 'full:%s:%s:%s::%s/mail/full::userdb_quota_rule=*:bytes=20k\n' \
		"$RIG_STATIC" "$RIG_UID" "$RIG_GID" "$RIG" >"$RIG/users"
	CA=$RIG/ca/ca.pem
	rig_certificates || rig_fail 'cannot make certificates with openssl'
	set -- $("$E2E/../ports.py" 4 $$)
	POP3=$1 POP3S=$2 IMAP=$3 IMAPS=$4
	rig_config >"$RIG/dovecot.conf"
	[ -z "$RIG_OWNER" ] || chown "$RIG_OWNER" "$RIG/mail"
	/usr/sbin/dovecot -F -c "$RIG/dovecot.conf" </dev/null >"$RIG/start.log" 2>&1 &
	RIG_PID=$!
	rig_n=0
	until python3 "$E2E/mailtool.py" greets "$POP3" "$IMAP" 2>/dev/null; do
		rig_n=$((rig_n + 1))
		kill -0 "$RIG_PID" 2>/dev/null && [ $rig_n -lt 100 ] || rig_fail 'Dovecot does not start'
		sleep 0.1
	done
}

rig_fail() {
	echo "popferry tests: $1" >&2
	cat "$RIG/start.log" "$RIG/dovecot.log" >&2
	exit 1
}

rig_stop() {
	[ -n "$RIG" ] || return 0
	if [ -n "$RIG_PID" ]; then
		kill "$RIG_PID" 2>/dev/null
		wait "$RIG_PID" 2>/dev/null
	fi
	if [ -n "${KEEP:-}" ]; then echo "kept: $RIG" >&2; else rm -rf "$RIG"; fi
	RIG='' RIG_PID=''
}

# ---- mail -------------------------------------------------------------------------

rig_load() {
	user=$1
	shift
	python3 "$E2E/mailtool.py" load "$RIG/mail/$user/Maildir" "$@" &&
		{ [ -z "$RIG_OWNER" ] || chown -R "$RIG_OWNER" "$RIG/mail/$user"; }
}

rig_maildir() {
	printf '%s\n' "$RIG/mail/$1/Maildir${2:+/.$2}"
}

url_pop3s() { printf 'pop3s://%s@%s:%s\n' "$1" "${2:-127.0.0.1}" "$POP3S"; }
url_pop3() { printf 'pop3://%s@%s:%s\n' "$1" "${2:-127.0.0.1}" "$POP3"; }
url_imaps() { printf 'imaps://%s@%s:%s\n' "$1" "${2:-127.0.0.1}" "$IMAPS"; }
url_imap() { printf 'imap://%s@%s:%s\n' "$1" "${2:-127.0.0.1}" "$IMAP"; }
