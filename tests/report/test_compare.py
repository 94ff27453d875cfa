import msgspec

from edgekit.report import compare_reports


def slower_by(entry, share, **conditions):
    """The entry, each of its times longer by this share."""
    times = tuple(round(time * (1 + share)) for time in entry.latency.samples_ns)
    latency = msgspec.structs.replace(entry.latency, samples_ns=times)
    return msgspec.structs.replace(entry, latency=latency, conditions={**entry.conditions, **conditions})


def of(compared, target):
    return next(engine for engine in compared.engines if engine.target == target)


def with_x86(report, entry):
    return msgspec.structs.replace(report, engines=(entry, *report.engines[1:]))


def test_a_report_does_not_differ_from_itself(report):
    compared = compare_reports(report, report)

    assert {engine.latency.outcome for engine in compared.engines if engine.latency} == {"no difference beyond noise"}
    assert compared.exit_status == 0


def test_an_engine_that_takes_a_fifth_longer_is_slower(report):
    compared = compare_reports(report, with_x86(report, slower_by(report.engines[0], 0.2)))
    found = of(compared, "x86-64-vnni").latency

    assert found.outcome == "slower"
    assert abs(found.ratio - 1.2) < 1e-6
    assert compared.exit_status == 3
    assert compared.rows[1][-1] == "slower"


def test_one_per_cent_is_not_beyond_noise(report):
    compared = compare_reports(report, with_x86(report, slower_by(report.engines[0], 0.01)))

    assert of(compared, "x86-64-vnni").latency.outcome == "no difference beyond noise"
    assert compared.exit_status == 0


def test_times_under_other_conditions_are_refused_and_it_is_said_why(report):
    compared = compare_reports(report, with_x86(report, slower_by(report.engines[0], 0.2, governor="performance")))
    found = of(compared, "x86-64-vnni")

    assert found.latency is None
    assert found.is_refused
    assert "governor: schedutil and performance" in found.latency_reason
    assert any("governor" in note for note in compared.notes)
    assert compared.exit_status == 5


def test_times_that_are_not_valid_are_refused(report):
    entry = report.engines[0]
    throttled = msgspec.structs.replace(entry, latency=msgspec.structs.replace(entry.latency, invalid=("the processor was throttled",)))
    compared = compare_reports(report, with_x86(report, throttled))

    assert of(compared, "x86-64-vnni").latency_reason == "times of the second are not valid: the processor was throttled"
    assert compared.exit_status == 5


def test_sizes_and_fidelity_stand_side_by_side(report):
    entry = report.engines[0]
    better = msgspec.structs.replace(entry, bytes=4_000_000, fidelity=msgspec.structs.replace(entry.fidelity, sqnr_db=24.4))
    row = compare_reports(report, with_x86(report, better)).rows[1]

    assert row[2:4] == ("5.13 MB → 4 MB", "19.4 dB → 24.4 dB")


def test_fidelity_judged_by_other_samples_is_not_compared(report):
    other = msgspec.structs.replace(report, samples=msgspec.structs.replace(report.samples, sha256="0" * 64))
    compared = compare_reports(report, other)

    assert of(compared, "x86-64-vnni").sqnr_db == (None, None)
    assert compared.notes.count("fidelity and accuracy are not compared: other samples judged") == 1


def test_an_engine_of_one_report_alone_is_named(report):
    fewer = msgspec.structs.replace(report, engines=report.engines[:1])
    compared = compare_reports(fewer, report)

    assert of(compared, "raspberry-pi-5").latency_reason == "not in the first report"
    assert of(compared, "raspberry-pi-5").bytes == (None, 5_312_880)
    assert compared.exit_status == 0


def test_another_model_is_remarked_on(report):
    other = msgspec.structs.replace(report, model=msgspec.structs.replace(report.model, source="b.onnx", sha256="1" * 64))

    assert compare_reports(report, other).notes[0] == "not the same model: models/efficientnet_lite0.pth and b.onnx"


def test_the_float_original_is_compared_too(report):
    assert of(compare_reports(report, report), "reference").latency.ratio == 1
