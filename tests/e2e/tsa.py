#!/usr/bin/env python3
"""A timestamp authority on loopback: openssl ts behind HTTP.

    tsa.py DIR PID [CERT KEY]    prints its port; answers by DIR/tsa.cnf while process PID
                                 lives; with CERT and KEY over TLS

DIR/manner, when it is there, is how to answer: "busy" (503), "html", "replay" (the first
answer again and again).
"""
import http.server
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time

DIR = os.path.abspath(sys.argv[1])
FIRST = []


def reply(query):
    with tempfile.TemporaryDirectory() as tmp:
        with open(tmp + "/q", "wb") as f:
            f.write(query)
        subprocess.run(["openssl", "ts", "-reply", "-config", DIR + "/tsa.cnf", "-queryfile", tmp + "/q",
                        "-out", tmp + "/r"], check=True, cwd=DIR, stderr=subprocess.DEVNULL)
        with open(tmp + "/r", "rb") as f:
            return f.read()


def manner():
    try:
        with open(DIR + "/manner") as f:
            return f.read().strip()
    except FileNotFoundError:
        return ""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        query = self.rfile.read(int(self.headers["Content-Length"]))
        how, body = manner(), b"no"
        good = self.headers["Content-Type"] == "application/timestamp-query"
        if good and how != "busy":
            body = FIRST[0] if how == "replay" and FIRST else reply(query)
            FIRST.append(body)
        self.send_response(503 if how == "busy" else 200 if good else 415)
        self.send_header("Content-Type", "text/html" if how == "html" else "application/timestamp-reply")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
while os.path.exists("/proc/" + sys.argv[2]):
    time.sleep(0.2)
