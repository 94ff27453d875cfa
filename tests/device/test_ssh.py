"""A device behind a real OpenSSH server on this machine."""

import hashlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import pytest

from edgekit.device import open_device
from edgekit.device.address import Address, parsed
from edgekit.device.ssh import SshDevice
from edgekit.errors import DeviceError, UnreachableError, UsageError


@pytest.fixture
def device(sshd):
    device = SshDevice("ssh://pi")
    yield device
    device.close()


def test_facts_are_those_of_the_device(device):
    facts = device.facts

    assert (facts.url, facts.name, facts.arch) == ("ssh://pi", os.uname().nodename, os.uname().machine)
    assert device.run([facts.python, "-c", "import sys; print(sys.prefix)"], timeout_s=30).stdout.decode().strip() == sys.prefix
    assert facts.packages["python"] == sys.version.split()[0]
    assert not facts.emulated


def test_files_and_folders_go_there_and_come_back_and_nothing_is_left(sshd, tmp_path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "a").write_bytes(b"a" * 300_000)
    (tmp_path / "folder" / "tool").write_bytes(b"#!/bin/sh\necho ran")
    (tmp_path / "folder" / "tool").chmod(0o755)
    (tmp_path / "folder" / "empty").touch()
    device = open_device("ssh://pi")
    there = device.workspace()

    device.push(tmp_path / "folder", there / "folder")
    device.pull(there / "folder" / "inner" / "a", tmp_path / "back")

    assert (tmp_path / "back").read_bytes() == b"a" * 300_000
    assert device.run([str(there / "folder" / "tool")], timeout_s=10).stdout == b"ran\n"
    assert device.run(["cat", str(there / "folder" / "empty")], timeout_s=10).stdout == b""
    device.close()
    assert [path for path in sshd.depot.rglob("*") if path.is_file()] == []


def test_a_command_leaves_status_and_both_streams(device):
    ran = device.run(["sh", "-c", "cat; echo wrong >&2; exit 255"], timeout_s=10, stdin=b"given" * 100_000)

    assert (ran.status, ran.stdout, ran.stderr) == (255, b"given" * 100_000, b"wrong\n")


def test_a_command_killed_by_a_signal_has_its_negative_as_status(device):
    assert device.run(["sh", "-c", "kill -KILL $$"], timeout_s=10).status == -signal.SIGKILL


def test_a_command_that_takes_too_long_is_killed_with_its_children_and_the_next_one_runs(sshd, device, tmp_path):
    with pytest.raises(DeviceError, match=r"sh ran longer than 0\.5 s"):
        device.run(["sh", "-c", f"sleep 100 & echo $! > {tmp_path}/pid; wait"], timeout_s=0.5)

    assert sshd.tools.until(lambda: not sshd.tools.is_running(int((tmp_path / "pid").read_text())), 5)
    assert device.run(["echo", "on"], timeout_s=10).stdout == b"on\n"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_a_client_that_ends_ends_its_command_with_its_children(sshd, tmp_path, how):
    script = f"""
from edgekit.device.ssh import SshDevice
device = SshDevice("ssh://pi")
try:
    print(device.workspace(), flush=True)
    device.run(["sh", "-c", "sleep 100 & echo $! > {tmp_path}/pid.part; mv {tmp_path}/pid.part {tmp_path}/pid; wait"], timeout_s=60)
finally:
    device.close()
"""
    client = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert sshd.tools.until((tmp_path / "pid").exists, 30), client.poll()
    client.send_signal(how)
    workspace, stderr = client.communicate(timeout=30)

    assert sshd.tools.until(lambda: not sshd.tools.is_running(int((tmp_path / "pid").read_text())), 5)
    assert how == signal.SIGKILL or (stderr.strip().endswith("KeyboardInterrupt") and not Path(workspace.strip()).exists())


def test_a_program_that_is_not_there_is_refused_in_one_line(device):
    with pytest.raises(DeviceError, match=r"no-such-command cannot be run: .*No such file") as caught:
        device.run(["no-such-command"], timeout_s=10)

    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_there_is_refused_in_one_line(device, tmp_path):
    with pytest.raises(DeviceError, match=r"nothing cannot be fetched: .*No such file"):
        device.pull(device.workspace() / "nothing", tmp_path / "x")
    with pytest.raises(DeviceError, match="nothing cannot be copied: No such file"):
        device.push(tmp_path / "nothing", device.workspace() / "x")


def test_what_a_login_script_prints_is_passed_over(sshd):
    (sshd.home / ".bashrc").write_text("echo Welcome to the lab; printf '\\0edgekit'\n")
    (sshd.home / ".ssh").mkdir()
    (sshd.home / ".ssh" / "rc").write_text("echo and to ssh\n")

    device = SshDevice("ssh://pi")

    assert device.run(["echo", "on"], timeout_s=10).stdout == b"on\n"
    device.close()


def test_the_interpreter_of_edgekits_own_environment_there_is_taken_first(sshd):
    own = sshd.home / ".local/share/edgekit/venv/bin/python"
    own.parent.mkdir(parents=True)
    own.write_text(f'#!/bin/sh\nEDGEKIT_OWN=yes exec {sys.executable} "$@"\n')
    own.chmod(0o755)

    device = SshDevice("ssh://pi")

    assert device.run(["sh", "-c", "echo $EDGEKIT_OWN"], timeout_s=10).stdout == b"yes\n"
    device.close()


def test_a_jump_host_of_the_users_configuration_is_gone_through(sshd):
    sshd.configure(f"Host far\n  ProxyCommand ssh -F {sshd.config} -W 127.0.0.1:{sshd.port} pi", names="far")

    device = SshDevice("ssh://far")

    assert device.facts.url == "ssh://far"
    assert len(sshd.log().split("Accepted publickey")) - 1 == 2
    device.close()


# What goes wrong at the beginning


def refused(url):
    begun = time.monotonic()
    with pytest.raises(DeviceError) as caught:
        SshDevice(url)
    assert time.monotonic() - begun < 15
    assert caught.value.exit_status == 4
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def test_a_host_key_that_is_not_known_is_never_accepted_whatever_the_configuration_says(sshd):
    sshd.known_hosts.write_text("")

    error = refused("ssh://pi")

    assert error.message == "ssh://pi: its host key is not known"
    assert error.hint == "ssh pi true in a terminal, and compare the fingerprint before you say yes"
    assert sshd.known_hosts.read_text() == ""


def test_a_host_key_that_has_changed_is_a_warning_to_be_read(sshd):
    other = (sshd.folder / "other_key.pub").read_text().split()[:2]
    sshd.known_hosts.write_text(f"device {' '.join(other)}\n")

    error = refused("ssh://pi")

    assert "not the one that is known" in error.message
    assert error.hint.startswith(f"if you know why: ssh-keygen -f {sshd.known_hosts} -R device, then ssh pi true in a terminal")


@pytest.mark.parametrize(("alias", "name"), [("", "[127.0.0.1]:{port}"), ("  HostKeyAlias bench", "bench")])
def test_the_command_that_forgets_a_host_names_what_known_hosts_holds(sshd, alias, name):
    """Behind a name and a port of ``~/.ssh/config``; ssh-keygen itself removes it."""
    known = name.format(port=sshd.port)
    other = (sshd.folder / "other_key.pub").read_text().split()[:2]
    lines = (f"  HostName 127.0.0.1\n  Port {sshd.port}\n{alias}", f"  UserKnownHostsFile {sshd.known_hosts}\n  GlobalKnownHostsFile /dev/null")
    sshd.config.write_text("Host lab\n" + "\n".join(lines) + "\n")
    sshd.known_hosts.write_text(f"{known} {' '.join(other)}\n")

    command = refused("ssh://lab").hint.removeprefix("if you know why: ").partition(", then")[0]
    subprocess.run(shlex.split(command), check=True, capture_output=True)

    assert sshd.known_hosts.read_text() == ""


def test_a_key_that_is_not_accepted_says_how_to_put_it_there(sshd):
    (sshd.folder / "authorized_keys").write_text("")

    error = refused("ssh://pi")

    assert error.message == "ssh://pi: no key was accepted (it takes publickey)"
    assert "ssh-copy-id" in error.hint


def test_where_no_server_listens_the_connection_is_refused(sshd):
    sshd.stop()

    assert "connection refused" in refused("ssh://pi").message


def test_a_name_that_nobody_knows_is_no_host(sshd):
    assert "no such host: no-such-host.invalid" in refused("ssh://no-such-host.invalid").message


@pytest.mark.slow
def test_a_server_that_takes_connections_and_says_nothing_is_given_up(sshd):
    sshd.cable.pull()

    error = refused("ssh://cable")

    assert isinstance(error, UnreachableError)
    assert "no answer: " in error.message


def test_a_device_without_python_says_what_to_install(sshd, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "sh").symlink_to("/bin/sh")
    sshd.stop()
    sshd.start({"PATH": bare})

    error = refused("ssh://pi")

    assert error.message == "ssh://pi: there is no Python 3 on it"
    assert "apt-get install python3" in error.hint


def test_a_python_that_is_too_old_says_so(sshd, tmp_path):
    old = tmp_path / "old" / "python3"
    old.parent.mkdir()
    pretend = "import sys; sys.version_info = (3, 7, 3); sys.version = '3.7.3 (default)'; exec(sys.argv.pop(1))"
    old.write_text(f'#!/bin/sh\nshift; exec {sys.executable} -c "{pretend}" "$@"\n')
    old.chmod(0o755)
    sshd.stop()
    sshd.start({"PATH": f"{old.parent}:/usr/bin:/bin"})

    assert refused("ssh://pi").message == "ssh://pi: needs Python 3.8 or newer, this is 3.7.3"


def test_where_ssh_is_not_installed_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("EDGEKIT_SSH", "no-such-ssh")

    assert refused("ssh://pi").hint == "apt-get install openssh-client"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ssh://pi", Address("pi")),
        ("ssh:pi", Address("pi")),
        ("ssh://me@10.0.0.7:2222/", Address("10.0.0.7", "me", 2222)),
        ("ssh://me@[fe80::1%eth0]:22", Address("fe80::1%eth0", "me", 22)),
    ],
)
def test_a_url_names_user_host_and_port(url, address):
    assert parsed(url) == address


@pytest.mark.parametrize("url", ["ssh://", "ssh://-oProxyCommand=x", "ssh://a b", "ssh://pi:70000", "ssh://pi:0", "ssh://-l@pi", "ssh://pi/tmp"])
def test_a_url_of_another_form_is_refused(url):
    with pytest.raises(UsageError, match="no such address") as caught:
        parsed(url)

    assert caught.value.hint == "--device ssh://[USER@]HOST[:PORT]"


@pytest.mark.parametrize("url", ["ssh://me:hunter2@pi", "ssh://me:hunter2@pi:22", "ssh:me:hunter2@pi", "ssh://me:hunt@er2@pi"])
def test_a_password_in_a_url_is_refused_and_not_repeated(url):
    with pytest.raises(UsageError) as caught:
        parsed(url)

    assert "hunt" not in caught.value.message + caught.value.hint
    assert "password" in caught.value.message


# The cable


@pytest.mark.slow
def test_a_cable_that_is_pulled_while_a_command_runs_ends_it_on_both_sides(sshd, tmp_path):
    device = SshDevice("ssh://cable")
    Timer(1, sshd.cable.pull).start()
    begun = time.monotonic()

    with pytest.raises(UnreachableError, match="ssh://cable: ") as caught:
        device.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 100"], timeout_s=60)

    assert time.monotonic() - begun < 15
    assert "cable" in caught.value.hint
    assert sshd.tools.until(lambda: not sshd.tools.is_running(int((tmp_path / "pid").read_text())), 30)
    device.close()


@pytest.mark.slow
def test_a_cable_that_is_pulled_while_a_file_goes_up_ends_the_transfer_in_time(sshd, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(4_000_000))
    device = SshDevice("ssh://cable")
    there = device.workspace()
    sshd.cable.bytes_per_s = 1e6
    Timer(1, sshd.cable.pull).start()
    begun = time.monotonic()

    with pytest.raises(UnreachableError):
        device.push(tmp_path / "big", there / "big")

    assert time.monotonic() - begun < 1 + 15
    device.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_session_that_is_ended_or_stops_on_the_device_ends_the_command_here(sshd, how):
    device = SshDevice("ssh://pi")
    Timer(1, lambda: sshd.signal_sessions(how)).start()
    begun = time.monotonic()

    with pytest.raises(UnreachableError):
        device.run(["sleep", "100"], timeout_s=60)

    assert time.monotonic() - begun < 15
    device.close()


def test_an_upload_that_is_cut_goes_on_where_it_stopped(sshd, tmp_path):
    content = os.urandom(6_000_000)
    (tmp_path / "big").write_bytes(content)
    device = SshDevice("ssh://cable")
    there = device.workspace()
    sshd.cable.bytes_per_s = 2e7  # else all of it is on its way before it is cut
    before = sshd.cable.carried
    sshd.cable.cut_after(4_000_000)

    device.push(tmp_path / "big", there / "big")

    assert device.run(["sha256sum", str(there / "big")], timeout_s=30).stdout.split()[0].decode() == hashlib.sha256(content).hexdigest()
    assert len(sshd.log().split("Accepted publickey")) - 1 == 2
    assert sshd.cable.carried - before < 8_500_000  # what was on the way and a second greeting, not all of it again
    device.close()


def test_a_network_that_is_away_for_a_moment_is_waited_for(sshd, tmp_path):
    (tmp_path / "a").write_bytes(os.urandom(100_000))
    device = SshDevice("ssh://pi")
    there = device.workspace()
    sshd.stop()  # refuses at once, until it is back
    Timer(2, sshd.start).start()

    device.push(tmp_path / "a", there / "a")

    assert Path(there / "a").read_bytes() == (tmp_path / "a").read_bytes()
    device.close()


def test_what_another_run_began_to_send_is_not_sent_again(sshd, tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "big").write_bytes(content)
    sha = hashlib.sha256(content).hexdigest()
    (sshd.depot / "pieces").mkdir(parents=True)
    (sshd.depot / "pieces" / f"{sha}.part").write_bytes(content[:2_900_000])
    device = SshDevice("ssh://cable")
    there = device.workspace()
    before = sshd.cable.carried

    device.push(tmp_path / "big", there / "big")

    assert Path(there / "big").read_bytes() == content
    assert sshd.cable.carried - before < 200_000
    device.close()


def test_what_was_begun_and_damaged_is_sent_again_whole(sshd, tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "big").write_bytes(content)
    (sshd.depot / "pieces").mkdir(parents=True)
    (sshd.depot / "pieces" / f"{hashlib.sha256(content).hexdigest()}.part").write_bytes(b"something else")
    device = SshDevice("ssh://pi")
    there = device.workspace()

    device.push(tmp_path / "big", there / "big")

    assert Path(there / "big").read_bytes() == content
    device.close()


def test_the_same_file_goes_up_once(sshd, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(1_000_000))
    device = SshDevice("ssh://cable")
    there = device.workspace()

    device.push(tmp_path / "big", there / "one")
    before = sshd.cable.carried
    device.push(tmp_path / "big", there / "other")

    assert sshd.cable.carried - before < 50_000
    assert Path(there / "other").read_bytes() == (tmp_path / "big").read_bytes()
    device.close()


def test_a_file_that_was_written_to_on_the_device_is_not_taken_for_the_one_that_was_sent(sshd, tmp_path):
    (tmp_path / "a").write_bytes(b"right" * 1000)
    device = SshDevice("ssh://pi")
    there = device.workspace()
    device.push(tmp_path / "a", there / "one")
    device.run(["sh", "-c", f"echo wrong >> {there}/one"], timeout_s=10)

    device.push(tmp_path / "a", there / "other")

    assert Path(there / "other").read_bytes() == b"right" * 1000
    device.close()


def test_a_download_that_is_cut_comes_whole(sshd, tmp_path):
    content = os.urandom(5_000_000)
    device = SshDevice("ssh://cable")
    there = device.workspace()
    Path(there / "big").write_bytes(content)
    Timer(0.05, lambda: sshd.signal_sessions(signal.SIGKILL)).start()

    device.pull(there / "big", tmp_path / "big")
    device.pull(there / "big", tmp_path / "again")

    assert (tmp_path / "big").read_bytes() == (tmp_path / "again").read_bytes() == content
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"big", "again"}
    device.close()


def test_between_two_commands_a_lost_connection_is_made_anew_and_workspaces_and_lease_are_kept(sshd):
    device = SshDevice("ssh://pi")
    there = device.workspace()
    Path(there / "kept").write_text("kept")
    sshd.signal_sessions(signal.SIGKILL)

    assert device.run(["cat", str(there / "kept")], timeout_s=10).stdout == b"kept"

    other = SshDevice("ssh://pi", lease_wait_s=0)
    with pytest.raises(DeviceError, match="is in use by"):
        other.workspace()
    other.close()
    device.close()
    assert not Path(there).exists()


# Leases and room


def test_two_runs_never_have_the_device_at_the_same_time(sshd):
    one = SshDevice("ssh://pi")
    one.workspace()
    other = SshDevice("ssh://pi", lease_wait_s=0)

    with pytest.raises(DeviceError, match=rf"is in use by .*, process {os.getpid()}, for \d+ s") as caught:
        other.workspace()
    one.close()

    assert caught.value.hint.startswith("wait for that run")
    assert other.workspace()
    other.close()


def test_a_run_waits_for_another_to_end(sshd):
    one = SshDevice("ssh://pi")
    one.workspace()
    other = SshDevice("ssh://pi", lease_wait_s=30)
    Timer(1.5, one.close).start()
    begun = time.monotonic()

    other.workspace()

    assert time.monotonic() - begun > 1
    other.close()


def test_the_lease_of_a_run_that_was_killed_is_free(sshd):
    script = "from edgekit.device.ssh import SshDevice; import os; SshDevice('ssh://pi').workspace(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script], check=False)
    device = SshDevice("ssh://pi", lease_wait_s=5)

    assert device.workspace()
    device.close()


def test_the_lease_of_a_process_that_hangs_on_the_device_is_taken_away_once_it_is_stale(sshd, tmp_path):
    one = SshDevice("ssh://pi")
    one.workspace()
    told = one.run(["sh", "-c", "echo $PPID"], timeout_s=10)
    os.kill(int(told.stdout), signal.SIGSTOP)
    time.sleep(3)
    long_ago = time.time() - 60
    os.utime(sshd.lock, (long_ago, long_ago))
    other = SshDevice("ssh://pi", lease_wait_s=0)

    assert other.workspace()

    other.close()
    one.close()


def test_a_lock_that_names_a_process_which_does_not_hold_it_harms_nobody(sshd):
    one = SshDevice("ssh://pi")
    one.workspace()
    bystander = subprocess.Popen(["sleep", "100"])
    sshd.lock.write_text(f'{{"holder": "x", "pid": {bystander.pid}, "since": 0}}')
    os.utime(sshd.lock, (1, 1))

    other = SshDevice("ssh://pi", lease_wait_s=0)
    with pytest.raises(DeviceError, match="in use by x"):
        other.workspace()

    other.close()
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    one.close()


def test_what_a_run_that_was_cut_off_left_goes_with_the_next_one(sshd):
    left = sshd.depot / "visits" / "0123" / "1"
    left.mkdir(parents=True)
    (left.parent / "held").touch()
    os.utime(left.parent / "held", (1, 1))
    young = sshd.depot / "visits" / "4567"
    young.mkdir()
    (young / "held").touch()
    device = SshDevice("ssh://pi")

    device.workspace()

    assert not left.exists()
    assert young.exists()
    device.close()


@pytest.fixture
def small_disk(sshd):
    """The device's folder on a disk of 2 MB."""
    sshd.depot.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", sshd.depot], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.decode().strip()}")
    yield sshd.depot
    subprocess.run(["umount", "-l", sshd.depot], check=True)


def test_a_file_too_large_for_the_devices_disk_is_refused_before_it_is_sent(small_disk, device, tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 5_000_000)
    there = device.workspace()

    with pytest.raises(DeviceError, match=r"big cannot be copied: .*5\.0 MB to come, 2\.\d MB free") as caught:
        device.push(tmp_path / "big", there / "big")

    assert caught.value.hint.startswith("its disk is full")


def test_a_disk_that_fills_up_meanwhile_is_said_in_one_line(small_disk, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(1_500_000))
    device = SshDevice("ssh://pi")
    there = device.workspace()
    real, connection = device._connection.tell, device._connection

    def tell(header, payload=b""):
        if header["op"] == "chunk" and header["offset"] == 0:
            (small_disk / "somebody").write_bytes(b"x" * 1_500_000)
        real(header, payload)

    connection.tell = tell
    with pytest.raises(DeviceError, match=r"big cannot be copied: .*No space left on device") as caught:
        device.push(tmp_path / "big", there / "big")

    assert caught.value.hint.startswith("its disk is full")
    device.close()


def test_a_folder_that_cannot_be_made_is_said_in_one_line(sshd):
    sshd.depot.write_text("in the way")
    device = SshDevice("ssh://pi")

    with pytest.raises(DeviceError, match=r"no folder can be made: .*(Not a directory|File exists)"):
        device.workspace()
    device.close()
