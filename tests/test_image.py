"""The core takes whole, well-ordered plans and nothing else: scenario E17."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jai import steps
from jai._core import ffi, lib
from jai.plan import plan
from jai.policy import decide
from jai.steps import Step, encode
from tests.fakes import FakeHost, asked

HEADER = ffi.sizeof("struct jai_header")
ROW = ffi.sizeof("struct jai_step")


def good_steps() -> list[Step]:
    """Give a plan that the core takes."""
    host = FakeHost()
    return plan(decide(asked(host, "sh", "-c", "true"), host))  # type: ignore[arg-type]


GOOD = encode(good_steps())


def accepted(image: bytes) -> bool:
    """Ask the core; the buffer is aligned like a bytes object of Python."""
    result = ffi.new("struct jai_result *")
    lib.jai_check(image, len(image), result)
    return bool(result.outcome == lib.JAI_EXITED)


def test_a_good_plan_is_taken() -> None:
    """The control of everything below."""
    assert accepted(GOOD)


@pytest.mark.parametrize("size", [0, 1, HEADER - 1, HEADER, HEADER + ROW, len(GOOD) - 1])
def test_a_cut_image_is_refused(size: int) -> None:
    """Every prefix is something else than was encoded."""
    assert not accepted(GOOD[:size])


def test_trailing_bytes_are_refused() -> None:
    """The size in the header is the size of the image."""
    assert not accepted(GOOD + b"\0")


def changed(at: int, width: int, value: int) -> bytes:
    """Overwrite a number of the good image."""
    return GOOD[:at] + value.to_bytes(width, "little") + GOOD[at + width :]


@pytest.mark.parametrize("field", range(6))
@pytest.mark.parametrize("value", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_changed_header_is_refused(field: int, value: int) -> None:
    """Magic, version, size, counts: each must be what it was."""
    image = changed(field * 4, 4, value)

    assert accepted(image) == (image == GOOD)


@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_flipped_bytes_never_crash_the_check(edits: list[tuple[int, int]]) -> None:
    """Whatever is answered, it is answered."""
    image = bytearray(GOOD)
    for at, value in edits:
        image[at] = value
    accepted(bytes(image))


@settings(max_examples=300)
@given(st.binary(max_size=4096))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    """No noise is a plan."""
    assert not accepted(data)
    assert not accepted(GOOD[:HEADER] + data)


REQUIRED = sorted(
    {
        *(lib.JAI_LOCK, lib.JAI_USERNS, lib.JAI_ROOT, lib.JAI_PIVOT, lib.JAI_INIT, lib.JAI_PROC),
        *(lib.JAI_DROP, lib.JAI_SPAWN, lib.JAI_CHDIR, lib.JAI_FILTER, lib.JAI_EXEC),
    }
)


@pytest.mark.parametrize("kind", REQUIRED)
def test_a_plan_without_a_wall_is_refused(kind: int) -> None:
    """No image leaves out what makes it a jail, nor has it twice."""
    some = good_steps()
    without = [step for step in some if step.kind != kind]
    twice = [each for step in some for each in ([step, step] if step.kind == kind else [step])]

    assert len(without) == len(some) - 1
    assert not accepted(encode(without))
    assert not accepted(encode(twice))


@pytest.mark.parametrize("at", range(len(good_steps()) - 1))
def test_a_step_moved_to_the_end_is_refused(at: int) -> None:
    """The command's exec is the last thing in every plan."""
    some = good_steps()
    some.append(some.pop(at))

    assert not accepted(encode(some))


BAD_PATHS = ["", "relative", "/a/../b", "/a/./b", "/a//b", "/a/", "/..", "/.", "/" + "a" * 5000]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_could_mean_another_place_is_refused(path: str) -> None:
    """Targets and sources are absolute and plain."""
    for bad in (steps.bind(path, "/tmp", 0), steps.bind("/tmp", path, 0), steps.tmpfs(path, 0o755, 0)):
        some = good_steps()
        some.insert(4, bad)
        assert not accepted(encode(some)), path


@pytest.mark.parametrize("path", ["", "/absolute", "../up", "a/../../b", "a//b", "a/", "."])
def test_a_mask_outside_the_home_is_refused(path: str) -> None:
    """A mask is a plain path relative to the home."""
    some = good_steps()
    first = next(at for at, step in enumerate(some) if step.kind == lib.JAI_MASK)
    some.insert(first, steps.mask(path, "/home/ada"))

    assert not accepted(encode(some))


def test_unknown_kinds_and_flags_are_refused() -> None:
    """A newer plan is not half understood."""
    some = good_steps()
    some[3].flags |= 1 << 20
    assert not accepted(encode(some))
    some = good_steps()
    some[3].kind = lib.JAI_KINDS
    assert not accepted(encode(some))
