#!/usr/bin/env -S python3 -B
"""search.py: how long `popferry search` and `popferry show` take in a large archive.

The environment (or `make bench-search NAME=VALUE`):
  MESSAGES=100000   how many
  ROUNDS=9          how often each is run
  CODEC=zst
  BENCH_DIR=DIR     where the archive is made; default /dev/shm
  KEEP=DIR          or here, and it stays there for the next time

All messages say "everywhere", one in 1,000 says "seldom", one says "once"; the rest is as
in mail.py: the same bytes each time. Of the milliseconds the least are shown, since others
on the machine only add to them, and of the processor's the median. "waited": only others
made it take longer than it may.
"""
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import mail

SEARCH, SHOW = 50, 100  # milliseconds: targets
FIRST = ("--limit", "20")
FOUND = (0, 2)  # 2: nothing was
ASKED = [
    ("search once", SEARCH, ["search", "once"]),
    ("search seldom", SEARCH, ["search", "seldom"]),
    ("everywhere, the first 20", SEARCH, ["search", "everywhere", *FIRST]),
    ("everywhere, by number", SEARCH, ["search", "everywhere", "--sort", "seq", *FIRST]),
    ("everywhere, how many", SEARCH, ["search", "everywhere", "--limit", "0"]),
    ("everywhere, all numbers", SEARCH, ["search", "everywhere", "--format", "seq"]),
    ("two words", SEARCH, ["search", "meeting", "report", *FIRST]),
    ("one word or another", SEARCH, ["search", "meeting OR report", *FIRST]),
    ("a phrase", SEARCH, ["search", '"meeting report"', *FIRST]),
    ("beginning of a word", SEARCH, ["search", "mee*", *FIRST]),
    ("all but a word", SEARCH, ["search", "NOT meeting", *FIRST]),
    ("from: and a word", SEARCH, ["search", "everywhere", "from:anna", *FIRST]),
    ("subject:, after: and a word", SEARCH, ["search", "everywhere", "subject:a", "after:2015", *FIRST]),
    ("after: before:", SEARCH, ["search", "after:2015", "before:2018", *FIRST]),
    ("larger:", SEARCH, ["search", "larger:1k", *FIRST]),
    ("folder:", SEARCH, ["search", "folder:INBOX", *FIRST]),
    ("has:attachment", SEARCH, ["search", "has:attachment", *FIRST]),
    ("everywhere, the best 20", None, ["search", "everywhere", "--sort", "relevance", *FIRST]),
    ("everywhere, 100,000 rows", None, ["search", "everywhere"]),
    ("show the first", SHOW, ["show", "1"]),
    ("show one in the middle", SHOW, ["show", "{middle}"]),
    ("show --raw the last", SHOW, ["show", "{last}", "--raw"]),
]


def make_mbox(path, count):
    maker = mail.Maker("search")
    step = (mail.LAST - mail.FIRST) // count
    with open(path, "wb") as out:
        for n in range(count):
            size = min(1 << 18, int(maker.random.lognormvariate(math.log(1500), 0.8)))
            raw = maker.message(n, size, mail.FIRST + n * step).replace(b"\nFrom ", b"\n>From ")
            words = [b"everywhere\n"] + [b"seldom\n"] * (n % 1000 == 0) + [b"once\n"] * (n == count // 2)
            out.write(b"From bench@example.com Sat Jan  1 00:00:00 2011\n" + raw.rstrip(b"\n") + b"\n" + b"".join(words) + b"\n")


class Bench:
    def __init__(self, popferry, root):
        self.popferry, self.archive, self.root = os.path.realpath(popferry), os.path.join(root, "archive"), root
        self.env = dict(os.environ, XDG_STATE_HOME=os.path.join(root, "state"))

    def run(self, *argv):
        done = subprocess.run([self.popferry, *argv], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode not in FOUND:
            sys.exit("bench: %s: %s" % (" ".join(argv), done.stdout.decode(errors="replace")[-300:]))

    def make(self, count, codec):
        if os.path.exists(self.archive):
            return
        mbox = os.path.join(self.root, "mbox")
        make_mbox(mbox, count)
        self.run("copy", "mbox:" + mbox, "archive:" + self.archive, "--codec", codec, "--dedup", "none", "--folder", "INBOX")
        os.remove(mbox)
        self.run("search", self.archive, "--index")

    def once(self, argv):
        """(wall, cpu) in milliseconds."""
        note = os.path.join(self.root, "timed")
        with open(os.path.join(self.root, "out"), "wb") as out:
            subprocess.run([os.path.join(os.path.dirname(self.popferry), "bench", "timed"), note, self.popferry, *argv],
                           env=self.env, stdout=out, stderr=subprocess.STDOUT, check=False)
        with open(note, encoding="ascii") as handle:
            code, wall, user, system, _ = handle.read().split()
        if int(code) not in FOUND:
            with open(os.path.join(self.root, "out"), errors="replace", encoding="utf-8") as out:
                sys.exit("bench: %s: %s" % (" ".join(argv), out.read()[-300:]))
        return 1000 * float(wall), 1000 * (float(user) + float(system))

    def measure(self, words, rounds, count):
        argv = [words[0], self.archive] + [one.format(middle=count // 2 + 1, last=count) for one in words[1:]]
        runs = [self.once(argv) for _ in range(rounds)]
        return min(wall for wall, _ in runs), statistics.median(cpu for _, cpu in runs)


def main():
    count, rounds = int(os.environ.get("MESSAGES") or 100000), int(os.environ.get("ROUNDS") or 9)
    keep = os.environ.get("KEEP")
    base = os.environ.get("BENCH_DIR") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    root = keep or tempfile.mkdtemp(prefix="popferry-bench.", dir=base)
    missed = 0
    try:
        os.makedirs(root, exist_ok=True)
        bench = Bench(os.environ.get("POPFERRY") or "build/popferry", root)
        bench.make(count, os.environ.get("CODEC") or "zst")
        print("%d messages                    target ms   least   processor" % count)
        for title, target, words in ASKED:
            wall, cpu = bench.measure(words, rounds, count)
            missed += target is not None and wall > target
            verdict = "" if target is None else "met" if wall <= target else "MISSED" if cpu > target else "MISSED: waited"
            print("%-30s %10s %10.1f %8.1f  %s" % (title, target or "-", wall, cpu, verdict), flush=True)
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
