"""A Measurement: raw times in order, and everything known of the conditions they were taken under. Nothing is worked out here
that cannot be worked out again from what was seen."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgekit.device.contract import DeviceFacts
from edgekit.measure.compare import Timings

NotNegative = Annotated[float, Meta(ge=0)]


def runtime_of(versions: Mapping[str, str]) -> str:
    """The runtime's package and its version, among the versions that the agent tells."""
    return next((f"{package} {version}" for package, version in versions.items() if package not in ("numpy", "python")), "")


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long to run: single stream, one query after the other, inputs going round over a few samples.

    The defaults let p99 be stated (662 queries, see :func:`edgekit.numerics.statistics.fewest_queries`) for whatever takes less than
    18 ms, and end after 12 s whatever it takes.

    Attributes:
        warmup_s, warmup_queries: the warm-up ends when both are met.
        min_queries, min_duration_s: the run ends when both are met, …
        max_duration_s: … or here, whatever was reached.
        threads: how many the runtime may compute with.
    """

    warmup_s: NotNegative = 0.5
    warmup_queries: Annotated[int, Meta(ge=0)] = 3
    min_queries: Annotated[int, Meta(ge=2)] = 662
    min_duration_s: NotNegative = 3.0
    max_duration_s: NotNegative = 12.0
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1


class Memory(msgspec.Struct, frozen=True):
    """Memory of the process that held the engine; None where the system does not tell.

    Attributes:
        peak_mib: most it ever held, the runtime and its Python included.
        base_mib: what it held before loading the engine, the runtime being imported already.
        load_mib: how much more it held after loading.
    """

    peak_mib: float | None
    base_mib: float | None
    load_mib: float | None


class State(msgspec.Struct, frozen=True):
    """What the device said of itself at one moment; see :func:`edgekit.run.state.read_state`."""

    monotonic_s: float
    clocks_mhz: dict[str, float] = {}
    governors: tuple[str, ...] = ()
    temperatures_c: dict[str, float] = {}
    throttle_counts: dict[str, int] = {}
    throttled_now: dict[str, bool] = {}
    load_average: tuple[float, ...] = ()
    busy_s: float | None = None
    steal_s: float | None = None
    involuntary_switches: int | None = None
    memory_available_mib: float | None = None
    power_mw: dict[str, float] = {}
    energy_uj: dict[str, int] = {}

    @property
    def clock_mhz(self) -> float | None:
        """Median clock over the processors."""
        return statistics.median(self.clocks_mhz.values()) if self.clocks_mhz else None

    @property
    def temperature_c(self) -> float | None:
        """Of the hottest zone."""
        return max(self.temperatures_c.values(), default=None)


class Conditions(msgspec.Struct, frozen=True):
    """What a measurement was taken under.

    Attributes:
        taken_at: date and time of the host, ISO 8601 with offset.
        facts: what the device is; see :func:`edgekit.run.state.read_facts`.
        versions: of the runtime's package (first), numpy and Python on the device.
        feeds: how many different inputs the queries went round over.
        before, after: the device's state when the warm-up was over, and when the last query was.
        wall_s: the timed run by the clock.
        cpu_s: processor time of the agent in it, all threads; where blocks were timed, of all that ran them, their loading included.
        capped: whether the longest allowed duration ended the run before enough queries were done.
    """

    taken_at: str
    facts: dict[str, Any]
    versions: dict[str, str]
    feeds: int
    before: State
    after: State
    wall_s: float
    cpu_s: float
    capped: bool

    @property
    def runtime(self) -> str:
        """The runtime's package and its version."""
        return runtime_of(self.versions)

    @property
    def processor_share(self) -> float:
        """Processor seconds the agent had per second: 1 for one thread that nobody interrupted."""
        return self.cpu_s / self.wall_s

    @property
    def others_cores(self) -> float | None:
        """Processors that other processes kept busy meanwhile, on average."""
        if self.before.busy_s is None or self.after.busy_s is None:
            return None
        return max(0.0, (self.after.busy_s - self.before.busy_s - self.cpu_s) / (self.after.monotonic_s - self.before.monotonic_s))

    @property
    def steal_cores(self) -> float | None:
        """Processors that a hypervisor gave to others while this machine wanted them, on average."""
        if self.before.steal_s is None or self.after.steal_s is None:
            return None
        return (self.after.steal_s - self.before.steal_s) / (self.after.monotonic_s - self.before.monotonic_s)

    @property
    def throttling(self) -> tuple[str, ...]:
        """What held the processor back during the run: counters that rose, and flags that were up at either end."""
        rose = [name for name, count in self.after.throttle_counts.items() if count > self.before.throttle_counts.get(name, count)]
        flags = {**self.before.throttled_now, **self.after.throttled_now}
        return (*rose, *(name for name in flags if self.before.throttled_now.get(name) or self.after.throttled_now.get(name)))


class Blocks(msgspec.Struct, frozen=True):
    """Queries that were timed by a program which tells no single times: each block by a process of its own.

    Attributes:
        queries: how many each block has.
        means_ns: the mean of each block, in order.
        latency: what stands for a block among the latencies: its median, or its mean where the program prints no median, or
            one that is too coarse.
        on_samples: whether the inputs were samples; else they were the program's own random numbers.
    """

    queries: tuple[int, ...]
    means_ns: tuple[int, ...]
    latency: Literal["median", "mean"]
    on_samples: bool


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """Times and memory of one engine on one device.

    Attributes:
        target: what the engine was made for.
        runtime: what it was made for.
        engine_sha256: of the engine's file.
        device: what it was measured on.
        load: what was asked for.
        latencies_ns: each timed query in order, from inputs in memory to outputs in memory; where there are blocks, one number a block.
        warmup: queries before these that are not counted.
        first_ns: the first query after loading.
        load_ns: from the file to an engine ready for its first query; the runtime was imported already.
        import_ns: importing the runtime; None where nobody tells.
        memory: of the agent, or of the program that ran the engine.
        conditions: what all this was taken under.
        blocks: None where single queries were timed.
    """

    target: str
    runtime: str
    engine_sha256: str
    device: DeviceFacts
    load: Load
    latencies_ns: tuple[int, ...]
    warmup: int
    first_ns: int
    load_ns: int
    import_ns: int | None
    memory: Memory
    conditions: Conditions
    blocks: Blocks | None = None

    @property
    def queries(self) -> int:
        """How many were timed."""
        return len(self.latencies_ns) if self.blocks is None else sum(self.blocks.queries)

    @property
    def timings(self) -> Timings:
        """What :func:`edgekit.measure.compare.compare` needs of it."""
        return Timings(latencies_ns=self.latencies_ns, conditions=self.summary())

    def summary(self) -> dict[str, Any]:
        """The conditions as plain data for a report: what two measurements must share to be compared, and what a reader asks for."""
        seen = self.conditions
        return {
            "taken_at": seen.taken_at,
            "device": self.device.name,
            "arch": self.device.arch,
            "cpu": self.device.cpu,
            "emulated": self.device.emulated,
            "board": seen.facts.get("model") or None,
            "os": seen.facts.get("os"),
            "kernel": seen.facts.get("kernel"),
            "cpus": seen.facts.get("cpus"),
            "cpus_allowed": seen.facts.get("cpus_allowed"),
            "cpu_quota": seen.facts.get("cpu_quota"),
            "threads": self.load.threads,
            "load": msgspec.to_builtins(self.load),
            **({} if self.blocks is None else {"timed": f"{self.blocks.latency}s of blocks"}),
            "runtime": seen.runtime,
            "versions": seen.versions,
            "feeds": seen.feeds,
            "governor": ", ".join(seen.after.governors) or None,
            "clock_mhz": [seen.before.clock_mhz, seen.after.clock_mhz],
            "temperature_c": [seen.before.temperature_c, seen.after.temperature_c],
            "throttled": list(seen.throttling),
            "loadavg": list(seen.before.load_average),
            "processor_share": round(seen.processor_share, 3),
            "others_cores": _rounded(seen.others_cores),
            "steal_cores": _rounded(seen.steal_cores),
            "power_mw": seen.after.power_mw or None,
            "wall_s": round(seen.wall_s, 3),
            "capped": seen.capped,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
