"""A Dovecot of our own on loopback, delays before it, and a stopwatch.

All of it lives in one folder, on a file system in memory where there is one, and goes away
at the end. Any user name logs in with the password `secret` and finds an empty mailbox.
"""
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import mail

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from ports import free_ports

SECRET = "secret"
MEMORY = "/dev/shm"
NOBODY = 65534  # owns the mail when we are root: Dovecot does not serve root's
SERVICES = ("pop3", "pop3s", "imap", "imaps")
START_S, STOP_S = 10, 5

CONFIG = """
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/dovecot.log
protocols = pop3 imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{root}/ca/server.pem
ssl_key = <{root}/ca/server.key
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_username_format = %n
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
first_valid_uid = {uid}
first_valid_gid = {gid}
mail_location = maildir:~/Maildir
mail_max_userip_connections = 0
pop3_no_flag_updates = yes
namespace inbox {{
  inbox = yes
}}
passdb {{
  driver = static
  args = password={secret}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={root}/mail/%n allow_all_users=yes
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service dns-client {{
  unix_listener dns-client {{
    mode = 0666
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
"""


class Missing(Exception):
    """Something that must be installed is not."""


def busy():
    """Seconds of work all processors have done."""
    with open("/proc/stat", encoding="ascii") as handle:
        row = [int(x) for x in handle.readline().split()[1:]]
    return (sum(row[:8]) - row[3] - row[4]) / os.sysconf("SC_CLK_TCK")


def tail(path, n=1200):
    try:
        with open(path, errors="replace", encoding="utf-8") as handle:
            return handle.read()[-n:]
    except OSError:
        return ""


class Rig:
    def __init__(self, helpers, popferry):
        self.popferry = os.path.realpath(popferry)
        self.server = None
        self.proxies = {}  # milliseconds: (process, ports, file)
        self.fixed = {}    # milliseconds: ports
        self.boxes = {}    # name: (messages, bytes)
        base = os.environ.get("BENCH_DIR") or (MEMORY if os.access(MEMORY, os.W_OK) else None)
        self.root = tempfile.mkdtemp(prefix="popferry-bench.", dir=base)
        os.chmod(self.root, 0o755)
        for name in ("run", "state", "mail", "work", "bin", "ca"):
            os.mkdir(os.path.join(self.root, name))
        for name in ("raw", "delay", "timed"):
            shutil.copy(os.path.join(helpers, name), os.path.join(self.root, "bin"))
        self.secret = self.path("secret")
        with open(os.open(self.secret, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as handle:
            handle.write(SECRET + "\n")
        self.ca = self.path("ca/ca.pem")
        me = (NOBODY, NOBODY) if os.getuid() == 0 else (os.getuid(), os.getgid())
        self.owner = me

    def path(self, name):
        return os.path.join(self.root, name)

    def bin(self, name):
        return self.path("bin/" + name)

    # ---- the server ----

    def certificates(self):
        where = self.path("ca")

        def openssl(*words):
            subprocess.run(("openssl",) + words, cwd=where, check=True, capture_output=True)
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *curve, "-days", "30", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=popferry bench",
                "-addext", "basicConstraints=critical,CA:TRUE")
        openssl("req", *curve, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
        with open(os.path.join(where, "server.ext"), "w", encoding="ascii") as handle:
            handle.write("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
                "-extfile", "server.ext", "-out", "server.pem")

    def start(self):
        dovecot = shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not dovecot or not os.path.exists("/usr/lib/dovecot/pop3") or not os.path.exists("/usr/lib/dovecot/imap"):
            raise Missing('Dovecot is missing; run "make deps" first')
        self.certificates()
        ports = dict(zip(SERVICES, free_ports(len(SERVICES))))
        uid, gid = self.owner
        with open(self.path("dovecot.conf"), "w", encoding="utf-8") as handle:
            handle.write(CONFIG.format(root=self.root, secret=SECRET, uid=uid, gid=gid, user=pwd.getpwuid(uid).pw_name,
                                       group=grp.getgrgid(gid).gr_name, **ports))
        os.chown(self.path("mail"), uid, gid)
        with open(self.path("start.log"), "wb") as log:
            self.server = subprocess.Popen([dovecot, "-F", "-c", self.path("dovecot.conf")], stdin=subprocess.DEVNULL,
                                           stdout=log, stderr=log)
        self.proxies[0] = (None, ports, None)
        end = time.monotonic() + START_S
        while not self.greets(ports["pop3"]) or not self.greets(ports["imap"]):
            if self.server.poll() is not None or time.monotonic() > end:
                raise RuntimeError("Dovecot does not start: " + tail(self.path("start.log")) + tail(self.path("dovecot.log")))
            time.sleep(0.05)

    @staticmethod
    def greets(port):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as peer:
                return peer.recv(64).startswith((b"+OK", b"* OK"))
        except OSError:
            return False

    def ports(self, rtt):
        """The four services, so many milliseconds away."""
        if rtt not in self.proxies:
            # The same ones again: to popferry another port is another account.
            here = self.fixed.setdefault(rtt, dict(zip(SERVICES, free_ports(len(SERVICES)))))
            there = self.proxies[0][1]
            seen = self.path("seen-%s" % rtt)
            process = subprocess.Popen([self.bin("delay"), "-d", str(rtt), "-o", seen] +
                                       ["%d:%d" % (here[name], there[name]) for name in SERVICES])
            self.proxies[rtt] = (process, here, seen)
            while not self.greets(here["pop3"]):
                if process.poll() is not None:
                    raise RuntimeError("the delay does not start: was one of its ports taken meanwhile?")
                time.sleep(0.02)
        return self.proxies[rtt][1]

    def close_proxy(self, rtt):
        """Ends it; what it saw: {service: {"round-trips": N, ...}}."""
        process, ports, seen = self.proxies.pop(rtt)
        process.terminate()
        process.wait()
        rows = {}
        with open(seen, encoding="ascii") as handle:
            for line in handle:
                words = line.split()
                rows[int(words[0])] = {words[k]: int(words[k + 1]) for k in range(1, len(words), 2)}
        return {name: rows[ports[name]] for name in SERVICES}

    def stop(self):
        for process in [p[0] for p in self.proxies.values()] + [self.server]:
            if process and process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
        if os.environ.get("KEEP"):
            print("kept: " + self.root, file=sys.stderr)
        else:
            shutil.rmtree(self.root, ignore_errors=True)

    # ---- mailboxes ----

    def maildir(self, user):
        return self.path("mail/%s/Maildir" % user)

    def chown(self, where):
        if os.getuid() == 0:
            for folder, _, files in os.walk(where):
                for path in [folder] + [os.path.join(folder, name) for name in files]:
                    os.chown(path, *self.owner)

    def mailbox(self, name, count=None):
        """Made when it is not there yet, and indexed by the server."""
        if name not in self.boxes:
            os.makedirs(self.path("mail/" + name))
            self.boxes[name] = mail.make(name, self.maildir(name), count)
            self.chown(self.path("mail/" + name))
            subprocess.run([self.bin("raw"), "-s", self.secret, "-P", str(self.ports(0)["pop3"]), "-u", name, "down"],
                           check=True, stdout=subprocess.DEVNULL)
        return self.boxes[name]

    def arrived(self, user):
        return count_maildir(self.maildir(user))

    def forget(self, user):
        shutil.rmtree(self.path("mail/" + user), ignore_errors=True)

    # ---- the stopwatch ----

    def quiet(self, patience, level=0.3):
        """Waits for others to be idle; returns how many processors they used at last."""
        if not patience:
            return 0.0
        end = time.monotonic() + patience
        while True:
            before, began = busy(), time.monotonic()
            time.sleep(0.2)
            load = (busy() - before) / (time.monotonic() - began)
            if load < level or time.monotonic() > end:
                return round(load, 2)

    def run(self, argv, work, env=None, as_owner=False, patience=240):
        """{code, wall, cpu, rss}; code None: it took too long. Output goes to work/log."""
        times = os.path.join(work, "times")
        more = {}
        if as_owner and os.getuid() == 0:
            self.chown(work)
            more = {"user": self.owner[0], "group": self.owner[1], "extra_groups": []}
        with open(os.path.join(work, "log"), "wb") as log:
            process = subprocess.Popen([self.bin("timed"), times] + argv, cwd=work, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=subprocess.STDOUT, env=dict(os.environ, **(env or {})), start_new_session=True,
                                       **more)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                end_group(process)
                return {"code": None, "wall": float(patience), "cpu": 0.0, "rss": 0}
            except BaseException:
                end_group(process)
                raise
        with open(times, encoding="ascii") as handle:
            code, wall, user, system, rss = handle.read().split()
        return {"code": int(code), "wall": float(wall), "cpu": float(user) + float(system), "rss": int(rss)}


def end_group(process):
    """Of a process that was started as the first of its own."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sig)
            process.wait(STOP_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def count_maildir(where):
    return sum(len(os.listdir(os.path.join(where, name))) for name in ("cur", "new")
               if os.path.isdir(os.path.join(where, name)))
