#!/usr/bin/env python3
"""What the end-to-end tests need to do with mail; Python 3, standard library only.

    mailtool.py greets PORT...             exit 0 when a server greets on each
    mailtool.py proxy TARGET KBYTES PID    prints its port and passes connections on to TARGET, so many
                                           kB a second, while process PID lives
    mailtool.py load MAILDIR FILE...       .eml files (or folders of them) into a Maildir; the
                                           server numbers them in this order. Prints how many
    mailtool.py served MAILDIR             what RETR gives:   sha256 size
    mailtool.py stored MAILDIR             what IMAP shows:   uid internaldate flags sha256 size
    mailtool.py digest FILE                the digest `stored` shows for this message
    mailtool.py archived DIR               what an archive holds, read without popferry: sha256 size path
    mailtool.py restored DIR MAILDIR       each message of the archive is in its folder of the account,
                                           once, with its date and flags, and nothing else is there
    mailtool.py uploaded SERVED-MAILDIR STORED-MAILDIR...
                                           each served message is in the second, once, and nothing else
    mailtool.py archive-has SERVED-MAILDIR DIR
                                           the same of an archive, byte for byte
    mailtool.py everything SERVED-MAILDIR STORED-MAILDIR DIR
                                           both; an empty name is passed over
    mailtool.py report FILE NAME=VALUE...  the report balances and says so

A digest of `stored` and `uploaded` does not tell line ends, NUL from 0x80 and line ends at the end apart:
that is what IMAP servers change. Messages that are equal to it must come as often as they were served.
Exit 1 and one line a difference on standard output when something is not so.
"""
import collections
import glob
import hashlib
import io
import json
import os
import re
import sys
import time

# Other modules are imported where they are needed: this is run hundreds of times.

FIRST = 1000000000  # names of loaded files count up from here


def sha(data):
    return hashlib.sha256(data).hexdigest()


def wire(raw):
    """What a POP3 server sends for these stored bytes."""
    data = re.sub(rb"(?<!\r)\n", b"\r\n", raw)
    return data if not data or data.endswith(b"\n") else data + b"\r\n"


def loose(data):
    """The same for a message and for what an IMAP server made of it."""
    return data.replace(b"\r", b"").replace(b"\0", b"\x80").rstrip(b"\n")


# ---- Maildir ------------------------------------------------------------------------------


def files(maildir):
    """Paths in the server's order: by its index of UIDs, else by name."""
    found = {}
    for folder in ("cur", "new"):
        for path in glob.glob(os.path.join(glob.escape(maildir), folder, "*")):
            found[os.path.basename(path).split(":")[0]] = path
    uids = {}
    try:
        with open(os.path.join(maildir, "dovecot-uidlist"), "rb") as handle:
            for line in handle:
                row = line.decode("utf-8", "replace").rstrip("\n")
                match = re.match(r"(\d+) [^:]*:(.*)$", row)
                if match:
                    uids[match.group(2).split(":")[0]] = int(match.group(1))
    except FileNotFoundError:
        pass
    rows = [(uids.get(base, sys.maxsize), base, path) for base, path in found.items()]
    return sorted(rows)


def read(path):
    with open(path, "rb") as handle:
        return handle.read()


def served(maildir):
    return [wire(read(path)) for _, _, path in files(maildir)]


def date_of(raw):
    """Unix time of the topmost Received header or the Date header; a fixed one without."""
    import calendar
    import email.utils
    head = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0]
    fields = re.sub(rb"\r?\n[ \t]+", b" ", head).splitlines()
    for name in (b"received:", b"date:"):
        for field in fields:
            if field.lower().startswith(name):
                text = field.split(b":", 1)[1].rsplit(b";", 1)[-1].decode("latin-1")
                try:
                    parts = email.utils.parsedate_tz(text)
                    when = calendar.timegm(parts[:6] + (0, 1, 0)) - (parts[9] or 0)
                    if 0 < when < 2**31:
                        return when
                except (TypeError, ValueError, OverflowError, IndexError):
                    pass
                break
    return FIRST


def sources(names):
    for name in names:
        if os.path.isdir(name):
            for root, folders, entries in os.walk(name):
                folders.sort()
                for entry in sorted(entries):
                    if entry.endswith(".eml"):
                        yield os.path.join(root, entry)
        else:
            yield name


def load(maildir, *names):
    for folder in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(maildir, folder), mode=0o700, exist_ok=True)
    number = len(files(maildir))
    for path in sources(names):
        raw = read(path)
        name = "%d.M%06dP1.test,S=%d,W=%d:2," % (FIRST + number, number % 1000000, len(raw),
                                                 len(re.sub(rb"(?<!\r)\n", b"\r\n", raw)))
        to = os.path.join(maildir, "cur", name)
        with open(to, "xb") as handle:
            handle.write(raw)
        stamp = date_of(raw)
        os.utime(to, (stamp, stamp))
        number += 1
    print(number)


def stored(maildir):
    for uid, _, path in files(maildir):
        flags = path.rsplit(":2,", 1)[1] if ":2," in path else ""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(os.stat(path).st_mtime))
        raw = read(path)
        yield "%d %s %s %s %d" % (uid, when, flags or "-", sha(loose(raw)), len(raw))


# ---- archives -------------------------------------------------------------------------------


def archive_members(path):
    """(name, bytes) of each file in a segment, complete or still being written."""
    import subprocess
    import tarfile
    import zipfile
    if path.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)
        return
    if ".tar.zst" in os.path.basename(path):
        done = subprocess.run(["zstd", "-dcq", "--long=31", path], stdout=subprocess.PIPE, check=True)
        archive = tarfile.open(fileobj=io.BytesIO(done.stdout))
    else:
        archive = tarfile.open(path)
    with archive:
        for member in archive:
            if member.isfile():
                yield member.name, archive.extractfile(member).read()


def archived(folder):
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "segments", "*.t*")) +
                       glob.glob(os.path.join(glob.escape(folder), "segments", "*.zip"))):
        if path.endswith(".idx"):
            continue
        for name, data in archive_members(path):
            if "/data/eml/" in name:
                yield name, data


def rows(folder):
    """(folder, internal date, flags, digest) of each archived message, as Maildir shows it."""
    import csv
    import datetime
    letters = {"seen": "S", "answered": "R", "flagged": "F", "draft": "D"}
    data = dict(archived(folder))
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "segments", "*"))):
        if path.endswith(".idx"):
            continue
        for name, text in archive_members(path):
            if not name.endswith("/metadata/messages.csv"):
                continue
            for row in csv.DictReader(io.StringIO(text.decode("utf-8"), newline="")):
                when = datetime.datetime.fromisoformat(row["internal_date"]).timestamp() if row["internal_date"] else 0
                flags = "".join(sorted(letters[word] for word in row["flags"].split()))
                body = data[name.split("/")[0] + "/" + row["path"]]
                yield row["source_folder"], int(when), flags, sha(loose(body))


def filed(maildir):
    """The same of all folders of an account."""
    for path in [maildir] + sorted(glob.glob(os.path.join(glob.escape(maildir), ".*"))):
        name = os.path.basename(path)[1:].replace(".", "/") if path != maildir else "INBOX"
        for _, _, file in files(path):
            flags = "".join(sorted(file.rsplit(":2,", 1)[1])) if ":2," in file else ""
            yield name, int(os.stat(file).st_mtime), flags, sha(loose(read(file)))


# ---- comparing ------------------------------------------------------------------------------


def differ(what, want, have, names):
    """Says what is missing, and what is there too often. True when all is well."""
    bad = 0
    for key, n in sorted((want - have).items()):
        print("%s: missing %d x %s" % (what, n, names.get(key, key)))
        bad += n
    for key, n in sorted((have - want).items()):
        print("%s: too many, or not from the source: %d x %s" % (what, n, names.get(key, key)))
        bad += n
    return bad == 0


def subject(data):
    match = re.search(rb"^Subject:[ \t]*([^\r\n]*)", data, re.M | re.I)
    return "%s (%d bytes, %r)" % (sha(data)[:12], len(data), match.group(1)[:60] if match else data[:40])


def uploaded(source, *destinations):
    want = served(source)
    have = [read(path) for folder in destinations for _, _, path in files(folder)]
    names = {sha(loose(data)): subject(data) for data in have + want}
    return differ("IMAP", collections.Counter(sha(loose(d)) for d in want),
                  collections.Counter(sha(loose(d)) for d in have), names)


def archive_has(source, folder):
    want, have = served(source), [data for _, data in archived(folder)]
    names = {sha(data): subject(data) for data in have + want}
    return differ("archive", collections.Counter(map(sha, want)), collections.Counter(map(sha, have)), names)


def restored(folder, maildir):
    want, have = list(rows(folder)), list(filed(maildir))
    return differ("restored", collections.Counter(want), collections.Counter(have),
                  {row: "%s %s %s %s" % (row[0], row[1], row[2] or "-", row[3][:12]) for row in want + have})


def everything(source, maildir, folder):
    there = not maildir or uploaded(source, maildir)
    return (not folder or archive_has(source, folder)) and there


# ---- the report -----------------------------------------------------------------------------

COUNTS = ["listed", "known", "stored", "duplicate", "filtered", "failed", "vanished"]


def report(path, *wanted):
    with open(path, encoding="utf-8") as handle:
        it = json.load(handle)
    bad = [name for name in COUNTS + ["bytes", "exit"]
           if not isinstance(it.get(name), int) or isinstance(it.get(name), bool)]
    bad += [name for name in ("version", "job", "started", "finished", "reason") if not isinstance(it.get(name), str)]
    bad += [name for name in ("seconds", "messages_per_second") if not isinstance(it.get(name), (int, float))]
    for name in ("started", "finished"):
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", str(it.get(name))):
            bad.append(name + " is not RFC 3339")
    if not isinstance(it.get("failures"), list):
        bad.append("failures")
    else:
        for failure in it["failures"]:
            bad += ["failures." + name for name in ("uidl", "number", "size", "message_id", "subject", "stage",
                                                    "reason", "reply") if name not in failure]
    if not bad and it["exit"] in (0, 2):
        if it["listed"] != sum(it[name] for name in COUNTS[1:]) + it.get("left", 0):
            bad.append("it does not balance")
        if it["exit"] == 0 and it["failed"]:
            bad.append("exit 0 with failures")
    for pair in wanted:
        name, value = pair.split("=", 1)
        if str(it.get(name)) != value:
            bad.append("%s is %s, not %s" % (name, it.get(name), value))
    if bad:
        print("report: " + "; ".join(bad))
        print(json.dumps(it))
    return not bad


# ---- servers --------------------------------------------------------------------------------


def greets(*numbers):
    import socket
    for number in numbers:
        with socket.create_connection(("127.0.0.1", int(number)), timeout=2) as peer:
            if not peer.recv(64).startswith((b"+OK", b"* OK")):
                return False
    return True


def proxy(target, kbytes, pid):
    """Thin, so that a test can stop a transfer in its middle."""
    import asyncio

    async def pump(reader, writer):
        piece = int(kbytes) * 1024 // 50
        try:
            while data := await reader.read(piece):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(len(data) / piece / 50)
        except ConnectionError:
            pass
        writer.close()

    async def accept(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", int(target))
        await asyncio.gather(pump(reader, back), pump(there, writer))

    async def serve():
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        async with server:
            while os.path.exists("/proc/%s" % pid):
                await asyncio.sleep(0.3)
    asyncio.run(serve())


def show(rows):
    for row in rows:
        print(row)


COMMANDS = {
    "greets": greets,
    "proxy": proxy,
    "load": load,
    "served": lambda maildir: show("%s %d" % (sha(data), len(data)) for data in served(maildir)),
    "digest": lambda path: print(sha(loose(read(path)))),
    "stored": lambda maildir: show(stored(maildir)),
    "archived": lambda folder: show("%s %d %s" % (sha(data), len(data), name) for name, data in archived(folder)),
    "restored": restored,
    "uploaded": uploaded,
    "archive-has": archive_has,
    "everything": everything,
    "report": report,
}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    sys.exit(1 if COMMANDS[sys.argv[1]](*sys.argv[2:]) is False else 0)
