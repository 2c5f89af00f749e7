"""pop3.py DIR OWNER: a POP3 server of a few words, for what no real one does. Each file of
DIR is a message with its name as the UIDL, in the order of the names; one that ends in
".bad" cannot be had. Any user and password will do. Prints its port; ends with process
OWNER."""
import os
import socketserver
import sys
import threading
import time

box, owner = sys.argv[1], int(sys.argv[2])


class Session(socketserver.StreamRequestHandler):
    def say(self, *lines):
        self.wfile.write(b"".join(line + b"\r\n" for line in lines))

    def told(self, words, each):
        if len(words) > 1:
            n = int(words[1])
            return self.say(b"+OK %d %s" % (n, each(self.mail[n - 1])))
        self.say(b"+OK", *(b"%d %s" % (n + 1, each(m)) for n, m in enumerate(self.mail)), b".")

    def retrieve(self, name, data):
        if name.endswith(".bad"):
            return self.say(b"-ERR it cannot be read")
        lines = data.split(b"\r\n")[:-1]
        self.say(b"+OK", *(b"." + line if line[:1] == b"." else line for line in lines), b".")

    def handle(self):
        self.mail = []
        for name in sorted(os.listdir(box)):
            with open(os.path.join(box, name), "rb") as f:
                self.mail.append((name, f.read().replace(b"\r", b"").replace(b"\n", b"\r\n")))
        self.say(b"+OK ready")
        while line := self.rfile.readline():
            words = line.split() or [b""]
            command = words[0].upper()
            if command == b"CAPA":
                self.say(b"+OK", b"USER", b"UIDL", b".")
            elif command in (b"USER", b"PASS", b"NOOP", b"RSET"):
                self.say(b"+OK")
            elif command == b"STAT":
                self.say(b"+OK %d %d" % (len(self.mail), sum(len(m[1]) for m in self.mail)))
            elif command == b"LIST":
                self.told(words, lambda m: b"%d" % len(m[1]))
            elif command == b"UIDL":
                self.told(words, lambda m: m[0].encode())
            elif command == b"RETR":
                self.retrieve(*self.mail[int(words[1]) - 1])
            elif command == b"QUIT":
                return self.say(b"+OK")
            else:
                self.say(b"-ERR")


server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
server.daemon_threads = True
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
while os.path.exists("/proc/%d" % owner):
    time.sleep(0.2)
