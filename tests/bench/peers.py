"""Who takes part, and how each is run. A function gets a Try and says what to start.

Every one begins with nothing (no state, no destination), keeps the mail on the server, and
is asked afterwards how many messages arrived.
"""
import json
import os
import shutil

import rig


class Try:
    """One run: where it works, between which ports, and what came of it."""

    def __init__(self, the_rig, number, box, rtt, tls, store):
        self.rig, self.box, self.rtt, self.tls = the_rig, box, rtt, tls
        self.work = os.path.join(store, "try-%d" % number)
        os.makedirs(self.work)
        self.user = "to%d" % number
        ports = the_rig.ports(rtt)
        self.pop, self.imap = ports["pop3s" if tls else "pop3"], ports["imaps" if tls else "imap"]
        self.env, self.as_owner = {"HOME": self.work}, False
        self.maildir = os.path.join(self.work, "Maildir")

    def path(self, name):
        return os.path.join(self.work, name)

    def write(self, name, text):
        with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as handle:
            handle.write(text)
        return self.path(name)

    def make_maildir(self):
        for name in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(self.maildir, name))
        return self.maildir

    def source_maildir(self):
        """The mailbox again, for peers that upload from a Maildir."""
        self.make_maildir()
        source = os.path.join(self.rig.maildir(self.box), "cur")
        for name in os.listdir(source):
            os.link(os.path.join(source, name), os.path.join(self.maildir, "cur", name))
        return self.maildir

    def first(self, command):
        """A run before the one that counts, from nearby: command(t) is what to start."""
        here = Try(self.rig, 0, self.box, 0, False, self.rig.path("work"))
        try:
            done = self.rig.run(command(here), here.work, here.env)
            if done["code"] != 0:
                raise RuntimeError("the run before it: exit %s: %s" % (done["code"], rig.tail(here.path("log"))))
        finally:
            here.close()

    def close(self):
        shutil.rmtree(self.work, ignore_errors=True)
        self.rig.forget(self.user)


# ---- what came of it: messages, of a run that ended with 0 ----

def by_maildir(t):
    return rig.count_maildir(t.maildir)


def by_server(t):
    return t.rig.arrived(t.user)


def by_report(t):
    with open(t.path("report.json"), encoding="utf-8") as handle:
        told = json.load(handle)
    return told["stored"] + told["duplicate"] + told["known"]


def by_raw(t):
    with open(t.path("log"), encoding="utf-8") as handle:
        return json.loads(handle.read().strip().splitlines()[-1])["messages"]


PEERS = {}


def peer(name, program, count):
    def keep(function):
        PEERS[name] = (program, count, function)
        return function
    return keep


def installed(name):
    """The program of a peer, or None."""
    program = PEERS[name][0]
    if program.isupper():  # named by the environment
        program = os.environ.get(program) or ""
    return "raw" if program in ("raw", "popferry") else shutil.which(program)


# ---- our own ----

def raw(t, what):
    argv = [t.rig.bin("raw"), "-s", t.rig.secret, "-P", str(t.pop), "-u", t.box, "-I", str(t.imap), "-v", t.user,
            "-m", t.rig.maildir(t.box)]
    return argv + (["-c", t.rig.ca] if t.tls else []) + [what]


peer("raw-down", "raw", by_raw)(lambda t: raw(t, "down"))
peer("raw-multi", "raw", by_server)(lambda t: raw(t, "multi"))
peer("raw-append", "raw", by_server)(lambda t: raw(t, "append"))
peer("raw-both", "raw", by_server)(lambda t: raw(t, "both"))


def pop_url(t):
    return "pop3%s://%s@localhost:%d" % ("s" if t.tls else "", t.box, t.pop)


def imap_url(t):
    return "imap%s://%s@localhost:%d/INBOX" % ("s" if t.tls else "", t.user, t.imap)


def popferry(t, *words, state=None):
    argv = [t.rig.popferry, "copy", "-q", "--ca-file", t.rig.ca, "--state", state or t.path("state"), "--progress", "never",
            "--report", t.path("report.json")] + list(words)
    if any(word.startswith("pop3") for word in words):
        argv += ["--source-password-file", t.rig.secret] + ([] if t.tls else ["--source-tls", "none"])
    if any(word.startswith("imap") for word in words):
        argv += ["--dest-password-file", t.rig.secret] + ([] if t.tls else ["--dest-tls", "none"])
    return argv


def kept_archive(t):
    """What goes up from an archive: made once from the mailbox."""
    where = t.rig.path("archive-" + t.box)
    if not os.path.isdir(where):
        t.first(lambda here: popferry(here, pop_url(here), "archive:" + where + ".new", "--codec", "zst",
                                      "--dedup", "none"))
        os.rename(where + ".new", where)
    return "archive:" + where


def without_multiappend(t):
    return ["--dest-profile", t.write("single.conf", "[imap]\nmultiappend = no\n")]


peer("pf-null", "popferry", by_report)(lambda t: popferry(t, pop_url(t), "null:"))
peer("pf-zst", "popferry", by_report)(lambda t: popferry(t, pop_url(t), "archive:" + t.path("a"), "--codec", "zst"))
peer("pf-gz", "popferry", by_report)(lambda t: popferry(t, pop_url(t), "archive:" + t.path("a"), "--codec", "gz"))
peer("pf-imap", "popferry", by_report)(lambda t: popferry(t, pop_url(t), imap_url(t)))
peer("pf-up", "popferry", by_report)(lambda t: popferry(t, kept_archive(t), imap_url(t)))
peer("pf-up-append", "popferry", by_report)(
    lambda t: popferry(t, kept_archive(t), imap_url(t), *without_multiappend(t)))


@peer("pf-again", "popferry", by_report)
def pf_again(t):
    state = t.rig.path("again-%s-%d-%d" % (t.box, t.rtt, t.tls))
    argv = popferry(t, pop_url(t), "null:", state=state)
    # One to copy, and one that finds nothing new, as the one before such a run mostly did.
    for _ in range(0 if os.path.isdir(state) else 2):
        if t.rig.run(argv, t.work)["code"] != 0:
            shutil.rmtree(state, ignore_errors=True)
            raise RuntimeError("the first run failed: " + rig.tail(t.path("log")))
    return argv


# ---- POP3 to a Maildir ----

def mpop_config(t, uidls, delivery):
    tls = "tls on\ntls_starttls off\ntls_trust_file %s\n" % t.rig.ca if t.tls else "tls off\n"
    return t.write("mpoprc", "account a\nhost localhost\nport %d\nuser %s\npassword %s\nauth user\n%skeep on\npipelining auto\n"
                   "uidls_file %s\ndelivery %s\naccount default : a\n"
                   % (t.pop, t.box, rig.SECRET, tls, uidls, delivery))


@peer("mpop", "mpop", by_maildir)
def mpop(t):
    return ["mpop", "-Q", "-C", mpop_config(t, t.path("uidls"), "maildir " + t.make_maildir())]


@peer("mpop-again", "mpop", lambda t: t.rig.boxes[t.box][0])
def mpop_again(t):
    """Its list of UIDLs knows host and user, not the port."""
    uidls = t.rig.path("again-mpop-" + t.box)
    if not os.path.exists(uidls):
        t.first(lambda here: ["mpop", "-Q", "-C", mpop_config(here, uidls, "mbox " + here.path("mbox"))])
    return ["mpop", "-Q", "-C", mpop_config(t, uidls, "mbox " + t.path("mbox"))]


@peer("fetchmail", "fetchmail", by_maildir)
def fetchmail(t):
    tls = "ssl sslcertfile %s sslcertck" % t.rig.ca if t.tls else "sslproto ''"
    t.make_maildir()
    deliver = t.write("deliver", "#!/bin/sh\ncat >%s/tmp/$$ && mv %s/tmp/$$ %s/new/$$.$(date +%%s%%N)\n"
                      % (t.maildir, t.maildir, t.maildir))
    os.chmod(deliver, 0o700)
    config = t.write("fetchmailrc", "set no syslog\nset no bouncemail\nset idfile %s\npoll localhost protocol pop3 port %d:\n"
                     " user '%s' password '%s' keep fetchall %s mda \"%s\"\n"
                     % (t.path("ids"), t.pop, t.box, rig.SECRET, tls, deliver))
    t.env["FETCHMAILHOME"] = t.work
    return ["fetchmail", "-f", config, "--nodetach", "--silent"]


@peer("getmail", "getmail", by_maildir)
def getmail(t):
    config = t.write("getmailrc", "[retriever]\ntype = %s\nserver = localhost\nport = %d\nusername = %s\npassword = %s\n%s"
                     "[destination]\ntype = Maildir\npath = %s/\n[options]\nread_all = true\ndelete = false\nverbose = 0\n"
                     % ("SimplePOP3SSLRetriever" if t.tls else "SimplePOP3Retriever", t.pop, t.box, rig.SECRET,
                        "ca_certs = %s\n" % t.rig.ca if t.tls else "", t.make_maildir()))
    t.as_owner = True  # it refuses root
    return ["getmail", "--getmaildir", t.work, "--rcfile", config, "-q"]


# ---- to IMAP ----

@peer("dsync", "doveadm", by_server)
def dsync(t):
    """POP3 to IMAP. It hangs on TLS: only for plain cells."""
    uid = t.rig.owner[0]
    os.makedirs(t.path("run"))
    os.makedirs(t.path("home"))
    settings = {"log_path": t.path("dlog"), "base_dir": t.rig.path("run"), "state_dir": t.path("run"),
                "mail_home": t.path("home"), "first_valid_uid": uid, "stats_writer_socket_path": "",
                "pop3c_host": "127.0.0.1", "pop3c_port": t.pop, "pop3c_user": t.box, "pop3c_password": rig.SECRET,
                "pop3c_ssl": "no", "imapc_host": "127.0.0.1", "imapc_port": t.imap, "imapc_user": t.user,
                "imapc_password": rig.SECRET, "imapc_ssl": "no", "mail_location": "imapc:" + t.path("imapc")}
    config = t.write("doveadm.conf", "".join("%s = %s\n" % pair for pair in settings.items()) +
                     "namespace inbox {\n inbox = yes\n separator = /\n}\n")
    t.as_owner = True
    t.env["USER"] = str(uid)
    return ["doveadm", "-c", config, "sync", "-1", "-R", "pop3c:"]


@peer("mbsync", "mbsync", by_server)
def mbsync(t):
    os.makedirs(t.path("state"))
    config = t.write("mbsyncrc", "IMAPAccount far\nHost localhost\nPort %d\nUser %s\nPass %s\nAuthMechs LOGIN\n%s\n"
                     "IMAPStore far\nAccount far\n\nMaildirStore near\nPath %s/\nInbox %s\n\n"
                     "Channel c\nFar :far:\nNear :near:\nPatterns INBOX\nSync Push\nCopyArrivalDate yes\nSyncState %s/\n"
                     % (t.imap, t.user, rig.SECRET,
                        "SSLType IMAPS\nCertificateFile %s\n" % t.rig.ca if t.tls else "SSLType None\n",
                        t.work, t.source_maildir(), t.path("state")))
    return ["mbsync", "-q", "-c", config, "c"]


@peer("pop2imap", "POP2IMAP", by_server)
def pop2imap(t):
    t.env.update(TZ="UTC", SSL_CERT_FILE=t.rig.ca)
    return [os.environ["POP2IMAP"], "--host1", "localhost", "--port1", str(t.pop), "--user1", t.box, "--password1", rig.SECRET,
            "--host2", "localhost", "--port2", str(t.imap), "--user2", t.user, "--password2", rig.SECRET,
            "--quiet"] + (["--ssl1", "--ssl2"] if t.tls else [])


@peer("imapsync", "IMAPSYNC", by_server)
def imapsync(t):
    ports = t.rig.ports(t.rtt)
    argv = [os.environ["IMAPSYNC"], "--host1", "localhost", "--port1", str(ports["imaps" if t.tls else "imap"]), "--user1", t.box,
            "--password1", rig.SECRET, "--host2", "localhost", "--port2", str(t.imap), "--user2", t.user,
            "--password2", rig.SECRET, "--nolog", "--noreleasecheck", "--nofoldersizes", "--nofoldersizesatend",
            "--tmpdir", t.work, "--pidfile", t.path("pid")]
    if not t.tls:
        return argv + ["--nossl1", "--nossl2", "--notls1", "--notls2"]
    for side in "12":
        argv += ["--ssl" + side, "--sslargs" + side, "SSL_verify_mode=1", "--sslargs" + side, "SSL_ca_file=" + t.rig.ca]
    return argv
