"""Machines of vagrant/Vagrantfile: brought up if they are not, and destroyed by whoever brought them up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from typing import TYPE_CHECKING

from conformance.guests.machine import MachineError
from conformance.guests.payload import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from conformance.guests.where import Vagrant

FOLDER = CHECKOUT / "vagrant"


@contextlib.asynccontextmanager
async def up(place: Vagrant, say: Callable[[str], None]) -> AsyncIterator[tuple[str, ...]]:
    """The machine while the block lasts: how ssh is called for it, but for its name."""
    ours = await _state(place.box) != "running"
    try:
        if ours:
            say(f"[{place.name}] vagrant up {place.box}")
            await _vagrant("up", place.box, "--no-parallel")
        with tempfile.NamedTemporaryFile("w", prefix="jai-vagrant-") as config:
            config.write(await _vagrant("ssh-config", place.box))
            config.flush()
            yield "ssh", "-F", config.name
    finally:
        if ours:
            await asyncio.shield(_vagrant("destroy", "--force", place.box))


async def _state(box: str) -> str:
    """Give the state that vagrant knows: running, not_created and the like."""
    lines = (await _vagrant("status", box, "--machine-readable")).splitlines()
    states = [line.split(",")[3] for line in lines if line.split(",")[1:3] == [box, "state"]]
    return states[0] if states else ""


async def _vagrant(*words: str) -> str:
    """Call vagrant in the folder of the Vagrantfile; its standard output.

    Raises: MachineError.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            "vagrant",
            *words,
            cwd=FOLDER,
            env={**os.environ, "VAGRANT_CHECKPOINT_DISABLE": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # ctrl-C is for us: it shall not be torn out of its tidying
        )
    except FileNotFoundError:
        message = "vagrant is not installed: sudo apt-get install vagrant vagrant-libvirt"
        raise MachineError(message) from None
    try:
        said = (await process.communicate())[0].decode(errors="replace")
    except asyncio.CancelledError:
        process.send_signal(signal.SIGINT)
        await process.wait()
        raise
    if process.returncode:
        message = f"vagrant {' '.join(words)} failed: {said[-2000:]}"
        raise MachineError(message)
    return said
