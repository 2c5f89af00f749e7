#!/usr/bin/env python3
"""TCP ports for servers that tests start, given to one rig at a time.

    ports.py N PID      prints N ports, free on 127.0.0.1 to 127.0.0.5, and keeps them while process PID lives

They are outside of those that the system gives to whoever asks for any, so no test that listens or
connects beside can get one between now and the server's start. Other rigs see them taken by the name
of a socket, which ends with its process.
"""
import os
import random
import socket
import sys
import time

held = []  # one socket a port


def candidates():
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as handle:
        low, high = map(int, handle.read().split())
    found = [port for port in range(10000, 65536) if not low <= port <= high]
    if len(found) < 1000:  # a system that gives away nearly all
        found = list(range(10000, 65536))
    random.shuffle(found)
    return found


def take(port):
    name = socket.socket(socket.AF_UNIX)
    tried = []
    try:
        name.bind("\0popferry-test-port-%d" % port)
        for last in range(1, 6):
            tried.append(socket.socket())
            tried[-1].bind(("127.0.0.%d" % last, port))
    except OSError:
        name.close()
        return False
    finally:
        for one in tried:
            one.close()
    held.append(name)
    return True


def free_ports(n):
    """Nobody else's while this process lives."""
    found = []
    for port in candidates():
        if len(found) == n:
            break
        if take(port):
            found.append(port)
    if len(found) < n:
        raise RuntimeError("no free ports")
    return found


def keep(pid):
    """In a process of its own, which takes part in nothing of its parent's."""
    if os.fork():
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    while os.path.exists("/proc/%d" % pid):
        time.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    print(*free_ports(int(sys.argv[1])))
    sys.stdout.flush()
    keep(int(sys.argv[2]))
