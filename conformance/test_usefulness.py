"""A jail nobody can work in protects nobody: what must work inside, with the originals as they were."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from conformance.abilities import needs
from conformance.accounts import must, run
from conformance.clauses import clause
from conformance.jails import in_each_mode, in_the_user_s_own_modes

if TYPE_CHECKING:
    from conformance.conftest import MakeJail, Outside


# What strict mode answers differently: the outside's answers to these.  The home is the user's.
# The helper has one number for both ids, so inside jai's group has the number of the user.
ANSWERS_OF_JAI = {
    "whoami": "echo jai",
    "id -u": "id -u jai",
    "id -un": "echo jai",
    "id -gn": "echo jai",
    "getent passwd $(id -u)": "echo jai:x:$(id -u jai):$(id -u jai):jailed:/home/ada:/bin/bash",
    "getent group $(id -g)": "echo jai:x:$(id -u jai):",
}

TINY_WHEEL = """
import base64, hashlib, zipfile
info = "tiny-1.0.dist-info"
files = {
    "tiny.py": "ANSWER = 42\\n",
    f"{info}/METADATA": "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n",
    f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: hand\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
}
record = "".join(f"{name},,\\n" for name in [*files, f"{info}/RECORD"])
with zipfile.ZipFile("tiny-1.0-py3-none-any.whl", "w") as wheel:
    for name, text in {**files, f"{info}/RECORD": record}.items():
        wheel.writestr(name, text)
"""


def works(jail: MakeJail, outside: Outside, mode: str, script: str, *options: str) -> list[str]:
    """What a script prints that must succeed inside, without a change outside the grant; its lines."""
    before = outside.state()

    seen = jail(mode).sh(f"set -e\n{script}", *options, timeout=180)

    assert seen.rc == 0, seen.stderr
    assert outside.state() == before
    return seen.stdout.splitlines()


@clause("W01")
@needs("git")
@in_each_mode
def test_git(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Clone, commit, rebase and worktree, in the project and with the identity that the mode shows."""
    script = """
        exec 2>&1
        git config --global user.email ada@example.org; git config --global user.name Ada
        git init -q -b main origin; cd origin; echo 1 > a; git add a; git commit -qm one; cd ..
        git clone -q origin clone; cd clone; git checkout -q -b topic
        echo 2 > b; git add b; git commit -qm two
        cd ../origin; echo 3 > c; git add c; git commit -qm three; cd ../clone
        git fetch -q; git rebase -q origin/main; git worktree add -q ../tree main
        git log --format=%s; ls ../tree; git status --short
    """

    assert works(jail, outside, mode, script) == ["two", "three", "one", "a"]
    log = outside.home.account.sh("git -C project/clone log --format=%s")
    assert log.words == ["two", "three", "one"]  # outside, the work is there and usable


# The identity is one that no jail needs to look up; hooks leave a line in the work tree.
GIT_SETTINGS = """
    set -e
    export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A
    export GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE='1795440000 +0000'
    export GIT_COMMITTER_DATE='1795440001 +0000' GIT_CONFIG_COUNT=1
    export GIT_CONFIG_KEY_0=protocol.file.allow GIT_CONFIG_VALUE_0=always
"""
GIT_REPOSITORY = """
    git init -q -b main lib; (cd lib; echo 1 > l; git add l; git commit -qm lib)
    git init -q -b main work; cd work
    git submodule --quiet add ../lib lib; echo hooks > .gitignore; echo 1 > a; git add .; git commit -qm one
    git worktree add -q ../old -b old
    for hook in pre-commit post-checkout post-merge post-rewrite; do
        printf '#!/bin/sh\necho %s >> "$(git rev-parse --show-toplevel)/hooks"\n' $hook > .git/hooks/$hook
        chmod +x .git/hooks/$hook
    done
"""
GIT_WORK = """
    exec 2>&1
    git checkout -q -b topic; echo 2 > b; git add b; git commit -qm two; git commit -q --amend -m 2.5
    git checkout -q main; echo 3 > c; git add c; git commit -qm three
    git checkout -q topic; git rebase -q main; git checkout -q main; git merge -q topic; git tag v1
    echo changed > a; git stash push -q; git stash list; git stash pop -q; git checkout -q a
    (cd ../lib; echo 2 > l; git commit -qam lib-two)
    git submodule --quiet update --remote 2>/dev/null; git commit -qam newer-lib
    git submodule --quiet update --init
    git worktree add -q ../tree topic; (cd ../tree; echo 4 > d; git add d; git commit -qm four)
    (cd ../old; echo 5 > e; git add e; git commit -qm five)
    git worktree remove ../tree; git cherry-pick old >/dev/null; git revert --no-edit HEAD >/dev/null
    git clone -q . ../clone; git -C ../clone config a.b c; git gc -q --prune=now
    git log --format='%h %s' --all; git status --short; git fsck --strict; cat hooks
    git -C ../clone config a.b
"""


@clause("W01")
@needs("git")
@in_each_mode
def test_git_in_a_repository_that_was_there(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Everyday work, with a submodule, worktrees and hooks that run: commit for commit as outside."""
    account, project = outside.home.account, outside.home.project
    for place in (project, "/tmp/same"):
        must(account.sh(f"mkdir -p {place}; cd {place}; {GIT_SETTINGS} {GIT_REPOSITORY}"))
    before = outside.state()

    seen = jail(mode).sh(GIT_SETTINGS + GIT_WORK, "-d", project, cwd=f"{project}/work", timeout=180)
    protected = jail(mode).tries({"config": "open('.git/config', 'a')"}, "-d", project, cwd=f"{project}/work")

    expected = account.sh(GIT_SETTINGS + GIT_WORK, cwd="/tmp/same/work", timeout=180)
    must(account.sh("rm -r /tmp/same"))
    assert outside.state() == before
    assert (expected.rc, len(expected.stdout.splitlines()) > 20) == (0, True), expected.stdout
    assert (seen.stdout, seen.rc) == (expected.stdout, 0)
    assert protected == {"config": "EROFS"}


@clause("W01")
@needs("venv")
@in_each_mode
@pytest.mark.timeout(300)
def test_venv_and_pip(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A virtual environment in the project, and a package installed into it without a network."""
    must(outside.home.account.python(TINY_WHEEL, cwd=outside.home.project))
    script = """
        /usr/bin/python3 -m venv env
        env/bin/pip install -q --disable-pip-version-check --no-index ./tiny-1.0-py3-none-any.whl
        env/bin/python -c 'import tiny; print(tiny.ANSWER)'
    """

    assert works(jail, outside, mode, script) == ["42"]
    seen = outside.home.account.sh("project/env/bin/python -c 'import tiny; print(tiny.ANSWER)'")
    assert seen.words == ["42"]


@clause("W01")
@needs("npm")
@in_each_mode
@pytest.mark.timeout(300)
def test_npm(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A package installed from a tarball, with npm's cache in the jail's home."""
    script = """
        mkdir -p tar/package app
        echo '{"name": "tiny", "version": "1.0.0", "main": "tiny.js"}' > tar/package/package.json
        echo 'module.exports = 42' > tar/package/tiny.js
        tar -C tar -czf tiny.tgz package
        cd app; echo '{"name": "app", "version": "1.0.0"}' > package.json
        npm install --offline --no-audit --no-fund --loglevel=error ../tiny.tgz >&2
        node -e 'console.log(require("tiny"))'
    """

    assert works(jail, outside, mode, script) == ["42"]


@clause("W01")
@needs("gcc")
@in_each_mode
def test_make_and_gcc(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A program of two files is compiled in parallel and runs, also from the jail's /tmp."""
    script = r"""
        echo 'int two(void); int main(void) { return two() - 2; }' > a.c
        echo 'int two(void) { return 2; }' > b.c
        printf 'prog: a.o b.o\n\tcc -o $@ a.o b.o\n' > Makefile
        make -s -j2; ./prog; cp prog /tmp/prog; /tmp/prog; echo built
    """

    assert works(jail, outside, mode, script) == ["built"]
    must(outside.home.account.sh("project/prog"))


@clause("W01")
@needs("cargo")
@in_each_mode
def test_cargo(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A program without dependencies is built and runs."""
    script = "cargo init -q --vcs none --name tiny tiny; cd tiny; cargo build -q --offline; target/debug/tiny"

    assert works(jail, outside, mode, script) == ["Hello, world!"]


@clause("W01")
@needs("ssh")
@in_each_mode
def test_ssh_configuration(jail: MakeJail, outside: Outside, mode: str) -> None:
    """`ssh -G` resolves a host's settings and the user's name, although the keys are masked."""
    lines = works(jail, outside, mode, "ssh -G host.example.org | grep -E '^(user|hostname|port) '")

    name = "jai" if mode == "strict" else outside.home.account.name
    assert sorted(lines) == ["hostname host.example.org", "port 22", f"user {name}"]


@clause("W01")
@needs("ssh")
@needs("root")
@in_each_mode
def test_ssh_configuration_of_the_machine(jail: MakeJail, outside: Outside, mode: str) -> None:
    """What root has set for all holds inside, although ssh trusts only files of root's or the user's."""
    host, folder = outside.home.account.host, "/etc/ssh/ssh_config.d"
    files = {"10-machine.conf": f"Include {folder}/more", "more": "Host m.example\n  HostName real.example"}
    lines = "; ".join(f"printf '{text}\\n' > {folder}/{name}" for name, text in files.items())
    must(run(host, f"mount -t tmpfs -o mode=755 none {folder} && {{ {lines}; }}"))
    try:
        seen = works(jail, outside, mode, "ssh -G m.example | grep ^hostname")
        written = jail(mode).sh(f"echo x >> {folder}/more; echo x > {folder}/new; ls {folder}")
        control = outside.home.account.sh("ssh -G m.example | grep ^hostname")
    finally:
        must(run(host, f"umount {folder}"))

    assert seen == ["hostname real.example"] == control.stdout.splitlines()
    assert written.words == ["10-machine.conf", "included-1", "more"]
    assert written.stderr.count("Read-only file system") == 2


@clause("W01")
@needs("curl")
@in_each_mode
def test_a_server_of_this_machine(jail: MakeJail, outside: Outside, mode: str) -> None:
    """The network is shared: a server on 127.0.0.1 answers; with --net none it does not."""
    seen = works(jail, outside, mode, f"curl -sS {outside.canary.url}")
    cut = jail(mode).sh(f"curl -sS {outside.canary.url}", "--net", "none")

    assert seen == [outside.canary.token]
    assert (cut.rc, cut.stdout) == (7, "")


@clause("W01")
@in_each_mode
def test_standard_input_output_and_status(jail: MakeJail, mode: str) -> None:
    """Data flows through, standard error is separate, and the exit status is the command's own."""
    seen = jail(mode).sh("tr a-z A-Z; echo problem >&2; (exit 7)", stdin="line one\nline two\n")

    assert (seen.stdout, seen.stderr, seen.rc) == ("LINE ONE\nLINE TWO\n", "problem\n", 7)


@clause("W01")
@in_each_mode
def test_files_made_in_the_project_are_the_user_s(jail: MakeJail, outside: Outside, mode: str) -> None:
    """What the command makes in the grant has the user's owner and the wanted mode, and only that appears."""
    jail(mode).sh("umask 027; mkdir made; echo x > made/file; touch -d @1000000000 made/file")

    seen = outside.home.account.sh("stat -c '%U %G %a %Y' project/made/file; ls -A project")
    name = outside.home.account.name
    assert seen.words == [name, name, "640", "1000000000", "README.md", "made", "src"]


@clause("W01")
@needs("strace")
@in_each_mode
def test_strace(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A program can be traced, with its children, and its calls be answered by the tracer."""
    script = """
        strace -f -o trace sh -c 'sleep 0; true'; grep -c ' execve(' trace
        strace -e inject=chdir:error=EIO -o trace sh -c 'cd / || echo refused' 2>&1
    """

    seen = jail(mode).sh(script)
    control = outside.home.account.sh(script, cwd=outside.home.project)

    assert seen.stdout == control.stdout
    assert seen.words[-1] == "refused"


# What developers' programs do, as far as it needs no network.
DAILY_WORK = """
set -e
export GIT_CONFIG_GLOBAL=$PWD/gitconfig
git config --global user.email ada@example.org; git config --global user.name Ada
git init -q -b main origin; cd origin; echo 1 > a; git add a; git commit -qm one; git gc -q
git worktree add -q ../tree; cd ..; git clone -q origin clone; cp -a clone copied
/usr/bin/python3 -m venv env; env/bin/pip -q list >/dev/null
mkdir package app; echo '{"name": "tiny", "version": "1.0.0"}' > package/package.json
tar -czf tiny.tgz package; echo '{"name": "app", "version": "1.0.0"}' > app/package.json
(cd app; npm install --offline --no-audit --no-fund --loglevel=error ../tiny.tgz >/dev/null; node -e 1)
echo 'int main(void) { return 0; }' > a.c; printf 'a: a.c\\n\\tcc -o a a.c\\n' > Makefile; make -s -j2; ./a
python3 -c 'import multiprocessing, socket; multiprocessing.Pool(2).map(abs, [-1]); socket.if_nameindex()'
ps aux >/dev/null; getent hosts localhost >/dev/null; ssh -G host >/dev/null; touch done
"""
REFUSED = "grep -ohE '[a-z0-9_]+\\(.* = -1 (EPERM|ENOSYS) ' trace | sed -E 's/\\(.* = -1//' | sort -u"


@clause("W01")
@needs("strace")
@needs("git")
@needs("venv")
@needs("npm")
@needs("gcc")
@needs("ssh")
@in_the_user_s_own_modes
@pytest.mark.timeout(300)
def test_no_call_of_the_daily_work_is_refused(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Of all that developers' programs ask of the kernel nothing is refused that is granted outside."""
    account, shut = outside.home.account, jail(mode)
    script = f"strace -f -Z -qq -o trace sh -c {shlex.quote(DAILY_WORK)} && ls done && {REFUSED}"

    seen = shut.sh(f"{script}; strace -Z -o trace chmod g+s done; {REFUSED}", timeout=240)
    must(run(account.host, f"find {shut.project} -mindepth 1 -delete"))
    control = must(account.sh(script, cwd=shut.project, timeout=240)).stdout.split("\n")

    done, *refused, chmod, _ = seen.stdout.split("\n")
    assert done == control[0] == "done"
    # Its ENOSYS is what an older kernel answers.
    assert set(refused) - set(control) <= {"openat2 ENOSYS "}
    assert chmod in ("fchmodat EPERM ", "fchmodat2 EPERM ")  # control: what is refused is seen


@clause("W01")
@needs("gdb")
@needs("gcc")
@in_each_mode
def test_gdb(jail: MakeJail, mode: str) -> None:
    """A program can be started, stopped, looked at and continued in the debugger."""
    script = """
        set -e
        echo 'int two(void) { return 2; } int main(void) { return two() - 2; }' > a.c; gcc -g a.c
        gdb -batch -ex 'break two' -ex run -ex finish -ex continue ./a.out 2>&1
    """

    seen = jail(mode).sh(script)

    assert "Breakpoint 1, two ()" in seen.stdout, seen.stderr
    assert "Value returned is $1 = 2" in seen.stdout
    assert "exited normally" in seen.stdout


BUBBLEWRAP = """
bwrap --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp --unshare-all \\
    sh -c 'echo in; touch ~/x 2>/dev/null || echo read-only'
"""


@clause("W03")
@needs("a bubblewrap that can do without openat2")
@in_the_user_s_own_modes
def test_bubblewrap_inside(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Bubblewrap starts inside, and its own jail holds."""
    control = outside.home.account.sh(BUBBLEWRAP)

    assert works(jail, outside, mode, BUBBLEWRAP) == ["in", "read-only"] == control.stdout.splitlines()


@clause("W03")
@needs("bwrap")
@in_the_user_s_own_modes
def test_a_bubblewrap_that_insists_on_openat2(jail: MakeJail, outside: Outside, mode: str) -> None:
    """With --allow openat2 every bubblewrap starts, also one that was built for new kernels only."""
    allowing = ("--allow", "openat2")

    seen = works(jail, outside, mode, BUBBLEWRAP, *allowing)
    answers = [jail(mode).sh(OPENAT2, *options).stdout.strip() for options in ((), allowing)]

    assert seen == ["in", "read-only"]
    assert answers == ["ENOSYS", "EINVAL"]


OPENAT2 = """
/usr/bin/python3 -I -c '
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall(437, -100, b".", 0, 0)  # no size: EINVAL from every kernel that has it
print(errno.errorcode[ctypes.get_errno()])'
"""


@clause("W03")
@in_the_user_s_own_modes
def test_unshare_inside(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A nested user namespace with its own mounts starts."""
    nested = "id -u; mount -t tmpfs none /tmp && df --output=fstype /tmp | tail -1"
    script = f"unshare --user --map-root-user --mount sh -c '{nested}'"

    assert works(jail, outside, mode, script) == ["0", "tmpfs"]


# Without a display, with a profile of its own; where it can not make its sandbox it does not start.
CHROMIUM = """
chromium --headless --disable-gpu --no-first-run --user-data-dir=$(mktemp -d) --timeout=30000 \\
    --dump-dom 'data:text/html,<script>document.write(6*7)</script>'
"""


@clause("W03")
@needs("a browser")
@in_each_mode
@pytest.mark.timeout(300)
def test_chromium_inside(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A page comes to life in Chromium's own sandbox; strict mode allows none, and Chromium says so."""
    before = outside.state()

    seen = jail(mode).sh(CHROMIUM, timeout=120)
    after = outside.state()
    control = outside.home.account.sh(CHROMIUM, cwd=outside.home.project, timeout=120)

    assert after == before
    assert "42</body>" in control.stdout
    if mode == "strict":
        assert "No usable sandbox" in seen.stderr
    else:
        assert seen.stdout == control.stdout


# Workers of its own, a compiler at run time, files, a socket and a child.
NODE = """
const { Worker } = require('worker_threads'), fs = require('fs'), net = require('net');
const child = require('child_process').execFileSync('sh', ['-c', 'echo child']).toString().trim();
fs.writeFileSync('made', child);
const server = net.createServer(socket => socket.end('served')).listen(0, '127.0.0.1', () => {
    net.connect(server.address().port, '127.0.0.1').on('data', data => {
        server.close();
        new Worker('require("worker_threads").parentPort.postMessage(6 * 7)', { eval: true })
            .on('message', answer => console.log(`${fs.readFileSync('made')} ${data} ${answer}`));
    });
});
"""


@clause("W03")
@needs("node")
@in_each_mode
def test_node(jail: MakeJail, outside: Outside, mode: str) -> None:
    """Node runs with its threads, and reaches files, sockets and children."""
    assert works(jail, outside, mode, f"node -e {shlex.quote(NODE)}") == ["child served 42"]


@clause("W03")
@needs("java")
@in_each_mode
def test_java(jail: MakeJail, outside: Outside, mode: str) -> None:
    """A virtual machine starts with its threads and heap, and sees the same processors and memory."""
    script = "java -Xshare:auto -XshowSettings:system -version 2>&1 | grep -vE 'Provider|Cpu Period|^$'"

    seen = works(jail, outside, mode, script)

    assert any("Runtime Environment" in line for line in seen)
    assert seen == outside.home.account.sh(script, cwd=outside.home.project).stdout.splitlines()


@clause("W04")
@in_each_mode
@pytest.mark.parametrize(
    "question",
    [
        *("whoami", "id -u", "id -un", "id -gn", "echo $HOME", "echo ~", "echo $USER $LOGNAME", "pwd"),
        *("getent passwd $(id -u)", "getent group $(id -g)", "getent hosts localhost", "getent services ssh"),
        *(
            "date +%Z",
            "TZ=Asia/Tokyo date -d @0 +%H%Z",
            "readlink -f /etc/localtime",
            "locale",
            "cat /etc/resolv.conf",
        ),
        *(
            "hostname",
            "cat /etc/os-release",
            "nproc",
            "python3 -c 'import os; print(os.path.expanduser(\"~\"))'",
        ),
    ],
)
def test_the_answer_is_the_same_inside_and_outside(
    jail: MakeJail, outside: Outside, mode: str, question: str
) -> None:
    """Who I am, where home is, what time and language: as outside, but that strict mode's user is jai."""
    expected = must(outside.home.account.sh(question, cwd=outside.home.project)).stdout
    if mode == "strict" and question in ANSWERS_OF_JAI:
        expected = run(outside.home.account.host, ANSWERS_OF_JAI[question]).stdout

    seen = jail(mode).sh(question)

    assert expected != ""
    assert (seen.stdout, seen.rc) == (expected, 0)


@clause("W04")
@in_each_mode
@pytest.mark.parametrize("zone", ["Europe/Berlin", ":/usr/share/zoneinfo/Asia/Tokyo"])
def test_the_user_s_time_zone_and_language(jail: MakeJail, mode: str, zone: str) -> None:
    """TZ, LANG and LC_* of the caller are the jail's."""
    seen = jail(mode).sh(
        "date -d @0 +%H; echo $LANG $LC_TIME", env={"TZ": zone, "LANG": "C.UTF-8", "LC_TIME": "C"}
    )

    hour = {"Europe/Berlin": "01"}.get(zone, "09")
    assert seen.words == [hour, "C.UTF-8", "C"]
