"""What the parts of the doctor hand to each other: who is examined, and what was found."""

from __future__ import annotations

from jai.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jai.host import Host
    from jai.options import Assignment

YES, NO, OPTIONAL = "✓", "✗", "–"  # noqa: RUF001 - what is printed


class Finding(Record):
    """What was found: the state, the words, what mends it."""

    state: str
    text: str
    hint: str = ""


class Patient(Record):
    """Whom and what is examined.

    `setup` is the command that sets strict mode up; `cwd` is empty if it is gone; `options` were typed
    after --doctor; `makes` are directories that the configuration would make; `idmaps` is the errno of an
    id-mapped mount by path, where root could try.  `scratch` holds what the probes make, and `jail` is the
    start of the name of what lies elsewhere; `before` is how the place of the scratch looked.
    """

    host: Host
    jai: tuple[str, ...]
    setup: str
    cwd: str
    config_dir: str
    storage: str
    options: tuple[Assignment, ...]
    makes: tuple[str, ...]
    account: tuple[Finding, ...]
    configuration: tuple[Finding, ...]
    idmaps: dict[str, int]
    scratch: str
    jail: str
    before: list[object] | None
    local_is_ours: bool

    @property
    def uid(self) -> int:
        """The user that is to be jailed."""
        return self.host.account.uid

    @property
    def home(self) -> str:
        """That user's home."""
        return self.host.home
