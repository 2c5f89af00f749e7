#!/usr/bin/env python3
"""Starts a server program for each connection, as inetd does; Python 3, standard library only.

    inetd.py KIND SECRET LIMIT COMMAND...

Listens on a free port of 127.0.0.1, prints it, and runs COMMAND with the connection as its standard input
and output, at most LIMIT at once. Ends with a SIGTERM, or when its parent is gone, and takes what it started
with it. KIND says who asks for the password, which is the first line of the file SECRET:
    server    COMMAND itself
    pop3      this program, as a POP3 server would; COMMAND then finds the user in $AUTHENTICATED, and the
    imap      same as an IMAP server, with the tag of the login in $IMAPLOGINTAG (both as Courier has it).
              HOME is $HOMES/USER, the folder COMMAND starts in
    saslauthd SECRET is the Unix socket to listen on instead, and each password is right; no COMMAND
    itself    COMMAND listens by itself, is started once, in a session of its own, and restarted never
As root it becomes user 65534 first: nothing here needs more. What COMMAND says goes to the file $LOG.
"""
import base64
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import time

PATIENCE = 60  # seconds for a login
LINE = 4096
KINDS = ("server", "pop3", "imap", "saslauthd", "itself")
NOBODY = 65534


class Gone(Exception):
    pass


def line_of(peer):
    """One line, and not a byte more: the rest is for the server."""
    line = b""
    while not line.endswith(b"\n"):
        byte = peer.recv(1)
        if not byte or len(line) >= LINE:
            raise Gone
        line += byte
    return line.rstrip(b"\r\n").decode("latin-1")


def plain(text):
    """User and password of SASL PLAIN."""
    try:
        return base64.b64decode(text).decode("utf-8").split("\0")[1:]
    except ValueError:
        return ["", ""]


def login_pop3(peer, secret):
    """The user's name and what the server shall find in its environment."""
    peer.sendall(b"+OK Hello there.\r\n")
    user = ""
    while True:
        word, _, rest = line_of(peer).partition(" ")
        word = word.upper()
        if word == "USER":
            user = rest
            peer.sendall(b"+OK Password required.\r\n")
        elif word == "PASS" and user and rest == secret:
            return user, {}
        elif word == "AUTH" and rest.upper() == "PLAIN":
            peer.sendall(b"+ \r\n")
            user, given = plain(line_of(peer))
            if given == secret:
                return user, {}
            peer.sendall(b"-ERR Login failed.\r\n")
        elif word == "CAPA":
            peer.sendall(b"+OK Here's what I can do:\r\nSASL PLAIN\r\nTOP\r\nUSER\r\nPIPELINING\r\nUIDL\r\n.\r\n")
        elif word == "QUIT":
            peer.sendall(b"+OK Better luck next time.\r\n")
            raise Gone
        else:
            peer.sendall(b"-ERR Invalid command.\r\n")


def words_of(peer, text):
    """The arguments of LOGIN: atoms, quoted strings and literals."""
    words = []
    while text:
        quoted = re.match(r'"((?:[^"\\]|\\.)*)" ?', text)
        literal = re.fullmatch(r"\{(\d{1,3})\}", text)
        if literal:
            peer.sendall(b"+ go on\r\n")
            words.append("".join(peer.recv(1).decode("latin-1") for _ in range(int(literal.group(1)))))
            text = line_of(peer).lstrip(" ")
        elif quoted:
            words.append(re.sub(r"\\(.)", r"\1", quoted.group(1)))
            text = text[quoted.end():]
        else:
            word, _, text = text.partition(" ")
            words.append(word)
    return words + ["", ""]


def login_imap(peer, secret):
    features = b"CAPABILITY IMAP4rev1 UIDPLUS NAMESPACE SASL-IR AUTH=PLAIN"
    peer.sendall(b"* OK [" + features + b"] ready.\r\n")
    while True:
        tag, _, rest = line_of(peer).partition(" ")
        word, _, rest = rest.partition(" ")
        word, ok = word.upper(), tag.encode("latin-1") + b" OK done\r\n"
        if word == "CAPABILITY":
            peer.sendall(b"* " + features + b"\r\n" + ok)
        elif word in ("NOOP", "ID"):
            peer.sendall(ok)
        elif word == "LOGOUT":
            peer.sendall(b"* BYE\r\n" + ok)
            raise Gone
        elif word == "LOGIN" or (word == "AUTHENTICATE" and rest.upper().startswith("PLAIN")):
            if word == "LOGIN":
                user, given = words_of(peer, rest)[:2]
            elif " " in rest:
                user, given = plain(rest.split(" ")[1])
            else:
                peer.sendall(b"+ \r\n")
                user, given = plain(line_of(peer))
            if user and given == secret:
                return user, {"IMAPLOGINTAG": tag}
            peer.sendall(tag.encode("latin-1") + b" NO [AUTHENTICATIONFAILED] Login failed.\r\n")
        else:
            peer.sendall(tag.encode("latin-1") + b" BAD not before the login\r\n")


def saslauthd(peer):
    for _ in range(4):
        size = struct.unpack("!H", peer.recv(2, socket.MSG_WAITALL))[0]
        peer.recv(size, socket.MSG_WAITALL)
    peer.sendall(struct.pack("!H", 2) + b"OK")


def attend(kind, secret, peer, command):
    """In a process of its own: what is to be done with a connection."""
    peer.settimeout(PATIENCE)
    if kind == "saslauthd":
        return saslauthd(peer)
    told = dict(os.environ, TCPREMOTEIP="127.0.0.1", TCPREMOTEPORT="0", TCPLOCALIP="127.0.0.1")
    if kind != "server":
        user, more = (login_pop3 if kind == "pop3" else login_imap)(peer, secret)
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", user):
            raise Gone
        home = os.path.join(os.environ["HOMES"], user)
        told.update(more, AUTHENTICATED=user, HOME=home)
        os.chdir(home)
    peer.setblocking(True)
    become(command, told, peer.fileno(), peer.fileno())


def become(command, told, *ends):
    for wanted, end in enumerate(ends):
        os.dup2(end, wanted)
    os.dup2(os.open(os.environ.get("LOG", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execvpe(command[0], command, told)


def watch(command):
    """Until the parent is gone or says so; the command may send signals to its whole session."""
    owner = os.getppid()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        try:
            become(command, dict(os.environ), null, null)
        finally:
            os._exit(127)
    children = {pid}
    try:
        while children and os.getppid() == owner:
            reap(children)
            time.sleep(0.1)
    finally:
        stop(children)


def stop(children):
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for pid in children:
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + 2
        while children and time.monotonic() < deadline:
            reap(children)
            time.sleep(0.01)


def reap(children):
    for pid in list(children):
        if os.waitpid(pid, os.WNOHANG)[0]:
            children.remove(pid)


def step_down():
    """Nothing here has to be root."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def leave(*_):
    raise SystemExit


def main(kind, secret, limit, *command):
    password = ""
    if kind not in ("saslauthd", "itself"):
        with open(secret, encoding="utf-8") as handle:
            password = handle.readline().rstrip("\n")
    step_down()
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    if kind == "itself":
        return watch(list(command))
    if kind == "saslauthd":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(secret)
    else:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    print(secret if kind == "saslauthd" else listener.getsockname()[1], flush=True)
    children, owner = set(), os.getppid()
    try:
        while os.getppid() == owner:
            reap(children)
            ready = len(children) < int(limit) and select.select([listener], [], [], 0.1)[0]
            if not ready:
                if len(children) >= int(limit):
                    time.sleep(0.02)
                continue
            peer = listener.accept()[0]
            if peer.family == socket.AF_INET:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pid = os.fork()
            if pid:
                children.add(pid)
                peer.close()
                continue
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            listener.close()
            try:
                attend(kind, password, peer, list(command))
            except (Gone, OSError, struct.error) as why:
                if str(why):
                    print("inetd.py: %s" % why, file=sys.stderr)
            finally:
                os._exit(0)
    finally:
        stop(children)


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in KINDS:
        sys.exit(__doc__)
    main(*sys.argv[1:])
