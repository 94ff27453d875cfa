"""Readings, from folders laid out as the kernel's documentation describes /proc and /sys."""

import os

import pytest

from edgekit.run.state import cpu_model, read_facts, read_memory, read_state


@pytest.fixture
def root(tmp_path):
    def put(files):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return str(tmp_path)

    return put


def test_an_arm_processor_is_named_by_its_parts(root):
    cores = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\n" + "processor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n" * 2

    assert cpu_model(root({"proc/cpuinfo": cores})) == "Cortex-A55 + Cortex-A76"


def test_an_unknown_arm_processor_shows_its_numbers(root):
    assert cpu_model(root({"proc/cpuinfo": "CPU implementer : 0x99\nCPU part : 0xabc\n"})) == "Arm 0x99/0xabc"


def test_an_x86_processor_is_named_as_it_names_itself(root):
    assert cpu_model(root({"proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n"})) == "Some CPU @ 2 GHz"


def test_a_raspberry_pi_tells_clocks_heat_and_what_holds_it_back(root):
    state = read_state(
        root(
            {
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
                "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "600000\n",
                "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "ondemand\n",
                "sys/class/thermal/thermal_zone0/temp": "61250\n",
                "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
                "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
                "sys/class/thermal/cooling_device0/type": "gpio-fan\n",
                "sys/class/thermal/cooling_device0/cur_state": "3\n",
                "sys/class/thermal/cooling_device1/type": "cpufreq-cpu0\n",
                "sys/class/thermal/cooling_device1/cur_state": "0\n",
            }
        )
    )

    assert state["clocks_mhz"] == {"cpu0": 1500.0, "cpu1": 600.0}
    assert state["governors"] == ["ondemand"]
    assert state["temperatures_c"] == {"thermal_zone0:cpu-thermal": 61.25}
    # 0x50005: under-voltage and throttling, now (bits 0 and 2) and before (16 and 18). A turning fan is no throttling.
    assert state["throttled_now"] == {
        "firmware: under-voltage": True,
        "firmware: frequency capped": False,
        "firmware: throttled": True,
        "firmware: temperature limit": False,
        "cooling_device1: cpufreq-cpu0": False,
    }


def test_a_jetson_tells_power_by_rail(root):
    state = read_state(
        root(
            {
                "sys/class/hwmon/hwmon3/name": "ina3221\n",
                "sys/class/hwmon/hwmon3/in1_label": "VDD_IN\n",
                "sys/class/hwmon/hwmon3/in1_input": "5000\n",
                "sys/class/hwmon/hwmon3/curr1_input": "1200\n",
            }
        )
    )

    assert state["power_mw"] == {"ina3221 VDD_IN": 6000.0}


def test_a_pc_tells_throttle_counts_and_energy_and_a_container_its_quota(root):
    folder = root(
        {
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "7\n",
            "sys/class/powercap/intel-rapl:0/energy_uj": "123456\n",
            "sys/class/powercap/intel-rapl:0/name": "package-0\n",
            "sys/fs/cgroup/cpu.stat": "usage_usec 5\nnr_periods 10\nnr_throttled 4\n",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
        }
    )

    state = read_state(folder)
    assert state["throttle_counts"] == {"cpu0/core_throttle_count": 7, "cgroup quota": 4}
    assert state["energy_uj"] == {"package-0": 123456}
    assert read_facts(folder)["cpu_quota"] == 1.5


def test_busy_and_stolen_time_are_seconds_since_boot(root):
    tick = os.sysconf("SC_CLK_TCK")
    # user nice system idle iowait irq softirq steal guest guest_nice
    fields = [10 * tick, tick, 2 * tick, 99 * tick, 5 * tick, tick, tick, 3 * tick, 0, 0]

    state = read_state(root({"proc/stat": "cpu  " + " ".join(map(str, fields)) + "\ncpu0 1 2 3\n"}))

    assert (state["busy_s"], state["steal_s"]) == (15.0, 3.0)


def test_memory_is_the_high_water_mark_of_this_process(root):
    assert read_memory(root({"proc/self/status": "Name:\tpython\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n"})) == {
        "peak_mib": 20.0,
        "resident_mib": 10.0,
    }


def test_a_machine_that_tells_nothing_gives_empty_readings(root):
    folder = root({})
    state = read_state(folder)

    assert (state["clocks_mhz"], state["governors"], state["temperatures_c"], state["throttle_counts"], state["throttled_now"]) == (
        {},
        [],
        {},
        {},
        {},
    )
    assert (state["busy_s"], state["steal_s"], state["memory_available_mib"]) == (None, None, None)
    assert read_memory(folder) == {"peak_mib": None, "resident_mib": None}
    assert read_facts(folder)["cpu"] == ""


def test_this_machine_can_be_read():
    state, facts = read_state(), read_facts()

    assert facts["arch"] == os.uname().machine
    assert len(state["load_average"]) == 3
    assert read_memory()["peak_mib"] > 1
