"""A bundle of 50 MB over a slow link that goes down again and again: how long it takes, and what goes over it.

    PYTHONPATH=. python tests/benchmarks/deploy/flapping.py    # as root: it makes a network namespace

The client lives in a namespace of its own, behind a veth pair whose way up is held to a rate by tc's token bucket. First scp and then
edgekit send the file over the link as it is; then edgekit deploys it while the link goes down for 1 to 25 s. When edgekit gives
up, the same command is given again, as its hint says.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
SPACE, NEAR, FAR = "edgekit-flap", "edgekit-near", "edgekit-far"
HERE, THERE = "10.99.7.2", "10.99.7.1"
RATE_MBIT, SIZE = 20, 50_000_000
DOWN_S = (1, 3, 8, 25, 2, 6)
UP_S = 5
PUSH = """import sys, time; from pathlib import Path, PurePosixPath; from edgekit.device.ssh import SshDevice
device = SshDevice("ssh://far"); there = device.workspace(); begun = time.monotonic()
device.push(Path(sys.argv[1]), there / "b"); print(time.monotonic() - begun); device.close()"""


def loaded(name: str):
    spec = importlib.util.spec_from_file_location(f"edgekit_tests_{name}", TESTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sh(*argv: object) -> None:
    subprocess.run([str(word) for word in argv], check=True)


def inside(*argv: object, **how) -> subprocess.CompletedProcess:
    """A command in the namespace."""
    return subprocess.run(["ip", "netns", "exec", SPACE, *map(str, argv)], capture_output=True, text=True, check=False, **how)


def make_link() -> None:
    sh("ip", "netns", "add", SPACE)
    sh("ip", "link", "add", FAR, "type", "veth", "peer", "name", NEAR, "netns", SPACE)
    sh("ip", "address", "add", f"{THERE}/24", "dev", FAR)
    sh("ip", "link", "set", FAR, "up")
    for words in (("address", "add", f"{HERE}/24", "dev", NEAR), ("link", "set", NEAR, "up"), ("link", "set", "lo", "up")):
        sh("ip", "-n", SPACE, *words)
    sh("tc", "-n", SPACE, "qdisc", "add", "dev", NEAR, "root", "tbf", "rate", f"{RATE_MBIT}mbit", "burst", "32k", "latency", "100ms")


def sent() -> int:
    """Bytes that went up the link so far."""
    return int(inside("cat", f"/sys/class/net/{NEAR}/statistics/tx_bytes").stdout)


def flap(stop: threading.Event, downs: list[float]) -> None:
    for seconds in DOWN_S:
        if stop.wait(UP_S):
            return
        sh("ip", "link", "set", FAR, "down")
        downs.append(seconds)
        stop.wait(seconds)
        sh("ip", "link", "set", FAR, "up")


def main() -> int:
    if os.geteuid() != 0:
        print("needs root: a network namespace is made", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="edgekit-") as temporary:
        folder = Path(temporary)
        sshd = loaded("sshd").Sshd(folder / "sshd")
        try:
            make_link()
            return measured(folder, sshd)
        finally:
            sshd.close()
            subprocess.run(["ip", "netns", "del", SPACE], check=False)


def measured(folder: Path, sshd) -> int:
    bundles = loaded("bundles")
    sshd.configure(f"Host far\n  HostName {THERE}", names="far")
    sshd.stop()
    sshd.start({"EDGEKIT_DEPOT": str(sshd.depot), "EDGEKIT_LOCK": str(sshd.lock)}, own=f"ListenAddress {THERE}\nSubsystem sftp internal-sftp")
    signer = bundles.Signer("release")
    bundle = bundles.Toy(1, extra=SIZE).write(folder / "1.edgekit", signer)
    (folder / "release.pub").write_text(signer.public)
    environment = {**os.environ, "EDGEKIT_SSH": str(sshd.program), "EDGEKIT_KEYS": str(folder / "keys")}

    begun = time.monotonic()
    copied = inside("scp", "-q", "-F", sshd.config, bundle, f"far:{folder / 'copied'}")
    scp_s = time.monotonic() - begun
    assert copied.returncode == 0, copied.stderr
    pushed = inside(sys.executable, "-c", PUSH, bundle, env=environment)
    push_s = float(pushed.stdout)
    mb = bundle.stat().st_size / 1e6
    print(f"{mb:.1f} MB at {RATE_MBIT} Mbit/s: scp {scp_s:.1f} s (with its login), edgekit {push_s:.1f} s: {100 * scp_s / push_s:.0f} % of its speed")

    downs: list[float] = []
    stop = threading.Event()
    flapping = threading.Thread(target=flap, args=(stop, downs))
    before, begun, tries = sent(), time.monotonic(), 0
    flapping.start()
    while True:
        tries += 1
        words = ("deploy", bundle, "--device", "ssh://far", "--trust-keys", folder / "release.pub", "--trial-s", "0")
        said = inside(sys.executable, "-m", "edgekit", *words, env=environment)
        if said.returncode == 0 or tries == 20:
            break
        print(f"  {time.monotonic() - begun:5.1f} s: {said.stderr.strip().splitlines()[0]}")
        time.sleep(1)
    stop.set()
    flapping.join()
    took, bytes_up = time.monotonic() - begun, sent() - before
    print(f"flapping (down {', '.join(map(str, downs))} s): {'deployed' if said.returncode == 0 else 'FAILED'} after {took:.1f} s, {tries} commands,")
    print(f"  {bytes_up / 1e6:.1f} MB went up: {bytes_up / 1e6 / mb:.2f} of the bundle; {took - sum(downs):.1f} s with the link up")
    return said.returncode


if __name__ == "__main__":
    sys.exit(main())
