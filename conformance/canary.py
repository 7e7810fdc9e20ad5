"""A process of the user with a listening socket, outside of every jail: it must outlive all of them."""

from __future__ import annotations

import secrets
import shlex
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.accounts import run

if TYPE_CHECKING:
    from conformance.accounts import Account

# It answers in HTTP, so that it is also the server that network tools are tried against.
SERVER = """
import os, socket, sys
token, ready = sys.argv[1:]
listener = socket.create_server(("127.0.0.1", 0))
with open(ready + ".new", "w") as file:
    file.write(f"{os.getpid()} {listener.getsockname()[1]}")
os.rename(ready + ".new", ready)
while True:
    peer, _ = listener.accept()
    with peer:
        try:
            peer.settimeout(5)
            peer.recv(4096)
            head = f"HTTP/1.0 200 OK\\r\\nContent-Length: {len(token)}\\r\\n\\r\\n"
            peer.sendall((head + token).encode())
        except OSError:
            pass
"""


@dataclass(frozen=True)
class Canary:
    """The running process."""

    account: Account
    pid: int
    port: int
    token: str

    @property
    def url(self) -> str:
        """Where it answers with its token."""
        return f"http://127.0.0.1:{self.port}/"

    def state(self) -> dict[str, str]:
        """Since when it lives, and what its socket answers."""
        host = self.account.host
        if host.backend.NAME == "local":
            # Where the machine is emulated and busy it may be late: that is no loss.
            answer = self._answer() or self._answer() or self._answer()
            return {"type": "process", "alive since": self._since(), "answer": answer}
        line = f"cut -d' ' -f22 /proc/{self.pid}/stat; curl -q -s --noproxy '*' --max-time 5 {self.url}"
        since, _, answer = run(host, line).stdout.partition("\n")
        return {"type": "process", "alive since": since or "dead", "answer": answer}

    def _since(self) -> str:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[19]
        except OSError:
            return "dead"

    def _answer(self) -> str:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 20) as peer:
                peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
                with peer.makefile() as told:
                    return told.read().rpartition("\n")[2]
        except OSError:
            return ""

    def stop(self) -> None:
        """End it."""
        run(self.account.host, f"kill -9 {self.pid}")


def start(account: Account, folder: str) -> Canary:
    """Start a canary that tells in the folder when it is ready."""
    token = secrets.token_hex(8)
    ready = f"{folder}/canary-{token}"
    code = shlex.quote(SERVER)
    script = f"setsid /usr/bin/python3 -I -c {code} {token} {ready} </dev/null >/dev/null 2>&1 &"
    account.sh(script)
    deadline = time.monotonic() + 20
    while not (told := run(account.host, f"cat {ready}").words):
        if time.monotonic() > deadline:
            message = "the canary does not start"
            raise RuntimeError(message)
        time.sleep(0.02)
    run(account.host, f"rm -f {ready}")
    return Canary(account, int(told[0]), int(told[1]), token)
