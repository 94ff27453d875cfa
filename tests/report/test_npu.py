import msgspec
import pytest

from edgekit.engine.contract import CpuOperator, MemoryUse, NpuEstimate
from edgekit.report import npu
from edgekit.report.html import render_html
from edgekit.report.markdown import render_markdown
from edgekit.report.summary import notes

ESTIMATE = NpuEstimate(
    compiler="Vela 5.2.0",
    accelerator="ethos-u55-128",
    system="Ethos_U55_High_End_Embedded",
    memory_mode="Shared_Sram",
    clock_mhz=500.0,
    npu_cycles=7_376_570,
    total_cycles=10_000_000,
    query_ms=20.0,
    macs=385_250_272,
    weight_bytes=4_671_712,
    encoded_weight_bytes=4_281_472,
    memories=(
        MemoryUse(name="SRAM", used_bytes=1_509_376, moved_bytes=30_000_000, peak_gb_s=4.0, holds=("feature maps",)),
        MemoryUse(name="off-chip flash", used_bytes=4_194_304, moved_bytes=5_000_000, peak_gb_s=0.5, holds=("weights",)),
    ),
    operators=60,
    cpu_operators=tuple(CpuOperator(op="MEAN", output=f"mean {index}", reason="Unsupported <depth-reduction>") for index in range(5)),
)


@pytest.fixture
def estimated(report):
    """The report with one engine that was compiled for an NPU."""
    first = msgspec.structs.replace(report.engines[0], npu=ESTIMATE, latency=None, latency_reason="no device", measured_on=None)
    return msgspec.structs.replace(report, engines=(first, *report.engines[1:]))


def test_an_estimate_is_never_shown_as_a_measurement(estimated):
    columns, rows = npu.estimate_table(estimated)

    assert len(columns) == 2
    assert rows == [
        ("time, estimated", "20 ms at 500 MHz"),
        ("cycles of the NPU", "7,376,570"),
        ("cycles in all", "10,000,000"),
        ("multiply-adds", "385,250,272"),
        ("memory used", "SRAM 1,474 KiB (feature maps); off-chip flash 4,096 KiB (weights)"),
        ("moved by a query", "SRAM 30 MB (1.50 of 4 GB/s); off-chip flash 5 MB (0.250 of 0.500 GB/s)"),
        ("weights, compressed", "4.67 MB → 4.28 MB"),
        ("on the NPU", "55 of 60 operators"),
        ("estimated for", "ethos-u55-128, Ethos_U55_High_End_Embedded, Shared_Sram"),
        ("by", "Vela 5.2.0"),
    ]
    assert "Vela 5.2.0 estimates 20 ms at 500 MHz, 10,000,000 cycles, not measured" in next(npu.lines(ESTIMATE))
    assert estimated.engines[0].latency is None


def test_operators_on_the_cpu_are_counted_by_reason_and_some_are_named(estimated):
    (row,) = npu.cpu_rows(estimated)

    assert row[1:] == ("MEAN", "5", "Unsupported <depth-reduction>", "mean 0, mean 1, mean 2 and 2 more")


def test_every_rendering_says_it(estimated):
    page, markdown, lines = render_html(estimated), render_markdown(estimated), "\n".join(notes(estimated))

    assert "nothing here was measured" in page
    assert "Unsupported &lt;depth-reduction&gt;" in page
    assert "20 ms at 500 MHz, not measured" in page
    assert "nothing here was measured" in markdown
    assert "on the CPU: 5 MEAN" in lines


def test_a_report_without_an_npu_has_no_such_section(report):
    assert "NPU" not in render_markdown(report)
    assert npu.estimate_table(report)[1] == []
