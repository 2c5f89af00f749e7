#!/usr/bin/env -S python3 -B
"""counts.py FILE: what a message costs, in figures that do not depend on noise.

  instructions   in user space, by callgrind, without TLS (it has no SHA-NI: compare like
                 with like)
  syscalls       without those that are luck: waiting, receiving, memory; by strace, without TLS
  receives       recv() and poll(): half as much again is allowed, and ten in all, for they
                 are luck in part: a listing comes in one piece, or each reply by itself;
                 two a message more where each has a reply of its own (upload-append)
  fsyncs         fsync, fdatasync, sync_file_range and syncfs among them; a tenth more is
                 allowed, for a batch may end by the clock
  trips-pop3     round trips one after the other, at 50 ms, with TLS
  trips-imap

All of them a message, of 500. FILE holds those of before; a figure that got worse by more
than 5 % is an error. With UPDATE=1 in the environment FILE is written instead. ONLY="a b"
measures only these jobs, TIMES=3 is how often system calls are counted (the least counts).
"""
import os
import re
import signal
import subprocess
import sys
import tempfile

import peers
import rig

# Times what it was, and so much more.
ALLOWED = {"receives": (1.5, 10 / 500), "fsyncs": (1.1, 0), ("upload-append", "receives"): (1, 2)}
USUAL = (1.05, 0)
RTT = 50
BOX = "counted"
SYNCS = ("fsync", "fdatasync", "sync_file_range", "syncfs", "msync")
RECEIVES = ("recvfrom", "recvmsg", "poll", "ppoll", "epoll_wait")
LUCK = RECEIVES + ("futex", "mmap", "munmap", "mprotect", "madvise", "brk", "clock_nanosleep", "sched_yield",
                   "restart_syscall")
JOBS = {"download": "pf-null", "archive-zst": "pf-zst", "pop3-to-imap": "pf-imap", "upload": "pf-up",
        "upload-append": "pf-up-append", "again": "pf-again"}


class Counter:
    def __init__(self, the_rig):
        self.rig, self.number = the_rig, 0
        self.messages = the_rig.mailbox(BOX)[0]

    def go(self, name, rtt, tls, before=()):
        self.number += 1
        t = peers.Try(self.rig, self.number, BOX, rtt, tls, self.rig.path("work"))
        argv = peers.PEERS[name][2](t)
        got = self.rig.run(list(before) + argv, t.work, t.env)
        if got["code"] != 0:
            raise RuntimeError("%s: exit %s: %s" % (name, got["code"], rig.tail(t.path("log"))))
        t.close()

    def instructions(self, name):
        said = tempfile.NamedTemporaryFile(dir=self.rig.root)
        self.go(name, 0, False, ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-file=" + said.name])
        found = re.search(r"Collected\s*:\s*(\d+)", said.read().decode())
        if not found:
            raise RuntimeError("callgrind told no count")
        return {"instructions": int(found.group(1))}

    def syscalls(self, name):
        said = tempfile.NamedTemporaryFile(dir=self.rig.root)
        self.go(name, 0, False, ["strace", "-f", "-c", "-U", "name,calls", "-o", said.name])
        calls = {}
        for line in said.read().decode().splitlines():
            words = line.split()
            if len(words) == 2 and words[1].isdigit() and words[0] != "total":
                calls[words[0]] = int(words[1])
        if os.environ.get("SHOW"):
            print("#   %s" % sorted(calls.items(), key=lambda row: -row[1])[:12])
        return {"syscalls": sum(n for call, n in calls.items() if call not in LUCK),
                "receives": sum(calls.get(call, 0) for call in RECEIVES),
                "fsyncs": sum(calls.get(call, 0) for call in SYNCS)}

    def trips(self, name):
        if name == "pf-again":  # what it does the first time is not to be seen
            self.go(name, RTT, True)
            self.rig.close_proxy(RTT)
        self.go(name, RTT, True)
        seen = self.rig.close_proxy(RTT)
        return {"trips-pop3": seen["pop3s"]["round-trips"], "trips-imap": seen["imaps"]["round-trips"]}

    def all(self, job, times):
        name = JOBS[job]
        out = self.instructions(name)
        every = [self.syscalls(name) for _ in range(times)]
        out.update({key: min(one[key] for one in every) for key in every[0]})
        every = [self.trips(name) for _ in range(times)]
        out.update({key: min(one[key] for one in every) for key in every[0]})
        print("# %s: %s" % (job, ", ".join("%s %d" % pair for pair in out.items())), flush=True)
        return {(job, figure): n / self.messages for figure, n in out.items()}


def read(path):
    old = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as handle:
            for line in handle:
                if line.strip() and not line.startswith("#"):
                    job, figure, n = line.split()
                    old[job, figure] = float(n)
    return old


def write(path, new):
    with open(path, "w", encoding="utf-8") as handle:
        handle.write("# What a message costs (counts.py): UPDATE=1 make bench-counts writes this file.\n"
                     "# job figure a-message\n")
        for (job, figure), n in new.items():
            handle.write("%s %s %.6f\n" % (job, figure, n))


def compare(old, new):
    """Prints the table; the figures that got worse."""
    worse = []
    print("%-14s %-13s %14s %14s" % ("job", "a message", "before", "now"))
    for key, n in new.items():
        was = old.get(key)
        change = "new" if was is None else "" if was == n else "%+.1f %%" % ((n / was - 1) * 100) if was else "+"
        times, more = ALLOWED.get(key) or ALLOWED.get(key[1], USUAL)
        # Half a unit in the file's last place: it is rounded.
        if was is not None and n > was * times + more + 5e-7:
            worse.append(key)
            change += "  WORSE"
        print("%-14s %-13s %14s %14.4f  %s" % (*key, "-" if was is None else "%.4f" % was, n, change))
    return worse


def missing():
    for program in ("valgrind", "strace"):
        if subprocess.run(["sh", "-c", "command -v " + program], capture_output=True).returncode != 0:
            return program


def main():
    path, helpers = sys.argv[1:3]
    if missing():
        sys.exit("bench-counts: %s is missing; run \"contrib/deps bench\"" % missing())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    the_rig = rig.Rig(helpers, os.environ.get("POPFERRY") or "build/popferry")
    new = {}
    try:
        the_rig.start()
        counter = Counter(the_rig)
        for job in (os.environ.get("ONLY") or " ".join(JOBS)).split():
            new.update(counter.all(job, int(os.environ.get("TIMES") or 3)))
    except rig.Missing as why:
        sys.exit("bench-counts: %s" % why)
    finally:
        the_rig.stop()
    worse = compare(read(path), new)
    if os.environ.get("UPDATE"):
        write(path, {**read(path), **new})
        print("written: %s" % path)
    elif worse:
        sys.exit("bench-counts: %d figures got worse by more than 5 %%; find out why, or UPDATE=1 make bench-counts" % len(worse))


if __name__ == "__main__":
    main()
