#!/usr/bin/env python3
"""What the matrix needs to do with mail, without popferry; Python 3, standard library only.

    mail.py mbox FILE MESSAGE...         .eml files (or folders of them) appended to an mbox
    mail.py spool DIR MESSAGE...         the same as 1. 2. 3. with CRLF, as Cyrus keeps them
    mail.py ended MAILDIR                gives each file a last line end that has none
    mail.py pick N DIR [PART OF]         N messages of a folder of them, evenly spread (0: all), one a line; or
                                         every so-many-th of these
    mail.py login PORT USER SECRET [FOLDER]  logs in to IMAP and out again; makes the folder, too
    mail.py served PORT USER SECRET      everything RETR gives, as JSON lines: number, uidl, size and digests
    mail.py count PORT USER SECRET FOLDER    how many messages an IMAP folder holds; 0 when there is none
    mail.py arrived SERVED REPORT SERVER PORT USER SECRET FOLDER [MAILDIR [twice]]
                                         the folder of this kind of SERVER holds each message of SERVED, the
                                         output of `served`, as often as it was served, less the failures of
                                         popferry's REPORT; and nothing else. The report balances, too. With a MAILDIR
                                         the messages are read from there, for what FETCH shows is less. With
                                         `twice` some may be there more often; it prints how many are too many
    mail.py values REPORT NAME...        numbers of a report, `failures` being how many there are

Messages are compared as far as the server kept them: see `kept`.
Exit 1 and one line a difference on standard output when something is not so.
"""
import collections
import json
import os
import re
import socket
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import mailtool  # noqa: E402

TIMEOUT = 60
CHUNK = 50


# ---- what servers make of messages ----------------------------------------------------------


def split(data):
    """Header and the rest, line ends being LF."""
    found = re.search(rb"(?:\A|\n)\n", data)
    return (data[:found.end()], data[found.end():]) if found else (data, b"")


def cyrus(data):
    """8-bit bytes in the header are X to Cyrus."""
    head, body = split(data)
    return re.sub(rb"[\x80-\xff]", b"X", head) + body


def mailutils(data):
    """A header is written anew: no mbox line, one blank after each colon and none before."""
    head, body = split(re.sub(rb"\AFrom .*\n", b"", data))
    head = re.sub(rb"(?m)^([^\s:][^:\n]*?)[ \t]*:[ \t]*", rb"\1:", head)
    return head + body


KEPT = {"cyrus": cyrus, "mailutils": mailutils}
NOTES = re.compile(rb"(?mi)^(?:Status|X-Status|X-IMAPbase|X-UID|X-UIDL):.*\n(?:[ \t].*\n)*")


def kept(server, data):
    """The same for what was sent to a server and what it shows: line ends, NUL, and what is above.
    A POP3 server with an mbox adds notes of its own to the header, others from session to session."""
    head, body = split(data.replace(b"\r", b"").replace(b"\0", b"\x80"))
    return mailtool.loose(KEPT.get(server, bytes)(NOTES.sub(b"", head) + body))


# ---- files ----------------------------------------------------------------------------------


def write_mbox(path, *names):
    with open(path, "ab") as out:
        for name in mailtool.sources(names):
            data = mailtool.read(name).replace(b"\r\n", b"\n")
            if not data.endswith(b"\n"):
                data += b"\n"
            out.write(b"From sender@example.org Mon Jan  1 00:00:00 2024\n")
            out.write(re.sub(rb"(?m)^(>*From )", rb">\1", data) + b"\n")


def write_spool(folder, *names):
    for number, name in enumerate(mailtool.sources(names), 1):
        with open(os.path.join(folder, "%d." % number), "xb") as out:
            out.write(mailtool.wire(mailtool.read(name)))


def ended(maildir):
    for _, _, path in mailtool.files(maildir):
        if not mailtool.read(path).endswith(b"\n"):
            with open(path, "ab") as out:
                out.write(b"\n")


def pick(n, folder, part=0, of=1):
    names = list(mailtool.sources([folder]))
    count = min(int(n) or len(names), len(names))
    picked = [names[number * len(names) // count] for number in range(count)]
    print("\n".join(picked[int(part) % int(of)::int(of)]))


# ---- protocols ------------------------------------------------------------------------------


class Line:
    """A connection of lines and blocks."""

    def __init__(self, port):
        self.peer = socket.create_connection(("127.0.0.1", int(port)), timeout=TIMEOUT)
        self.file = self.peer.makefile("rb")

    def send(self, text):
        self.peer.sendall(text.encode("latin-1") + b"\r\n")

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the server closed the connection")
        return line

    def close(self):
        self.file.close()
        self.peer.close()


def secret_of(path):
    with open(path, encoding="utf-8") as handle:
        return handle.readline().rstrip("\n")


def pop3(line, command=None):
    if command:
        line.send(command)
    reply = line.line()
    if not reply.startswith(b"+OK"):
        raise OSError("%s: %r" % (command and command.split()[0], reply))
    return reply


def block(line):
    """A multi-line reply with its dots taken out."""
    data = []
    while (row := line.line()) != b".\r\n":
        data.append(row[1:] if row.startswith(b".") else row)
    return b"".join(data)


def served(port, user, secret):
    line = Line(port)
    pop3(line)
    pop3(line, "USER " + user)
    pop3(line, "PASS " + secret_of(secret))
    count = int(pop3(line, "STAT").split()[1])
    pop3(line, "UIDL")
    uidls = [row.split(b" ", 1)[1].decode("latin-1") for row in block(line).splitlines()]
    for number in range(1, count + 1):
        pop3(line, "RETR %d" % number)
        data = block(line)
        row = {"number": number, "uidl": uidls[number - 1], "size": len(data), "what": mailtool.subject(data)}
        row.update((name, mailtool.sha(kept(name, data))) for name in ("", *KEPT))
        print(json.dumps(row))
    line.send("QUIT")
    line.close()


class Imap:
    def __init__(self, port, user, secret):
        self.line, self.number = Line(port), 0
        self.line.line()
        self.command('LOGIN "%s" "%s"' % (user, re.sub(r'(["\\])', r"\\\1", secret_of(secret))))

    def command(self, text):
        """Untagged replies: lists of lines and literals in turn."""
        self.number += 1
        tag = "m%d" % self.number
        self.line.send(tag + " " + text)
        replies = []
        while True:
            parts = [self.line.line()]
            while size := re.search(rb"\{(\d+)\}\r\n\Z", parts[-1]):
                parts += [self.line.file.read(int(size.group(1))), self.line.line()]
            if parts[0].startswith(tag.encode() + b" "):
                if not parts[0].startswith(tag.encode() + b" OK"):
                    raise OSError("%s: %r" % (text.split()[0], parts[0]))
                return replies
            replies.append(parts)

    def select(self, folder):
        """How many messages, or None when there is no folder whose last part has this name."""
        for parts in self.command('LIST "" "*"'):
            found = re.match(rb"\* LIST \([^)]*\) (?:NIL|\"(.)\") \"?([^\"\r\n]*)\"?\r\n", parts[0])
            if found and re.split(re.escape(found.group(1) or b"/"), found.group(2))[-1] == folder.encode():
                replies = self.command('EXAMINE "%s"' % found.group(2).decode("latin-1"))
                return [int(r[0].split()[1]) for r in replies if r[0].rstrip().endswith(b" EXISTS")][0]
        return None

    def messages(self, count):
        for first in range(1, count + 1, CHUNK):
            last = min(first + CHUNK - 1, count)
            for parts in self.command("FETCH %d:%d BODY.PEEK[]" % (first, last)):
                if b"FETCH (" in parts[0] and b"BODY[]" in parts[0]:
                    yield parts[1] if len(parts) > 1 else b""

    def close(self):
        self.command("LOGOUT")
        self.line.close()


def login(port, user, secret, folder=None):
    imap = Imap(port, user, secret)
    if folder:
        imap.command('CREATE "%s"' % folder)
        imap.command('SELECT "%s"' % folder)
        imap.command("CLOSE")
    imap.close()


def count_of(port, user, secret, folder):
    imap = Imap(port, user, secret)
    print(imap.select(folder) or 0)
    imap.close()


def read_all(maildir):
    return [mailtool.read(path) for _, _, path in mailtool.files(maildir)]


def arrived(served_path, report, server, port, user, secret, folder, maildir=None, twice=None):
    with open(served_path, encoding="utf-8") as handle:
        rows = [json.loads(row) for row in handle]
    with open(report, encoding="utf-8") as handle:
        failures = json.load(handle)["failures"]
    well = mailtool.report(report)
    failed = {it["number"] for it in failures}
    if len(failed) != len(failures):
        print("a message is among the failures twice")
        well = False
    digest = server if server in KEPT else ""
    names = {row[digest]: row["what"] for row in rows}
    want = collections.Counter(row[digest] for row in rows if row["number"] not in failed)
    imap = Imap(port, user, secret)
    have, count = collections.Counter(), imap.select(folder) or 0
    for data in imap.messages(count) if maildir is None else read_all(maildir):
        key = mailtool.sha(kept(server, data))
        names.setdefault(key, mailtool.subject(data))
        have[key] += 1
    imap.close()
    if sum(have.values()) != count:
        print("%d messages in the folder, but %d of them were seen" % (count, sum(have.values())))
        well = False
    if twice:
        doubled = have - want
        doubled = collections.Counter({key: doubled[key] for key in doubled if key in want})
        have -= doubled
        print("twice %d" % sum(doubled.values()))
    return mailtool.differ(server, want, have, names) and well


def values(report, *names):
    with open(report, encoding="utf-8") as handle:
        it = json.load(handle)
    it["failures"] = len(it["failures"])
    print(" ".join(str(it[name]) for name in names))


COMMANDS = {
    "mbox": write_mbox,
    "spool": write_spool,
    "ended": ended,
    "pick": pick,
    "login": login,
    "served": served,
    "count": count_of,
    "arrived": arrived,
    "values": values,
}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    try:
        sys.exit(1 if COMMANDS[sys.argv[1]](*sys.argv[2:]) is False else 0)
    except (OSError, EOFError) as why:
        print("mail.py %s: %s" % (sys.argv[1], why))
        sys.exit(1)
