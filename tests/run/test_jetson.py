"""Readings of a board's own tools, from what they were recorded to print.

Sources of the recordings: AGX Xavier, github.com/martinkersner/gtop pull request 7; TX2, github.com/rbonghi/jetson_stats issue
187; Nano and TX1, tests of the jetson check in github.com/DataDog/datadog-agent; Orin with JetPack 7.2,
github.com/rbonghi/jetson_stats pull request 894; Orin Nano, "Tegrastats Utility" in the Jetson Linux Developer Guide of r36.5;
AGX Orin and Thor, public logs of such boards with L4T 36.4 and 39. nvpmodel and jetson_clocks: public environment logs of an
Orin Nano with JetPack 7.2, an Orin NX with 6.2.1 and an AGX Orin with 7.2.
"""

from __future__ import annotations

import stat
import time

import pytest

from edgekit.run import jetson

NANO = (
    "RAM 613/3964MB (lfb 634x4MB) SWAP 0/1982MB (cached 0MB) CPU [2%@102,1%@102,0%@102,0%@102] EMC_FREQ 0% GR3D_FREQ 0% PLL@39C CPU@40.5C "
    "PMIC@100C GPU@41C AO@46C thermal@41C POM_5V_IN 900/943 POM_5V_GPU 0/0 POM_5V_CPU 123/123"
)
TX1 = (
    "RAM 1179/3983MB (lfb 120x4MB) IRAM 0/252kB(lfb 252kB) CPU [1%@102,4%@102,0%@102,0%@102] EMC_FREQ 7%@408 GR3D_FREQ 0%@76 APE 25 "
    "AO@42.5C CPU@37.5C GPU@39C PLL@37C Tdiode@42.75C PMIC@100C Tboard@42C thermal@38.5C VDD_IN 2532/2698 VDD_CPU 76/178 VDD_GPU 19/19"
)
TX2 = (
    "RAM 1689/3825MB (lfb 339x4MB) SWAP 0/1913MB (cached 0MB) CPU [3%@345,off,off,0%@345,1%@345,1%@345] EMC_FREQ 0% GR3D_FREQ 0% "
    "PLL@50.5C MCPU@50.5C PMIC@50C GPU@50C BCPU@50.5C thermal@50.3C"
)
XAVIER = (
    "RAM 14700/15692MB (lfb 3x2MB) SWAP 898/8192MB (cached 23MB) CPU [0%@1190,0%@1190] EMC_FREQ 0% GR3D_FREQ 0% AO@30C GPU@30.5C "
    "Tboard@31C Tdiode@32C AUX@30.5C CPU@31.5C thermal@30.8C PMIC@100C GPU 463/463 CPU 618/618 SOC 2936/2936 CV 0/0 VDDRQ 309/309 SYS5V 3306/3306"
)
ORIN_NANO = (
    "RAM 3162/7620MB (lfb 8x4MB) SWAP 0/3810MB (cached 0MB) CPU [1%@1510,0%@1510] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[305] VIC off APE 200 "
    "cpu@50.031C tj@50.031C VDD_IN 4952mW/4952mW VDD_CPU_GPU_CV 1013mW/1013mW VDD_SOC 1544mW/1544mW"
)
AGX_ORIN = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) CPU [0%@729,0%@729] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] "
    "VIC_FREQ 729 APE 174 CV0@-256C CPU@44.562C Tboard@32C SOC2@40.093C GPU@-256C tj@44.343C VDD_GPU_SOC 2340mW/2340mW VDD_CPU_CV 390mW/390mW "
    "VIN_SYS_5V0 4025mW/4025mW NC 0mW/0mW VDDQ_VDD2_1V8AO 301mW/301mW NC 0mW/0mW"
)
ORIN_JP72 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201] EMC_FREQ 3%@3199 GR3D_FREQ 0%@[1300,1300] NVENC0 off "
    "NVDEC0 off APE 174 cpu@52.968C/52.968C"
)
THOR = (
    "08-08-2026 20:58:23 RAM 3429/125749MB (lfb 120x4MB) CPU [0%,5%,off]@2601 EMC_FREQ @4266 GR3D_FREQ @[1574,1574,1574] cpu@49.75C/49.75C "
    "tj@51.218C/51.218C gpu@51.218C/51.218C VDD_GPU 6330mW/6330mW/6330mW VIN 28906mW/14453mW/28906mW"
)


@pytest.mark.parametrize(
    ("line", "used", "gpu", "bus"),
    [
        (NANO, 613, (0, None), (0, None)),
        (TX1, 1179, (0, 76), (7, 408)),
        (TX2, 1689, (0, None), (0, None)),
        (XAVIER, 14700, (0, None), (0, None)),
        (ORIN_NANO, 3162, (0, 305), (0, 2133)),
        (AGX_ORIN, 4321, (0, 0), (0, 2133)),
        (ORIN_JP72, 20642, (0, 1300), (3, 3199)),
        (THOR, 3429, (None, 1574), (None, 4266)),
    ],
    ids=["Nano", "TX1", "TX2", "AGX Xavier", "Orin Nano", "AGX Orin", "Orin JetPack 7.2", "Thor"],
)
def test_memory_gpu_and_memory_bus_are_read_from_every_boards_form(line, used, gpu, bus):
    found = jetson.parse_tegrastats(line)

    assert found["ram_mib"]["used"] == used
    assert (found["gpu"]["percent"], found["gpu"]["mhz"]) == gpu
    assert (found["memory_bus"]["percent"], found["memory_bus"]["mhz"]) == bus


@pytest.mark.parametrize(
    ("line", "rails"),
    [
        (NANO, {"POM_5V_IN": 900, "POM_5V_GPU": 0, "POM_5V_CPU": 123}),
        (TX1, {"VDD_IN": 2532, "VDD_CPU": 76, "VDD_GPU": 19}),
        (TX2, {}),
        (XAVIER, {"GPU": 463, "CPU": 618, "SOC": 2936, "CV": 0, "VDDRQ": 309, "SYS5V": 3306}),
        (ORIN_NANO, {"VDD_IN": 4952, "VDD_CPU_GPU_CV": 1013, "VDD_SOC": 1544}),
        (AGX_ORIN, {"VDD_GPU_SOC": 2340, "VDD_CPU_CV": 390, "VIN_SYS_5V0": 4025, "VDDQ_VDD2_1V8AO": 301}),
        (THOR, {"VDD_GPU": 6330, "VIN": 28906}),
    ],
    ids=["Nano", "TX1", "TX2", "AGX Xavier", "Orin Nano", "AGX Orin", "Thor"],
)
def test_rails_are_milliwatts_with_or_without_their_unit(line, rails):
    assert jetson.parse_tegrastats(line)["power_mw"] == rails


def test_the_mean_of_a_rail_is_the_second_figure_of_two_and_of_three():
    assert jetson.parse_tegrastats(NANO)["power_mean_mw"]["POM_5V_IN"] == 943
    assert jetson.parse_tegrastats(THOR)["power_mean_mw"]["VIN"] == 14453


def test_a_sensor_that_is_off_is_left_out():
    heat = jetson.parse_tegrastats(AGX_ORIN)["temperatures_c"]

    assert heat == {"CPU": 44.562, "Tboard": 32.0, "SOC2": 40.093, "tj": 44.343}


def test_a_temperature_with_its_highest_behind_it_is_the_present_one():
    assert jetson.parse_tegrastats(THOR)["temperatures_c"] == {"cpu": 49.75, "tj": 51.218, "gpu": 51.218}


def test_a_processor_that_is_off_has_no_load_and_one_clock_may_stand_for_all():
    assert jetson.parse_tegrastats(TX2)["cpus"][:2] == [{"percent": 3, "mhz": 345}, None]
    assert jetson.parse_tegrastats(THOR)["cpus"] == [{"percent": 0, "mhz": 2601}, {"percent": 5, "mhz": 2601}, None]


def test_a_line_that_says_nothing_gives_nothing():
    assert jetson.parse_tegrastats("tegrastats: command failed") == {"temperatures_c": {}, "power_mw": {}, "power_mean_mw": {}}


def test_most_and_mean_are_over_all_samples():
    found = jetson.summarize(
        [jetson.parse_tegrastats(line) for line in (NANO, NANO.replace("POM_5V_IN 900", "POM_5V_IN 1100").replace("613", "700"))]
    )

    assert (found["samples"], found["ram_most_mib"], found["gpu_mean_percent"]) == (2, 700.0, 0.0)
    assert (found["power_mean_mw"]["POM_5V_IN"], found["power_most_mw"]["POM_5V_IN"]) == (1000.0, 1100)


def test_the_power_mode_is_name_and_number():
    assert jetson.parse_power_mode("NV Power Mode: MAXN_SUPER\n2\n") == {"name": "MAXN_SUPER", "id": 2}
    assert jetson.parse_power_mode("NVPM WARN: fan mode is not set!\nNV Power Mode: 25W\n1\n") == {"name": "25W", "id": 1}
    assert jetson.parse_power_mode("") == {}


def test_power_modes_are_read_from_nvpmodel_and_from_its_file():
    verbose = "NVPM VERB: POWER_MODEL: ID=0 NAME=MODE_15W_2CORE\nNVPM VERB: /sys/devices/system/cpu/cpu1/online 1\n"
    verbose += "NVPM VERB: POWER_MODEL: ID=8 NAME=MODE_20W_6CORE\n"
    file = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"

    assert jetson.parse_power_modes(verbose) == [{"id": 0, "name": "MODE_15W_2CORE"}, {"id": 8, "name": "MODE_20W_6CORE"}]
    assert [one["name"] for one in jetson.parse_power_modes(file)] == ["15W", "25W", "MAXN_SUPER"]


CLOCKS = """SOC family:tegra234  Machine:NVIDIA Jetson Orin NX Engineering Reference Developer Kit
Online CPUs: 0-5
cpu0:  Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1510400 CurrentFreq=1510400 IdleStates: WFI=1 c7=1
cpu5:  Online=0 Governor=schedutil MinFreq=729600 MaxFreq=1510400 CurrentFreq=883200 IdleStates: WFI=1 c7=1
GPU MinFreq=306000000 MaxFreq=624750000 CurrentFreq=306000000
Active GPU TPCs: 2
EMC MinFreq=204000000 MaxFreq=2133000000 CurrentFreq=2133000000 FreqOverride=0
FAN Dynamic Speed Control=nvfancontrol hwmon0_pwm1=65
NV Power Mode: MAXN_SUPER
"""
PINNED = """SOC family:tegra234  Machine:NVIDIA Jetson AGX Orin Developer Kit
Online CPUs: 0-11, Offline CPUs:
cpu0:  Governor=schedutil MinFreq=2201600 MaxFreq=2201600 CurrentFreq=2201600 IdleStates: WFI=0 c7=0
GPU MinFreq=1300500000 MaxFreq=1300500000 CurrentFreq=1300500000
EMC MinFreq=3199000000 MaxFreq=3199000000 CurrentFreq=3199000000
DLA0_CORE:   Online=1 MinFreq=0 MaxFreq=1600000000 CurrentFreq=1600000000
DLA0_FALCON: Online=1 MinFreq=0 MaxFreq=844800000 CurrentFreq=844800000
"""


def test_clocks_are_megahertz_and_free_unless_least_and_most_are_one():
    free, pinned = jetson.parse_clocks(CLOCKS), jetson.parse_clocks(PINNED)

    assert (free["soc"], free["machine"]) == ("tegra234", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit")
    assert free["gpu"] == {"min_mhz": 306.0, "max_mhz": 624.75, "mhz": 306.0}
    assert free["cpus"]["cpu5"]["is_online"] is False
    assert free["fan"] == "nvfancontrol"
    assert (free["is_pinned"], pinned["is_pinned"]) == (False, True)
    assert pinned["dla"] == {"DLA0_CORE": {"min_mhz": 0.0, "max_mhz": 1600.0, "mhz": 1600.0}}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025", "36.4.3"),
        ("# R39 (release), REVISION: 2.0, GCID: 45755727, BOARD: generic, EABI: aarch64, DATE: Mon Jun  1 09:28:48 PM UTC 2026", "39.2.0"),
        ("", ""),
    ],
)
def test_the_release_of_l4t_is_a_version(text, version):
    assert jetson.parse_l4t(text) == version


def test_a_board_without_its_tools_has_no_readings(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with jetson.Stats() as stats:
        pass

    assert stats.samples == []
    assert jetson.read_power_and_clocks() == {"power_mode": {}, "power_modes": [], "clocks": {}}


def test_tegrastats_is_read_while_something_runs_and_ends_with_it(monkeypatch, tmp_path):
    fake = tmp_path / "tegrastats"
    fake.write_text(f"#!/bin/sh\nwhile :; do echo '{ORIN_NANO}'; /bin/sleep 0.02; done\n", encoding="ascii")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    with jetson.Stats(interval_ms=20) as stats:
        until = time.monotonic() + 10
        while len(stats.samples) < 3 and time.monotonic() < until:
            time.sleep(0.01)
    count = len(stats.samples)
    time.sleep(0.1)

    assert count >= 3
    assert len(stats.samples) == count
    assert stats.samples[0]["power_mw"]["VDD_IN"] == 4952
