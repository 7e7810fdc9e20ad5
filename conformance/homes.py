"""A realistic home, and how it and everything else outside the jail looks at a moment."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conformance import manifest
from conformance.accounts import must, run
from conformance.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testinfra.host import Host

    from conformance.accounts import Account

HERE = Path(__file__).parent  # at the same path on the machine under test
PROJECT = "project"
# Where root may look at the homes. On NFS root is nobody; the judge looks at what the server has.
SERVED = os.environ.get("JAI_SERVED_HOMES", "")
# The storage holds what jails change, so it is not part of the home's manifest (see Home.config).
STORAGE = ".jai"
MASKED = (
    *(".ssh", ".gnupg", ".local/share/keyrings", ".netrc", ".git-credentials", ".aws", ".azure"),
    *(
        ".config/gcloud",
        ".config/gh",
        ".config/Keybase",
        ".kube",
        ".config/kube",
        ".docker",
        ".password-store",
    ),
    *(".mozilla", ".config/mozilla", ".config/BraveSoftware", ".config/chromium", ".config/google-chrome"),
    *(".bash_history", ".zsh_history", ".npmrc", ".pypirc", ".cargo/credentials.toml", ".config/rclone"),
    *(".config/op", ".local/share/fish/fish_history", ".python_history", ".vault-token"),
    ".terraform.d/credentials.tfrc.json",
)


@dataclass(frozen=True)
class Home:
    """An account's home with a project in it, and a watched tree outside of it."""

    account: Account
    path: str
    watched_path: str

    @property
    def project(self) -> str:
        """The directory that jails are started in and granted."""
        return f"{self.path}/{PROJECT}"

    @property
    def seen_at(self) -> str:
        """Where the judge sees the home."""
        return SERVED + self.path.removeprefix("/home") if SERVED and self.path != "/root" else self.path

    def fill(self) -> None:
        """Empty the home and the watched tree and make their files anew."""
        if (
            self.seen_at != self.path
        ):  # by its owner: what the server loses, a client goes on seeing for a while
            must(self.account.sh("chmod -R u+rwx . && find . -mindepth 1 -delete"))
        else:
            _empty(self.account.host, [self.path])
        _empty(self.account.host, [self.watched_path])
        filler = str(HERE / "fill_home.py")
        must(self.account.script(filler, json.dumps(MASKED), self.watched_path))

    def manifest(self) -> Manifest:
        """The home but for the granted project and jai's storage."""
        return read(self.account.host, self.seen_at, without=[PROJECT, STORAGE])

    def watched(self) -> Manifest:
        """The tree of the same user that lies outside the home."""
        return read(self.account.host, self.watched_path)

    def config(self) -> Manifest:
        """The configuration of jai: the files of the storage directory, not the jails' directories."""
        found = read(self.account.host, f"{self.seen_at}/{STORAGE}")
        wanted = {path: entry for path, entry in found.items() if entry["type"] == "file" and "/" not in path}
        return Manifest({path: entry for path, entry in wanted.items() if not path.endswith(".lock")})


def read(host: Host, tree: str, without: Sequence[str] = ()) -> Manifest:
    """The manifest of a tree of the machine under test."""
    if host.backend.NAME == "local":
        return manifest.read(tree, without)
    words = [*(f"--without={path}" for path in without), tree]
    seen = must(run(host, f"/usr/bin/python3 -I -B {HERE}/manifest.py {shlex.join(words)}"))
    entries = Manifest()
    for line in seen.stdout.splitlines():
        entry = json.loads(line)
        del entry["tree"]
        entries[entry.pop("path")] = entry
    return entries


def _empty(host: Host, trees: Sequence[str]) -> None:
    """Remove everything in directories, whatever its modes."""
    places = shlex.join(trees)
    # An ordinary user's wall lets the home itself be removed as well.
    run(
        host,
        f"mkdir -p -- {places}; chmod -R u+rwx -- {places} 2>/dev/null; chattr -R -ia {places} 2>/dev/null",
    )
    must(run(host, f'find {places} -mindepth 1 -delete && test -z "$(find {places} -mindepth 1)"'))
