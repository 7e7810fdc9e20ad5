"""`make vagrant-box`: the guests' userland with a kernel, as a box for Vagrant's libvirt provider.

The kernel is started directly, as in conformance/guests/machine.py; the box brings it and says so itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.guests import image, kernels, machine
from conformance.guests.table import KERNELS

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "jai-local"
DISKS = ("root", "modules")  # what the guest finds as /dev/vda and /dev/vdb
# Loopback only: QEMU's own network, so that nothing on the host needs a bridge, root, or an address.
VAGRANTFILE = f"""\
port = Integer(ENV.fetch("JAI_VAGRANT_PORT", 22022))
Vagrant.configure("2") do |config|
  config.ssh.username = "root"
  config.ssh.host = "127.0.0.1"
  config.ssh.port = port
  config.ssh.private_key_path = File.join(__dir__, "key")
  config.ssh.insert_key = false
  config.vm.provider :libvirt do |libvirt|
    libvirt.kernel = File.join(__dir__, "vmlinuz")
    libvirt.initrd = File.join(__dir__, "initrd")
    libvirt.cmd_line = "{machine.APPEND}"
    libvirt.machine_type = "q35"
    libvirt.mgmt_attach = false
    libvirt.qemu_use_agent = true # else the plugin insists on a network of libvirt's
    libvirt.qemuargs value: "-netdev"
    libvirt.qemuargs value: "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:#{{port}}-:22"
    libvirt.qemuargs value: "-device"
    libvirt.qemuargs value: "virtio-net-pci,netdev=net,romfile=,addr=0x1e"
  end
end
"""


def make(kernel: str, folder: Path) -> Path:
    """Write the box into a folder; its path."""
    userland = image.userland()
    boot = kernels.fetch(kernel, userland / "busybox")
    for name, source in zip(DISKS, (userland / "root.img", boot.modules)):
        convert = [
            "qemu-img",
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            str(source),
            str(folder / f"{name}.qcow2"),
        ]
        subprocess.run(convert, check=True)
    disks = [{"path": f"{name}.qcow2", "name": f"{NAME}-{name}"} for name in DISKS]
    (folder / "metadata.json").write_text(json.dumps({"provider": "libvirt", "disks": disks}))
    (folder / "Vagrantfile").write_text(VAGRANTFILE)
    files = [folder / name for name in ("metadata.json", "Vagrantfile", *(f"{name}.qcow2" for name in DISKS))]
    box = folder / f"{NAME}.box"
    with tarfile.open(box, "w") as archive:
        for path in (*files, boot.vmlinuz, boot.initrd, userland / "key"):
            archive.add(path, path.name)
    return box


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the box and let Vagrant have it."""
    parser = argparse.ArgumentParser(prog="make vagrant-box", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kernel", choices=KERNELS, default="6.12", help="which kernel; 6.12")
    asked = parser.parse_args(arguments)
    missing = [command for command in ("vagrant", "qemu-img") if not shutil.which(command)]
    if missing:
        print(f"{' and '.join(missing)} missing: sudo apt-get install vagrant vagrant-libvirt qemu-utils")
        return 1
    with tempfile.TemporaryDirectory(prefix="jai-box-", dir="/var/tmp") as scratch:
        box = make(asked.kernel, Path(scratch))
        add = ["vagrant", "box", "add", "--force", "--name", NAME, "--provider", "libvirt", str(box)]
        return subprocess.run(add, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
