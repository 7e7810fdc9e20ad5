"""A guest, or another machine, with what has been seen in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from conformance.guests import machine

if TYPE_CHECKING:
    from conformance.guests import where

HERE = "here"  # the homes of a machine that is there already, on the file system that they are on
KEPT_CONSOLE = 40  # lines of each scenario


@dataclass
class Round:
    """One guest, with what has been seen in it."""

    kernel: str
    home_fs: str
    only: str = ""  # an expression for -k
    place: where.Local | where.Ssh | where.Vagrant | None = None  # a machine that is not ours to start
    init: str = "busybox"
    without: str = ""  # the protection that its jai leaves out
    version: str = ""
    total: int = 0
    began: float = 0
    ended: bool = False
    writing: bool = False  # jails were left so, and want the power to be cut
    running: str = ""
    log: str = ""  # of the kernel, where the machine itself tells it
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The guest's name in the report."""
        if self.place:
            return self.place.name + ("" if self.home_fs == HERE else f" {self.home_fs}")
        init = "" if self.init == "busybox" else f"/{self.init}"
        return f"{self.kernel}/{self.home_fs}{init}" + (f" without {self.without}" if self.without else "")

    @property
    def selection(self) -> list[str]:
        """Words for pytest."""
        guards = [f"--guards={self.without}"] if self.without else []
        part = [f"--part={self.place.part}"] if self.place and self.place.part else []
        return [*guards, *part, *(["-k", self.only] if self.only else [])]

    @property
    def failed(self) -> list[str]:
        """The scenarios that failed."""
        return [name for name, seen in self.found.items() if seen["outcome"] == "failed"]

    def hear(self, told: dict[str, Any]) -> None:
        """Take in one line of what the guest tells."""
        self.total += told.get("total", 0)
        self.running = told.get("begins", self.running)
        self.versions.update(told.get("versions", {}))
        self.ended = self.ended or "end" in told
        self.writing = told.get("writing", False)
        self.log = told.get("kernel", self.log)
        if "scenario" in told:
            seen = self.found.setdefault(told["scenario"], {"outcome": "passed", "seconds": 0.0, "said": ""})
            seen["seconds"] += told["seconds"]
            seen.update(told.get("about", {}))
            if told["outcome"] != "passed":
                seen["outcome"] = told["outcome"] if seen["outcome"] != "failed" else "failed"
                seen["said"] += told["said"]
            if told["when"] == "teardown":
                self.running = ""

    def close(self, console: str) -> None:
        """Judge what only an outsider sees: whether it came to its end, and what its kernel complained of."""
        if not self.ended and not self.broken:
            self.broken = f"the guest was lost in {self.running or 'its preparation'}: {console[-2000:]}"
        if self.running:
            seen = self.found.setdefault(self.running, {"seconds": 0.0, "said": ""})
            seen.update(outcome="failed", said="the guest was lost\n")
        said = machine.passages(console, boots=not self.place)
        for scenario, lines in said.items():
            if scenario in self.found:
                self.found[scenario]["console"] = lines[-KEPT_CONSOLE:]
        for scenario, lines in machine.complaints(said).items():
            seen = self.found.setdefault(scenario or "between the scenarios", {"seconds": 0.0, "said": ""})
            seen["outcome"] = "failed"
            seen["said"] += "\n".join(["the kernel complained:", *lines[:20], ""])
