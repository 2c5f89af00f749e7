#!/usr/bin/env -S python3 -B
"""memory.py: how much memory a listed message takes.

The environment (or `make bench-memory NAME=VALUE`):
  ONLY="plan zst"       these jobs
  SIZES="100000 400000" runs of so many messages are compared

The peak of the resident memory of a first run of many messages, less that of one of fewer,
by the messages that it has more: bytes a message, without all that does not grow with
them. A figure over its limit is an error. What a busy machine does to it is little: a
queue that is fuller when the peak comes.

The messages are made up as they are asked for, by servers that keep nothing; no two are
equal. A UIDL has 16 characters.

  plan      listing and planning (--dry-run)
  null, zst, imap
  again     a run that finds nothing new
"""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

LIMITS = {"plan": 115, "null": 130, "zst": 135, "imap": 150, "again": 115}
PIECE = 1 << 18
CAPABLE = b"IMAP4rev1 LITERAL+ MULTIAPPEND UIDPLUS"


class Lines:
    """What comes from a client."""

    def __init__(self, peer):
        self.peer, self.got, self.at = peer, bytearray(), 0

    def more(self):
        if self.at > PIECE:
            del self.got[:self.at]
            self.at = 0
        new = self.peer.recv(PIECE)
        if not new:
            raise ConnectionError
        self.got += new

    def line(self):
        while True:
            end = self.got.find(b"\r\n", self.at)
            if end >= 0:
                line, self.at = bytes(self.got[self.at:end]), end + 2
                return line
            self.more()

    def skip(self, n):
        while len(self.got) - self.at < n:
            self.more()
        self.at += n

    def pending(self):
        return self.got.find(b"\r\n", self.at) >= 0


def serve(session, *rest):
    """A port where each who comes gets a session."""
    listener = socket.create_server(("127.0.0.1", 0))

    def guard(peer):
        try:
            session(peer, Lines(peer), *rest)
        except OSError:
            pass
        peer.close()

    def accept():
        while True:
            peer, _ = listener.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=guard, args=(peer,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


# ---- POP3 ----

def message(i):
    return (b"From: a%d@example.com\r\nTo: b@example.com\r\nSubject: %d of many\r\n"
            b"Date: Mon, 23 Nov 2020 10:%02d:%02d +0000\r\nMessage-ID: <%d.%x@example.com>\r\n\r\n"
            b"This is the text of message %d, and not much of it.\r\n"
            % (i % 97, i, i // 60 % 60, i % 60, i, i * 7919, i))


def uidl(i):
    return b"%016x" % (i * 0x9E3779B97F4A7C15 & (1 << 64) - 1)


def rows(peer, count, row):
    peer.sendall(b"+OK\r\n")
    for first in range(1, count + 1, 5000):
        peer.sendall(b"".join(row(i) for i in range(first, min(first + 5000, count + 1))))
    peer.sendall(b".\r\n")


def pop3(peer, lines, count):
    said = []
    peer.sendall(b"+OK ready\r\n")
    while True:
        words = lines.line().split()
        verb = words[0].upper()
        if verb == b"RETR":
            said.append(b"+OK\r\n" + message(int(words[1])) + b".\r\n")
        elif verb == b"CAPA":
            said.append(b"+OK\r\nUSER\r\nUIDL\r\nPIPELINING\r\nEXPIRE NEVER\r\n.\r\n")
        elif verb not in (b"LIST", b"UIDL"):
            said.append(b"+OK %d %d\r\n" % (count, count * 300))
        if verb in (b"LIST", b"UIDL", b"QUIT") or len(said) > 500 or not lines.pending():
            peer.sendall(b"".join(said))
            said = []
        if verb == b"LIST":
            rows(peer, count, lambda i: b"%d %d\r\n" % (i, len(message(i))))
        elif verb == b"UIDL":
            rows(peer, count, lambda i: b"%d %s\r\n" % (i, uidl(i)))
        elif verb == b"QUIT":
            return


# ---- IMAP ----

def literals(peer, lines, line):
    """Past them and the rest of the command; how many there were."""
    n = 0
    while True:
        found = re.search(rb"\{(\d+)(\+?)\}$", line)
        if not found:
            return n
        if not found[2]:
            peer.sendall(b"+ go on\r\n")
        lines.skip(int(found[1]))
        line = lines.line()
        n += 1


def imap(peer, lines, store):
    peer.sendall(b"* OK [CAPABILITY %s] ready\r\n" % CAPABLE)
    while True:
        line = lines.line()
        tag, verb = line.split()[:2]
        verb, said, code = verb.upper(), b"", b""
        n = literals(peer, lines, line)
        if verb == b"APPEND":
            first, store["next"] = store["next"], store["next"] + n
            code = b"[APPENDUID 7 %d:%d] " % (first, first + n - 1) if n > 1 else b"[APPENDUID 7 %d] " % first
            said = b"* %d EXISTS\r\n" % (store["next"] - 1)
        elif verb in (b"SELECT", b"EXAMINE"):
            said = (b"* %d EXISTS\r\n* FLAGS (\\Seen \\Answered \\Flagged \\Draft \\Deleted)\r\n"
                    b"* OK [PERMANENTFLAGS (\\Seen \\Answered \\Flagged \\Draft \\Deleted \\*)] flags\r\n"
                    b"* OK [UIDVALIDITY 7] valid\r\n* OK [UIDNEXT %d] next\r\n" % (store["next"] - 1, store["next"]))
            code = b"[READ-WRITE] "
        elif verb == b"CAPABILITY":
            said = b"* CAPABILITY %s\r\n" % CAPABLE
        elif verb == b"LIST":
            said = b'* LIST () "/" INBOX\r\n'
        elif verb == b"LOGOUT":
            said = b"* BYE\r\n"
        peer.sendall(b"%s%s OK %sdone\r\n" % (said, tag, code))
        if verb == b"LOGOUT":
            return


# ---- the runs ----

def peak(argv, where):
    """KiB."""
    with open(os.path.join(where, "log"), "wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        with open(os.path.join(where, "log"), errors="replace", encoding="utf-8") as log:
            raise RuntimeError("exit %d: %s" % (process.returncode, log.read()[-600:]))
    return usage.ru_maxrss


def run(popferry, job, count):
    where = tempfile.mkdtemp(prefix="popferry-memory.", dir=os.environ.get("BENCH_DIR") or
                             ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    secret, report = os.path.join(where, "secret"), os.path.join(where, "report")
    try:
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as handle:
            handle.write("secret\n")
        to = {"zst": "archive:" + os.path.join(where, "archive")}.get(job, "null:")
        if job == "imap":
            to = "imap://u@127.0.0.1:%d/INBOX" % serve(imap, {"next": 1})
        argv = [popferry, "copy", "-q", "--state", os.path.join(where, "state"), "--progress", "never", "--report", report,
                "pop3://u@127.0.0.1:%d" % serve(pop3, count), to, "--source-password-file", secret, "--source-tls", "none"]
        argv += {"plan": ["--dry-run"], "zst": ["--codec", "zst"],
                 "imap": ["--dest-tls", "none", "--dest-password-file", secret]}.get(job, [])
        if job == "again":
            peak(argv, where)
        kib = peak(argv, where)
        with open(report, encoding="utf-8") as handle:
            stored = json.load(handle)["stored"]
        if stored != (0 if job in ("plan", "again") else count):
            raise RuntimeError("%s: %d of %d messages were stored" % (job, stored, count))
        return kib
    finally:
        shutil.rmtree(where, ignore_errors=True)


def main():
    popferry = os.path.realpath(os.environ.get("POPFERRY") or "build/popferry")
    few, many = map(int, (os.environ.get("SIZES") or "100000 400000").split())
    over = []
    print("%-6s %14s %14s %12s %6s" % ("job", "KiB, %d" % few, "KiB, %d" % many, "a message", "limit"), flush=True)
    for job in (os.environ.get("ONLY") or " ".join(LIMITS)).split():
        first, second = run(popferry, job, few), run(popferry, job, many)
        each = (second - first) * 1024 / (many - few)
        print("%-6s %14d %14d %12.1f %6d%s" % (job, first, second, each, LIMITS[job], "  OVER" if each > LIMITS[job] else ""),
              flush=True)
        if each > LIMITS[job]:
            over.append(job)
    if over:
        sys.exit("bench-memory: over the limit: %s" % ", ".join(over))


if __name__ == "__main__":
    main()
