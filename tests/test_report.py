"""The report: of a real run, whole with strange texts in it, and readable in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from conformance.abilities import needs
from conformance.conftest import *  # noqa: F403 - its fixtures
from conformance.guests import page, report
from conformance.guests.rounds import Round

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

# It harms nothing, also without a jail.
SCENARIO = "test_secrets_of_the_environment_are_gone"
HOSTILE = (
    "\x1b[2J</pre></details><script>document.title='mine'</script><img src=x onerror=alert(1)>\u202e\udcff\0"
)
WIDE, PHONE = 1280, 390


def tells(root: Path, *options: str) -> bytes:
    """What is told of a scenario that is really run on this machine."""
    line = 'exec 3>&1 >/dev/null; exec "$@"'
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "conformance.guests.tell"]
    words += ["-k", SCENARIO, "--mode=casual", *options, "conformance/test_persistence.py"]
    done = subprocess.run(
        ["sh", "-c", line, "sh", *words], cwd=root, stdout=subprocess.PIPE, check=False, timeout=120
    )
    return done.stdout


def judged(root: Path, name: str, *options: str) -> Round:
    """A round with that scenario."""
    its = Round("here", name, version=os.uname().release)
    for told in tells(root, *options).splitlines():
        its.hear(json.loads(told))
    its.close("")
    return its


@pytest.fixture(scope="module")
def found(root: Path) -> dict[str, Any]:
    """What is known of two runs of a scenario, with jai and without, and of one that has just begun."""
    rounds = [judged(root, "held"), judged(root, "bare", "--jai", str(root / "conformance/fakes/no-jail"))]
    begun = Round("here", "begun", "D01 or D02")
    begun.hear({"begins": HOSTILE, "total": 7})
    rounds[1].found[rounds[1].failed[0]]["reason"] += HOSTILE
    return report.collect([*rounds, begun], f"make conformance K={HOSTILE}")


@pytest.fixture
def written(found: dict[str, Any], tmp_path: Path) -> Path:
    """The page that is made of it."""
    return report.write(found, tmp_path / "report")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """A Chromium without a window."""
    from selenium import webdriver  # noqa: PLC0415 - not where there is no browser
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # The wall stands around it, in which it can make no sandbox of its own.
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", f"user-data-dir={tmp_path}/chromium"):
        options.add_argument(f"--{word}")
    made = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield made
    made.quit()


def test_a_run_is_told_as_it_was(found: dict[str, Any]) -> None:
    """With jai every scenario held, without it one failed; each says what was run, and its plan."""
    held, bare, begun = found["guests"]

    assert {one["outcome"] for one in held["scenarios"]} == {"passed"}
    assert "failed" in {one["outcome"] for one in bare["scenarios"]}
    assert page.verdict([held])[0] == "passed"
    assert page.verdict([held, begun])[0] == "skipped"
    assert page.verdict(found["guests"])[0] == "failed"
    for one in held["scenarios"]:
        inside = [run for run in one["runs"] if "mode" in run]
        assert inside
        assert all(f"-m {one['mode']} -j" in run["typed"] for run in inside)
        assert one["expected"].endswith(".")
        assert one["clauses"] == ["I03"]
        assert "filter" in one["plan"]
        assert one["again"].startswith(f"make conformance KERNEL=here HOME_FS=held MODE={one['mode']} K=")


def test_what_this_machine_has_told_becomes_a_report(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make conformance` leaves a file for each round, here a whole one and one that was cut off."""
    told, folder = tmp_path / "told", tmp_path / "report"
    told.mkdir()
    whole = tells(root)
    (told / "disk").write_bytes(whole)
    (told / "xfs").write_bytes(whole.splitlines(keepends=True)[0])
    monkeypatch.setenv("ASKED_K", "a or b")

    assert report.main(["--told", str(told), "--folder", str(folder)]) == 0

    found = json.loads((folder / "report.json").read_text())
    guests = {guest["name"]: guest for guest in found["guests"]}
    assert found["asked"] == "make conformance K='a or b'"
    assert {name: guest["ended"] for name, guest in guests.items()} == {"local": True, "local xfs": False}
    assert guests["local xfs"]["scenarios"] == []
    for one in guests["local"]["scenarios"]:
        assert one["outcome"] == "passed"
        assert one["again"].startswith(f"make conformance GUEST=local MODE={one['mode']} K='{SCENARIO} and ")
    assert capsys.readouterr().out.startswith("the report: ")


def test_strange_texts_stay_texts(written: Path) -> None:
    """No text of a scenario becomes a part of the page, or acts on the eyes of who reads it."""
    text = written.read_text(encoding="utf-8")

    assert re.findall(r"<(?:script|img)\b", text) == []
    assert not page.STRANGE.search(text)
    assert "&lt;script&gt;" in text
    assert "\\u202e\\xff␀" in text
    assert "default-src 'none'" in text
    assert "here/begun was to try only <code>D01 or D02</code>" in text


@pytest.mark.parametrize("name", [
    "conformance/test_x.py::test_removing[ada-local-rm -rf ~/* ~/.[!.]*-casual]",
    "tests/test_x.py::test_b[sh and not zsh-local]",
    "test_plain",
])  # fmt: skip
def test_what_is_selected_again_is_that_scenario(name: str, tmp_path: Path) -> None:
    """Pytest understands the expression, and it selects the scenario and not its neighbour."""
    function, _, parameters = name.rpartition("::")[2].removesuffix("]").partition("[")
    code = f"def {function}(): pass\ndef test_other(): pass\n"
    if parameters:
        mark = f"@pytest.mark.parametrize('x', [0, 1], ids=[{parameters!r}, 'other'])"
        code = f"import pytest\n{mark}\n" + code.replace("():", "(x):", 1)
    (tmp_path / "test_x.py").write_text(code)
    words = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "-k"]

    done = subprocess.run(
        [*words, report.selects(name), "test_x.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert [line for line in done.stdout.splitlines() if "::" in line] == [
        f"test_x.py::{function}" + (f"[{parameters}]" if parameters else "")
    ]


@needs("chromium")
@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_a_browser_shows_the_page(browser: Chrome, written: Path, width: int) -> None:
    """It complains of nothing; a cell leads to its opened scenarios; nothing is wider than the window."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(written.as_uri())
    is_open = "return document.querySelector('details.cell').open"

    assert browser.execute_script(is_open) is False
    browser.execute_script("document.querySelector('table.matrix td a').click()")
    assert browser.execute_script(is_open) is True
    browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    too_wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert browser.execute_script(too_wide) is False
    browser.execute_script("document.body.append('wide'.repeat(width))".replace("width", str(width)))
    browser.execute_script("document.body.style.overflowWrap = 'normal'")  # a control
    assert browser.execute_script(too_wide) is True
    assert browser.title.startswith("✘ jai: ")
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
