"""What another user of the machine would try; run by the system's own python with nothing of ours.

Takes one JSON object on standard input: ``targets`` (each with ``kind`` stream, packet or tcp, and ``address``),
``payloads`` (name to hexadecimal bytes), ``idle`` (connections to leave open), ``answer_s`` (how long an answer may
take before it is ``silence``) and ``folders`` to squat in. Prints what happened to each attempt: the name of an
error, ``closed``, or what was answered.
"""

import json
import os
import select
import socket
import sys

KINDS = {"stream": socket.SOCK_STREAM, "packet": socket.SOCK_SEQPACKET}
IDLE_S = 0.5


def connect(target):
    if target["kind"] == "tcp":
        return socket.create_connection(tuple(target["address"]), 2.0)
    sock = socket.socket(socket.AF_UNIX, KINDS[target["kind"]])
    sock.settimeout(2.0)
    try:
        sock.connect(target["address"])
    except OSError:
        sock.close()
        raise
    return sock


def attempt(target, payload, answer_s):
    try:
        sock = connect(target)
    except OSError as error:
        return type(error).__name__
    with sock:
        sock.settimeout(answer_s)
        try:
            sock.sendall(payload)
            answer = sock.recv(4096)
        except TimeoutError:
            return "silence"
        except OSError:
            return "closed"
        return answer.decode("latin-1") if answer else "closed"


def flood(target, count):
    socks, refused = [], 0
    for _ in range(count):
        try:
            socks.append(connect(target))
        except OSError:
            refused += 1
    if socks:
        # They stay for a moment, saying nothing.
        select.select([], [], [], IDLE_S)
    for sock in socks:
        sock.close()
    return refused


def squat(folder):
    found = {}
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.bind(os.path.join(folder, "squat"))
        found["bind"] = "done"
    except OSError as error:
        found["bind"] = type(error).__name__
    try:
        os.rename(folder, folder + ".away")
        found["rename"] = "done"
    except OSError as error:
        found["rename"] = type(error).__name__
    return found


def main():
    order = json.load(sys.stdin)
    attempts = []
    for target in order["targets"]:
        payloads = {name: bytes.fromhex(text) for name, text in order["payloads"].items()}
        outcomes = {name: attempt(target, payload, order["answer_s"]) for name, payload in payloads.items()}
        refused = flood(target, order["idle"])
        attempts.append({"target": target["address"], "outcomes": outcomes, "idle_refused": refused})
    squats = {folder: squat(folder) for folder in order["folders"]}
    print(json.dumps({"uid": os.getuid(), "attempts": attempts, "squats": squats}))


main()
