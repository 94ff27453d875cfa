"""Power modes, on a fake Jetson and a fake board that say what they were asked."""

from pathlib import PurePosixPath

import pytest

from edgekit.device.contract import DeviceFacts, Ran
from edgekit.device.local import LocalDevice
from edgekit.device.power import PoweredDevice, is_mode
from edgekit.errors import DeviceError


class Jetson:
    """Knows ``nvpmodel``; ``may`` says whether the user may set anything."""

    def __init__(self, mode="2", may=True):
        self.facts = DeviceFacts(url="ssh://orin", name="orin", arch="aarch64", cpu="")
        self.mode, self.may, self.closed_in = mode, may, None

    def run(self, argv, *, timeout_s, stdin=b""):
        asked = " ".join(argv)
        if "nvpmodel -q" in asked:
            return Ran(0, f"{self.mode}\n".encode(), b"")
        if 'nvpmodel -m "$1"' in asked and self.may:
            self.mode = argv[-1]
            return Ran(0, b"", b"")
        return Ran(1, b"", b"sudo: a password is required\n" if self.may is False else b"")

    def workspace(self):
        return PurePosixPath("/w")

    def close(self):
        self.closed_in = self.mode


def test_a_mode_is_set_with_the_first_workspace_and_back_at_the_end():
    jetson = Jetson(mode="2")
    device = PoweredDevice(jetson, "nvpmodel:0")
    assert jetson.mode == "2"

    device.workspace()
    device.workspace()
    assert jetson.mode == "0"

    device.close()
    assert jetson.closed_in == "2"


def test_a_mode_that_is_set_already_is_left_alone():
    jetson = Jetson(mode="0", may=False)
    device = PoweredDevice(jetson, "nvpmodel:0")

    device.workspace()
    device.close()

    assert jetson.closed_in == "0"


def test_a_user_who_may_not_set_it_is_told_why():
    device = PoweredDevice(Jetson(may=False), "nvpmodel:0")

    with pytest.raises(DeviceError, match="orin: nvpmodel 0 cannot be set: sudo: a password is required") as caught:
        device.workspace()

    assert "sudo without a password" in caught.value.hint


def test_a_device_that_has_no_such_modes_says_so():
    device = PoweredDevice(LocalDevice(), "nvpmodel:0")

    with pytest.raises(DeviceError, match="has no nvpmodel"):
        device.workspace()
    device.close()


@pytest.mark.parametrize(("text", "is_one"), [("governor:performance", True), ("nvpmodel:8", True), ("fast", False), ("governor:a;b", False)])
def test_a_mode_has_one_of_two_forms(text, is_one):
    assert is_mode(text) is is_one
