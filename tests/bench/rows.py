"""What must be shown. One row is one line of the table of targets.

A row divides one peer by another, both measured in the same round of the same cell, that
is: on the same mailbox, at the same round-trip time, with or without TLS. Targets by
(mailbox, milliseconds): the largest ratio that will do; None: only shown.
"""
import collections

Row = collections.namedtuple("Row", "name title ours theirs what tls disk targets")
Cell = collections.namedtuple("Cell", "box rtt tls disk")


def row(name, title, ours, theirs, targets, what="wall", tls=True, disk=False):
    return Row(name, title, ours, theirs, what, tls, disk, targets)


ROWS = [
    row("download", "POP3 download to null:", "pf-null", "raw-down",
        {("mixed", 0): 1.15, ("small", 0): 1.15, ("large", 0): 1.15, ("mixed", 80): 1.15, ("small", 80): 1.15}),
    row("archive-zst", "POP3 to archive, zst", "pf-zst", "mpop",
        {("mixed", 0): 1.0, ("small", 0): 0.8, ("mixed", 80): 0.5, ("small", 80): 0.1}),
    row("archive-disk", "the same on a real disk", "pf-zst", "mpop", {("mixed", 0): 0.4}, tls=False, disk=True),
    row("archive-gz", "POP3 to archive, gz", "pf-gz", "mpop",
        {("mixed", 0): 1.25, ("small", 0): 0.9, ("mixed", 80): 0.6, ("small", 80): 0.12}),
    row("upload", "archive to IMAP", "pf-up", "raw-multi", {("mixed", 0): 1.2, ("mixed", 80): 1.2}),
    row("upload-mbsync", "archive to IMAP", "pf-up", "mbsync",
        {("mixed", 0): 1 / 2.5, ("small", 0): 1 / 7, ("mixed", 80): 1 / 12}),
    row("upload-append", "archive to IMAP, no MULTIAPPEND", "pf-up-append", "raw-append",
        {("mixed", 0): 1.2, ("mixed", 80): 1.2}),
    row("ferry", "POP3 to IMAP", "pf-imap", "raw-both",
        {("mixed", 0): 1.3, ("small", 0): 1.3, ("mixed", 80): 1.3}),
    row("ferry-dsync", "POP3 to IMAP", "pf-imap", "dsync",
        {("mixed", 0): 1 / 5, ("small", 0): 1 / 20, ("tiny", 80): 1 / 100}, tls=False),
    row("ferry-pop2imap", "POP3 to IMAP", "pf-imap", "pop2imap", {("mixed", 0): 1 / 15, ("tiny", 80): 1 / 150}),
    row("cpu", "client CPU, download, TLS", "pf-null", "mpop", {("mixed", 0): 0.6, ("small", 0): 0.6}, what="cpu"),
    row("cpu-plain", "client CPU, download", "pf-null", "mpop", {("mixed", 0): 0.6, ("small", 0): 0.6}, what="cpu", tls=False),
    row("memory", "peak memory, download, MiB", "pf-null", None,
        {("large", 0): 32, ("small", 0): 32, ("mixed", 80): 48}, what="rss"),
    row("memory-zst", "peak memory, archive zst, MiB", "pf-zst", None,
        {("large", 0): 32, ("small", 0): 32, ("mixed", 80): 48}, what="rss"),
    row("memory-imap", "peak memory, POP3 to IMAP, MiB", "pf-imap", None,
        {("large", 0): 32, ("small", 0): 32, ("mixed", 80): 48}, what="rss"),
    row("memory-many", "peak memory, 100,000 messages, MiB", "pf-again", None, {("many", 0): 32, ("many", 80): 48}, what="rss"),
    row("rerun", "nothing new, 100,000 messages", "pf-again", "mpop-again", {("many", 0): 1.0, ("many", 80): 1.0}),
    row("fetchmail", "POP3 to archive, zst", "pf-zst", "fetchmail", {("tiny", 0): None}),
    row("getmail", "POP3 to archive, zst", "pf-zst", "getmail", {("tiny", 0): None}),
    row("imapsync", "archive to IMAP", "pf-up", "imapsync", {("tiny", 0): None}),
]

# Does the harness itself work? Few messages, every kind of peer, no promise.
SMOKE = [
    row("download", "POP3 download to null:", "pf-null", "raw-down", {("smoke", 0): None, ("smoke", 20): None}),
    row("archive-zst", "POP3 to archive, zst", "pf-zst", "mpop", {("smoke", 0): None}),
    row("upload", "archive to IMAP", "pf-up", "raw-multi", {("smoke", 0): None}),
    row("upload-append", "no MULTIAPPEND", "pf-up-append", "raw-append", {("smoke", 0): None}),
    row("ferry", "POP3 to IMAP", "pf-imap", "raw-both", {("smoke", 0): None}),
    row("ferry-dsync", "POP3 to IMAP", "pf-imap", "dsync", {("smoke", 0): None}, tls=False),
    row("memory", "peak memory, MiB", "pf-zst", None, {("smoke", 0): None}, what="rss"),
    row("rerun", "nothing new", "pf-again", "mpop-again", {("smoke", 0): None}),
]


def cells_of(one, rtts, table):
    """The cells in which a row is measured, with their targets."""
    for (box, rtt), target in one.targets.items():
        if rtt in rtts:
            yield Cell(box, rtt, one.tls, one.disk), target
    # A delay that no row has a target for: all are shown.
    known = {rtt for other in table for _, rtt in other.targets}
    for ms in rtts:
        if ms not in known:
            for box in sorted({box for box, _ in one.targets}):
                yield Cell(box, ms, one.tls, one.disk), None


def plan(table, rtts):
    """{cell: peers that run in it}, in the order of the rows."""
    cells = {}
    for one in table:
        for cell, _ in cells_of(one, rtts, table):
            peers = cells.setdefault(cell, [])
            peers += [name for name in (one.ours, one.theirs) if name and name not in peers]
    return cells
