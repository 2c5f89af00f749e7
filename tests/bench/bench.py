#!/usr/bin/env -S python3 -B
"""bench.py: popferry beside its peers and the limit of the servers. See README here.

The environment (or `make bench NAME=VALUE`):
  ROUNDS=3           how often each is run
  ROWS="a b"         only these rows (rows.py)
  RTT="0 80"         round-trip times, in milliseconds
  SIZES="small=20000 mixed=500"   other numbers of messages
  SLOW=30            a peer that took so many seconds is not run a second time
  LIMIT=120          one that takes so many is ended
  QUIET=3            seconds to wait for a quiet machine before each run
  IMAPSYNC= POP2IMAP=   paths of those two
  DISK=DIR           on a real disk, for the row of that name; default: beside the results
  BENCH_DIR=DIR      where all else is; default /dev/shm
  KEEP=1             leave it there
"""
import json
import os
import signal
import statistics
import sys
import time

import chart
import mail
import peers
import rig
import rows

NOISY = 0.5  # processors used by others


def words(name, default):
    return (os.environ.get(name) or default).split()


def sizes(pairs):
    """How many messages each mailbox has, of those with another number than mail.py's."""
    counts = {}
    for pair in pairs:
        box, _, count = pair.partition("=")
        if box not in mail.KINDS or not count.isdecimal() or not int(count):
            sys.exit("bench: SIZES takes mailbox=messages, of %s: %s" % (" ".join(mail.KINDS), pair))
        counts[box] = int(count)
    return counts


class Bench:
    def __init__(self, the_rig, out, table):
        self.rig, self.out, self.table = the_rig, out, table
        self.rtts = [int(x) for x in words("RTT", "0 80")]
        self.rounds = int(os.environ.get("ROUNDS") or 3)
        self.limit_s = float(os.environ.get("LIMIT") or 120)
        self.slow_s = float(os.environ.get("SLOW") or 30)
        self.patience = float(os.environ.get("QUIET") or 3)  # 0: does not look
        self.sizes = sizes(words("SIZES", ""))
        self.runs, self.number = [], 0
        self.left_out = {}  # (cell, peer): why
        self.disk = os.environ.get("DISK") or os.path.join(out, "disk")

    def one(self, cell, name, round_number):
        """A run of a peer; None when it cannot be had, which left_out tells."""
        if not peers.installed(name):
            self.left_out[cell, name] = "not installed"
            return
        _, count, start = peers.PEERS[name]
        self.number += 1
        t = peers.Try(self.rig, self.number, cell.box, cell.rtt, cell.tls, self.disk if cell.disk else self.rig.path("work"))
        try:
            argv = start(t)
            load = self.rig.quiet(self.patience)
            if cell.disk:
                os.sync()
            got = self.rig.run(argv, t.work, t.env, t.as_owner, self.limit_s)
            want, size = self.rig.boxes[cell.box]
            run = dict(got, peer=name, round=round_number, box=cell.box, rtt=cell.rtt, tls=cell.tls, disk=cell.disk,
                       messages=want, bytes=size, load=load, arrived=count(t) if got["code"] == 0 else 0)
            if name.startswith("raw-") and got["code"] == 0:  # reading the Maildir is no part of it
                with open(t.path("log"), encoding="utf-8") as handle:
                    told = json.loads(handle.read().strip().splitlines()[-1])
                run.update(wall=told["seconds"], cpu=told["cpu"])
            run["good"] = got["code"] == 0 and (run["arrived"] == want or name in ("pop2imap", "imapsync"))
            self.keep(cell, run, t)
        except (RuntimeError, OSError, ValueError, KeyError, IndexError) as why:
            self.left_out[cell, name] = str(why).strip().splitlines()[-1][:200]
        finally:
            t.close()

    def keep(self, cell, run, t):
        if not run["good"]:
            why = "took over %d s" % run["wall"] if run["code"] is None else "exit %s, %d of %d messages" % (
                run["code"], run["arrived"], run["messages"])
            self.left_out[cell, run["peer"]] = why + ": " + " ".join(rig.tail(t.path("log"), 300).split())
        elif run["wall"] > self.slow_s:
            self.left_out.setdefault((cell, run["peer"]), "slow: run once")
        self.runs.append(run)
        with open(os.path.join(self.out, "runs.jsonl"), "a", encoding="utf-8") as handle:
            handle.write(json.dumps(run) + "\n")
        print("# %d %-6s %3d ms %-5s %-4s %-13s %8.3f s  cpu %7.3f s  %6.1f MiB  %d/%d%s" % (
            run["round"], cell.box, cell.rtt, "TLS" if cell.tls else "plain", "disk" if cell.disk else "", run["peer"],
            run["wall"], run["cpu"], run["rss"] / 1024, run["arrived"], run["messages"],
            "" if run["good"] else "  FAILED"), flush=True)

    def everything(self):
        plan = rows.plan(self.table, self.rtts)
        for round_number in range(1, self.rounds + 1):
            for cell, names in plan.items():
                self.rig.mailbox(cell.box, self.sizes.get(cell.box))
                turn = round_number % len(names)
                for name in names[turn:] + names[:turn]:
                    if (cell, name) not in self.left_out:
                        self.one(cell, name, round_number)

    # ---- what it comes to ----

    def values(self, row, cell):
        """One number a round; and the runs they are of."""
        of = {}
        for run in self.runs:
            if run["good"] and rows.Cell(run["box"], run["rtt"], run["tls"], run["disk"]) == cell:
                of.setdefault(run["round"], {})[run["peer"]] = run
        out, used = [], []
        for by_peer in of.values():
            ours, theirs = by_peer.get(row.ours), by_peer.get(row.theirs)
            if not ours or (row.theirs and not theirs):
                continue
            used += [ours] + ([theirs] if theirs else [])
            if not row.theirs:
                out.append(ours[row.what] / 1024)
            else:
                out.append(ours[row.what] / max(theirs[row.what], 1e-6))
        return out, used

    def results(self):
        for row in self.table:
            for cell, target in rows.cells_of(row, self.rtts, self.table):
                values, used = self.values(row, cell)
                result = {"row": row.name, "title": row.title, "against": row.theirs, "box": cell.box, "rtt": cell.rtt,
                          "tls": cell.tls, "disk": cell.disk, "target": target, "rounds": len(values), "measured": None,
                          "verdict": "-", "note": ""}
                why = [("%s: %s" % (name, self.left_out[cell, name])) for name in (row.ours, row.theirs)
                       if (cell, name) in self.left_out]
                result["note"] = "; ".join(why)
                if values:
                    result["measured"] = statistics.median(values)
                    result["least"], result["most"] = min(values), max(values)
                    of = {name: statistics.median(run[row.what] for run in used if run["peer"] == name)
                          for name in (row.ours, row.theirs) if name}
                    result["medians"] = of
                    noisy = sum(run["load"] > NOISY for run in used)
                    if noisy:
                        result["note"] += "%snoisy: %d of %d runs" % ("; " if why else "", noisy, len(used))
                    if target is not None:
                        result["verdict"] = "met" if result["measured"] <= target else "MISSED"
                yield result


def number(x):
    return "-" if x is None else "%.3f" % x if x < 0.2 else "%.2f" % x if x < 20 else "%.1f" % x


def line(result):
    return [result["row"], result["against"] or "", result["box"], "%d ms" % result["rtt"], "TLS" if result["tls"] else "plain",
            number(result["target"]), number(result["measured"]),
            "%s..%s" % (number(result["least"]), number(result["most"])) if result["measured"] is not None else "-",
            str(result["rounds"]), result["verdict"], result["note"][:90]]


def table(results):
    head = ["row", "against", "mailbox", "RTT", "", "target", "measured", "range", "n", "", "note"]
    lines = [head] + [line(one) for one in results]
    wide = [max(len(row[k]) for row in lines) for k in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, wide)).rstrip() for row in lines) + "\n"


def main():
    out = os.path.abspath(sys.argv[1])
    smoke = bool(os.environ.get("SMOKE"))
    chosen = rows.SMOKE if smoke else rows.ROWS
    only = words("ROWS", "")
    unknown = set(only) - {row.name for row in chosen}
    if unknown:
        sys.exit("bench: no such row: %s; there are %s" % (" ".join(sorted(unknown)), " ".join(row.name for row in chosen)))
    chosen = [row for row in chosen if not only or row.name in only]
    the_rig = rig.Rig(out, os.environ.get("POPFERRY") or "build/popferry")
    bench = Bench(the_rig, out, chosen)
    os.makedirs(out, exist_ok=True)
    for name in ("runs.jsonl", "results.json", "table.txt", "chart.svg"):
        if os.path.exists(os.path.join(out, name)):
            os.remove(os.path.join(out, name))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began, whole = time.monotonic(), False
    try:
        the_rig.start()
        bench.everything()
        whole = True
    except rig.Missing as why:
        print("bench: %s" % why, file=sys.stderr)
        sys.exit(77)
    except KeyboardInterrupt:
        print("bench: interrupted; this is what there is", file=sys.stderr)
    finally:
        the_rig.stop()
    results = list(bench.results())
    text = table(results)
    with open(os.path.join(out, "results.json"), "w", encoding="utf-8") as handle:
        json.dump(results, handle, indent=1)
    with open(os.path.join(out, "table.txt"), "w", encoding="utf-8") as handle:
        handle.write(text)
    with open(os.path.join(out, "chart.svg"), "w", encoding="utf-8") as handle:
        handle.write(chart.draw(results))
    print(text)
    print("%d s; %s/table.txt, results.json, runs.jsonl, chart.svg" % (time.monotonic() - began, out))
    if not whole:
        sys.exit(130)
    if smoke and not all(one["measured"] is not None or "not installed" in one["note"] for one in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
