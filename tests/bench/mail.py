"""Mailboxes to measure with: the same name and count give the same bytes, always.

Maildirs with LF line ends and sizes in the names. Some messages are copies of an earlier
one, some have no Message-ID, bodies are 8-bit, hold dot lines and long lines, and large
ones carry attachments in base64.
"""
import base64
import math
import os
import random
import time

# name: (messages, median bytes, spread, largest)
KINDS = {
    "tiny": (300, 8000, 1.9, 1 << 20),        # for peers that wait for each message
    "mixed": (2000, 8000, 2.0, 18 << 20),     # as mail is
    "small": (10000, 3000, 0.8, 256 << 10),   # many small
    "large": (60, 2200000, 1.0, 24 << 20),    # few large
    "many": (100000, 300, 0.1, 2 << 10),      # for listing only
    "counted": (500, 5000, 1.2, 256 << 10),   # for make bench-counts
    "smoke": (25, 3000, 1.0, 64 << 10),
}
FIRST, LAST = 1293840000, 1767225600  # 2011 to 2025
COPIES, NO_ID, DOTS, LONG, LISTS = 0.01, 0.01, 0.03, 0.02, 0.2
ATTACHED = 30000  # messages over that have one
NAMES = "anna bob carla dmitri eva frank gita hans ines kim lena marc nadia otto".split()
WORDS = ("the server keeps every message until somebody asks and then sends all of it again meeting invoice "
         "please find attached regards project deadline report travel order confirmed newsletter account "
         "grüße müller naïve straße résumé señor привет łódź").split()


class Maker:
    def __init__(self, seed):
        self.random = random.Random("popferry " + seed)
        pool = random.Random("pool")
        lines = [" ".join(pool.choice(WORDS) for _ in range(pool.randint(0, 13))) for _ in range(12000)]
        self.text = ("\n".join(lines) + "\n").encode()
        self.coded = base64.encodebytes(pool.randbytes(8 << 20))

    def piece(self, pool, n):
        """About n bytes of whole lines, from anywhere."""
        out = []
        while n > 0:
            at = pool.find(b"\n", self.random.randrange(len(pool))) + 1
            end = pool.rfind(b"\n", at, at + max(n, 80)) + 1
            if end > at:
                out.append(pool[at:end])
                n -= end - at
        return b"".join(out)

    def body(self, n):
        text = self.piece(self.text, n)
        odd = self.random.random()
        if odd < DOTS:
            return text + b".\n..\n...\n.hidden\n"
        if odd < DOTS + LONG:
            return text + b"x%20" * self.random.randint(300, 2000) + b"\n"
        return text

    def address(self):
        name = self.random.choice(NAMES)
        return "%s <%s%d@example.com>" % (name.title(), name, self.random.randrange(400))

    def message(self, number, size, when):
        rnd = self.random
        date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(when))
        head = ["Return-Path: <bounce%d@example.com>" % rnd.randrange(99), "Delivered-To: user@bench.test"]
        for hop in range(rnd.randint(1, 4)):
            head.append("Received: from mx%d.example.com ([192.0.2.%d])\n\tby mail.bench.test with ESMTPS id %010X;\n\t%s"
                        % (hop, rnd.randrange(254), rnd.getrandbits(40), date))
        head += ["From: " + self.address(), "To: user@bench.test, " + self.address(),
                 "Subject: =?utf-8?q?" + "_".join("=%02X" % rnd.randrange(65, 90) for _ in range(rnd.randint(3, 20))) + "?=",
                 "Date: " + date]
        if rnd.random() >= NO_ID:
            head.append("Message-ID: <%d.%08x@example.com>" % (number, rnd.getrandbits(32)))
        if rnd.random() < LISTS:
            head.append("List-Id: <list%d.example.org>" % rnd.randrange(4))
        head.append("MIME-Version: 1.0")
        left = max(60, size - sum(map(len, head)))
        if left <= ATTACHED:
            head.append("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n")
            return "\n".join(head).encode() + self.body(left)
        head.append('Content-Type: multipart/mixed; boundary="=_%d"\n\n' % number)
        mark = b"--=_%d" % number
        return b"".join(["\n".join(head).encode(), mark, b"\nContent-Type: text/plain; charset=utf-8\n\n", self.body(4000),
                         mark, b"\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n",
                         self.piece(self.coded, left - 4000), mark, b"--\n"])


def make(kind, maildir, count=None):
    """Writes it; returns (messages, bytes as POP3 and IMAP count them)."""
    usual, median, spread, largest = KINDS[kind]
    count = count or usual
    maker = Maker(kind)
    rnd = maker.random
    for folder in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(maildir, folder))
    dates = sorted(rnd.randrange(FIRST, LAST) for _ in range(count))
    kept, total = [], 0
    for n in range(count):
        if kept and rnd.random() < COPIES:
            raw = rnd.choice(kept)
        else:
            size = min(largest, int(rnd.lognormvariate(math.log(median), spread)))
            raw = maker.message(n, size, dates[n])
            if len(raw) < ATTACHED:
                kept = kept[-99:] + [raw]
        wire = len(raw) + raw.count(b"\n")
        total += wire
        path = os.path.join(maildir, "cur", "%d.M%06dP1.bench,S=%d,W=%d:2,S" % (dates[n], n, len(raw), wire))
        with open(path, "wb") as handle:
            handle.write(raw)
    return count, total
