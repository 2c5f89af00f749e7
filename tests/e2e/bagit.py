#!/usr/bin/env python3
"""bagit.py DIR: is it a complete and valid bag, by all that RFC 8493 (BagIt 1.0) says?

Stricter where the RFC only advises: tag manifests list every tag file, dates and sizes in
bag-info.txt are right, and nothing is fetched from elsewhere. Prints what is wrong.
"""
import datetime
import hashlib
import os
import re
import stat
import sys
import unicodedata

wrong = []
LENGTH = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


def bad(text, *values):
    wrong.append(text % values)


def read_text(root, name, encoding="utf-8"):
    with open(os.path.join(root, name), "rb") as handle:
        raw = handle.read()
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        bad("%s has a byte order mark", name)
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as why:
        bad("%s is not in %s: %s", name, encoding, why)
        return raw.decode("latin-1")


def lines_of(text, name):
    """Lines end in LF, CR or CRLF, and so does the last."""
    if text and text[-1] not in "\r\n":
        bad("%s: the last line has no end", name)
    return [line for line in re.split("\r\n|\r|\n", text) if line]


def files_of(root):
    found = set()
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            inner = os.path.relpath(path, root)
            if stat.S_ISREG(mode):
                found.add(inner)
            elif not stat.S_ISDIR(mode):
                bad("%s is neither file nor folder", inner)
    return found


def declaration(root, files):
    """2.1.1: two lines and nothing else, in UTF-8. The encoding of the tag files."""
    if "bagit.txt" not in files:
        bad("there is no bagit.txt")
        return "utf-8"
    found = re.fullmatch("BagIt-Version: 1\\.0(\r\n|\r|\n)Tag-File-Character-Encoding: ([A-Za-z0-9._-]+)(\r\n|\r|\n)?",
                         read_text(root, "bagit.txt"))
    if not found:
        bad("bagit.txt does not say BagIt 1.0 and an encoding, in two lines")
        return "utf-8"
    return found.group(2)


def plain_path(written, name):
    """2.1.3: CR, LF and % are written as %0D, %0A and %25, and nothing else is."""
    if re.search("%(?!0[ADad]|25)", written):
        bad("%s: %s: a percent sign that stands for nothing", name, written)
    path = re.sub("%(0[ADad]|25)", lambda m: chr(int(m.group(1), 16)), written)
    parts = path.split("/")
    if path.startswith(("/", "~", "\\", "*")) or any(part in ("", ".", "..") for part in parts):
        bad("%s: %s does not lead to one place in the bag", name, written)
    return path


def manifest(root, name, algorithm, encoding):
    """{path: digest} as the lines say."""
    listed, same = {}, {}
    for line in lines_of(read_text(root, name, encoding), name):
        found = re.fullmatch("([0-9A-Fa-f]+)[ \t]+(.+)", line)
        if not found or len(found.group(1)) != LENGTH[algorithm]:
            bad("%s: this is no line of it: %s", name, line)
            continue
        path = plain_path(found.group(2), name)
        if path in listed:
            bad("%s: %s stands twice", name, path)
        key = unicodedata.normalize("NFC", path)
        if same.setdefault(key, path) != path:
            bad("%s: %s and another differ in nothing but normalization", name, path)
        listed[path] = found.group(1).lower()
    return listed


def compare(root, name, algorithm, listed):
    for path, digest in listed.items():
        full = os.path.join(root, path)
        if not os.path.isfile(full):
            bad("%s: %s is not there", name, path)
            continue
        with open(full, "rb") as handle:
            if hashlib.new(algorithm, handle.read()).hexdigest() != digest:
                bad("%s: %s was changed", name, path)


def bag_info(root, payload, encoding):
    """2.2.2: labels and values; a line that begins with a blank goes on with the one before."""
    fields = []
    for line in lines_of(read_text(root, "bag-info.txt", encoding), "bag-info.txt"):
        if line[0] in " \t" and fields:
            fields[-1][1] += " " + line.strip()
            continue
        label, colon, value = line.partition(":")
        if not colon or not label or label != label.strip() or value[:1] not in (" ", "\t", ""):
            bad("bag-info.txt: this is no label with a value: %s", line)
        fields.append([label, value.strip()])
    for label, at_most in (("payload-oxum", 1), ("bagging-date", 1), ("bag-size", 1), ("bag-group-identifier", 1), ("bag-count", 1)):
        if sum(one.lower() == label for one, _ in fields) > at_most:
            bad("bag-info.txt: %s stands twice", label)
    of = {label.lower(): value for label, value in fields}
    size = sum(os.path.getsize(os.path.join(root, path)) for path in payload)
    if of.get("payload-oxum") != "%d.%d" % (size, len(payload)):
        bad("Payload-Oxum is %s, not %d.%d", of.get("payload-oxum"), size, len(payload))
    try:
        datetime.date.fromisoformat(of.get("bagging-date", "2000-01-01"))
    except ValueError:
        bad("Bagging-Date is no date: %s", of["bagging-date"])


def check(root):
    files = files_of(root)
    encoding = declaration(root, files)
    payload = {path for path in files if path.startswith("data/")}
    tags = files - payload
    if not os.path.isdir(os.path.join(root, "data")):
        bad("there is no data/")
    if "fetch.txt" in files:
        bad("it has a fetch.txt")
    kinds = {"manifest": 0, "tagmanifest": 0}
    for name in sorted(tags):
        found = re.fullmatch("(tag)?manifest-([a-z0-9]+)\\.txt", name)
        if not found:
            continue
        if found.group(2) not in LENGTH:
            bad("%s: no algorithm of the RFC", name)
            continue
        listed = manifest(root, name, found.group(2), encoding)
        kinds[(found.group(1) or "") + "manifest"] += 1
        want = {tag for tag in tags if not tag.startswith("tagmanifest-")} if found.group(1) else payload
        for path in sorted(want - set(listed)):
            bad("%s does not list %s", name, path)
        for path in sorted(set(listed) - want):
            bad("%s lists %s, which it should not", name, path)
        compare(root, name, found.group(2), listed)
    for kind, count in kinds.items():
        if not count:
            bad("there is no %s", kind)
    if "bag-info.txt" in files:
        bag_info(root, payload, encoding)
    else:
        bad("there is no bag-info.txt")


def main():
    check(sys.argv[1])
    for text in wrong:
        print("bagit: %s: %s" % (sys.argv[1], text))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
