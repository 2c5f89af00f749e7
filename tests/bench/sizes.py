#!/usr/bin/env -S python3 -B
"""sizes.py: archives beside tar, zip and gzip: bytes, and the time to write them. See README here.

    sizes.py DIR        DIR has timed; the table goes there, too

The environment: ROUNDS=3, SIZES="mixed=500", BENCH_DIR (as bench.py), and
  MAIL=DIR         messages to take instead, one a file, from DIR and below (as they are)
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import mail

BOXES = ("small", "mixed")
# Ours, and each tool with the like of what it makes.
OURS = ("gz", "zst", "zip", "none")
TOOLS = [
    ("tar czf", "gz", "tar", lambda box, out: ["tar", "czf", out, "-C", box.eml, "."]),
    ("tar --zstd -cf", "zst", "zstd", lambda box, out: ["tar", "--zstd", "-cf", out, "-C", box.eml, "."]),
    ("zip -r", "zip", "zip", lambda box, out: ["sh", "-c", 'cd "$1" && zip -qr "$2" .', "sh", box.eml, out]),
    ("gzip mbox", "gz", "gzip", lambda box, out: ["sh", "-c", 'gzip -c "$1" >"$2"', "sh", box.mbox, out]),
    ("tar cf", "none", "tar", lambda box, out: ["tar", "cf", out, "-C", box.eml, "."]),
]


class Box:
    """A mailbox in two forms: a folder of messages, and an mbox of the same."""

    def __init__(self, root, name, messages):
        self.name, self.count, self.bytes = name, 0, 0
        self.eml, self.mbox = os.path.join(root, name), os.path.join(root, name + ".mbox")
        os.makedirs(self.eml)
        with open(self.mbox, "wb") as mbox:
            for raw in messages:
                self.count += 1
                self.bytes += len(raw)
                with open(os.path.join(self.eml, "%06d.eml" % self.count), "wb") as handle:
                    handle.write(raw)
                mbox.write(b"From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n" + raw.replace(b"\nFrom ", b"\n>From ") + b"\n")


def files_below(where):
    for folder, _, names in sorted(os.walk(where)):
        for name in sorted(names):
            with open(os.path.join(folder, name), "rb") as handle:
                yield handle.read()


def made(root, name):
    """As a server gives them: with CRLF."""
    counts = dict(pair.split("=") for pair in (os.environ.get("SIZES") or "").split())
    where = os.path.join(root, "Maildir")
    mail.make(name, where, int(counts.get(name) or 0) or None)
    yield from (raw.replace(b"\n", b"\r\n") for raw in files_below(where))
    shutil.rmtree(where)


def timed(program, argv, work):
    """(exit code, wall, cpu)."""
    times = os.path.join(work, "times")
    with open(os.path.join(work, "log"), "wb") as log:
        subprocess.run([program, times] + argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    with open(times, encoding="ascii") as handle:
        code, wall, user, system, _ = handle.read().split()
    return int(code), float(wall), float(user) + float(system)


def size_below(where):
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(where) for name in names)


class Sizes:
    def __init__(self, out, popferry):
        self.timed, self.popferry = os.path.join(out, "timed"), os.path.abspath(popferry)
        base = os.environ.get("BENCH_DIR") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.root = tempfile.mkdtemp(prefix="popferry-sizes.", dir=base)
        self.runs = {}  # (box, what): [(wall, cpu, bytes)]

    def keep(self, box, what, argv, size):
        """Runs it in a folder of its own, and asks what came of it."""
        work = os.path.join(self.root, "work")
        os.makedirs(work + "/out")
        code, wall, cpu = timed(self.timed, argv(work), work)
        if code != 0:
            with open(os.path.join(work, "log"), errors="replace", encoding="utf-8") as handle:
                sys.exit("sizes: %s ended with %d: %s" % (what, code, handle.read()[-500:]))
        self.runs.setdefault((box.name, what), []).append((wall, cpu, size(work)))
        shutil.rmtree(work)

    def one_round(self, box):
        for codec in OURS:
            self.keep(box, "popferry " + codec, lambda work, codec=codec: [
                self.popferry, "copy", "-q", "--progress", "never", "--state", work + "/state", "eml:" + box.eml,
                "archive:" + work + "/out", "--codec", codec], lambda work: size_below(work + "/out"))
        for what, _, program, argv in TOOLS:
            if shutil.which(program):
                self.keep(box, what, lambda work, argv=argv: argv(box, work + "/out/all"), lambda work: size_below(work + "/out"))

    def medians(self, box, what):
        runs = self.runs.get((box.name, what))
        return [statistics.median(column) for column in zip(*runs)] if runs else None

    def results(self, box):
        for codec in OURS:
            yield box, "popferry " + codec, None
        for what, codec, _, _ in TOOLS:
            yield box, what, "popferry " + codec

    def row(self, box, what, ours):
        """What it took, and popferry's by that."""
        got, beside = self.medians(box, what), self.medians(box, ours) if ours else None
        one = {"mailbox": box.name, "messages": box.count, "bytes": box.bytes, "what": what, "against": ours}
        if got:
            one.update(zip(("wall", "cpu", "size"), got))
        if got and beside:
            one.update(("ours_by_" + key, beside[k] / max(got[k], 1e-6)) for k, key in enumerate(("wall", "cpu", "size")))
        return one


def line(one):
    if "size" not in one:
        return [one["mailbox"], one["what"], "not installed"]
    cells = [one["mailbox"], one["what"], "%.1f" % (one["size"] / 1e6), "%.1f %%" % (100 * one["size"] / one["bytes"]),
             "%.2f" % one["wall"], "%.2f" % one["cpu"]]
    if "ours_by_size" in one:
        cells += [one["against"]] + ["%.2f" % one["ours_by_" + key] for key in ("size", "wall", "cpu")]
    return cells


def table(results):
    head = ["mailbox", "", "MB", "of it", "wall s", "cpu s", "beside it", "size", "wall", "cpu"]
    lines = [head] + [line(one) for one in results]
    wide = [max(len(row[k]) for row in lines if len(row) > k) for k in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, wide)).rstrip() for row in lines) + "\n"


def main():
    out = os.path.abspath(sys.argv[1])
    sizes = Sizes(out, os.environ.get("POPFERRY") or "build/popferry")
    given = os.environ.get("MAIL")
    results = []
    try:
        boxes = [Box(sizes.root, "mail", files_below(given))] if given else [
            Box(sizes.root, name, made(sizes.root, name)) for name in BOXES]
        for _ in range(int(os.environ.get("ROUNDS") or 3)):
            for box in boxes:
                sizes.one_round(box)
        results = [sizes.row(*one) for box in boxes for one in sizes.results(box)]
    finally:
        shutil.rmtree(sizes.root, ignore_errors=True)
    text = table(results)
    with open(os.path.join(out, "sizes.json"), "w", encoding="utf-8") as handle:
        json.dump(results, handle, indent=1)
    with open(os.path.join(out, "sizes.txt"), "w", encoding="utf-8") as handle:
        handle.write(text)
    print(text)


if __name__ == "__main__":
    main()
