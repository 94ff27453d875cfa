import numpy as np
import pytest

from edgekit.run.tensors import read_tensors


def test_times_are_raw_nanoseconds_in_order_with_the_state_before_and_after(ask, job):
    ran, answer = ask(job)

    assert (ran.returncode, ran.stdout, answer["error"]) == (0, "", None)
    latency = answer["latency"]
    assert len(latency["latencies_ns"]) == 20
    assert all(isinstance(value, int) and value > 0 for value in latency["latencies_ns"])
    assert sum(latency["latencies_ns"]) <= latency["wall_ns"]
    assert (latency["warmup_queries"], latency["feeds"], latency["capped"]) == (5, 3, False)
    assert latency["after"]["monotonic_s"] > latency["before"]["monotonic_s"]
    assert latency["first_ns"] > 0
    assert answer["load_ns"] > 0


def test_the_answer_says_which_versions_ran(ask, job):
    import onnxruntime

    _, answer = ask(job)

    assert list(answer["versions"]) == ["onnxruntime", "numpy", "python"]
    assert answer["versions"]["onnxruntime"] == onnxruntime.__version__
    assert answer["versions"]["numpy"] == np.__version__


def test_onnx_runtime_keeps_no_id_of_a_device_and_sends_nothing_home(ask, job, desk, monkeypatch):
    home = desk / "home"
    home.mkdir()
    for variable in ("CI", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(home))

    ran, _ = ask(job)

    assert ran.returncode == 0
    assert list(home.rglob("*")) == []  # ONNX Runtime 1.29 and newer puts deviceid and what is to be sent below ~/.cache/Microsoft


def test_memory_before_loading_is_less_than_the_peak(ask, job):
    _, answer = ask(job)

    memory = answer["memory"]
    assert 5 < memory["base_mib"] < memory["peak_mib"] < 1000


def test_outputs_of_all_feeds_are_written_in_order(ask, job, desk):
    ask({**job, "latency": None, "infer": "outputs"})

    outputs = read_tensors(str(desk / "outputs"))
    assert [tensors[0].name for tensors in outputs] == ["y", "y", "y"]
    assert [np.frombuffer(tensors[0].data, np.float32).tolist() for tensors in outputs] == [[2, 4, 6], [20, 40, 60], [200, 400, 600]]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"schema": 2}, "job", "schema 1, not 2"),
        ({"runtime": "abacus"}, "job", "no adapter for the runtime abacus"),
        ({"runtime": "agent"}, "job", "no adapter for the runtime agent"),
        ({"runtime": "../x"}, "job", "no adapter for the runtime ../x"),
        ({"options": {"optimise": 1}}, "job", "unknown runtime options: optimise; known are graph_optimization"),
        ({"options": {"graph_optimization": "most"}}, "job", "most is none of all, extended, basic, disabled"),
        ({"engine": "missing.onnx"}, "engine", "missing.onnx"),
        ({"outputs": ["z"]}, "engine", "no output z; it has y"),
        ({"feeds": "missing"}, "file", "missing: cannot be read"),
        ({"latency": {"warmup_s": 1}}, "job", "job.json cannot be read"),
    ],
)
def test_what_is_wrong_comes_back_as_one_line(ask, job, change, kind, words):
    ran, answer = ask({**job, **change})

    assert ran.returncode == 1
    assert ran.stdout == ""
    assert answer["error"]["kind"] == kind
    assert words in answer["error"]["reason"]
    assert "\n" not in answer["error"]["reason"]


def test_a_damaged_engine_is_an_error_of_the_engine(ask, job, desk):
    (desk / "model.onnx").write_bytes(b"not a model")

    _, answer = ask(job)

    assert answer["error"]["kind"] == "engine"
    assert "ONNX Runtime does not open the engine" in answer["error"]["reason"]


def test_inputs_of_another_type_than_the_engine_takes_are_an_error_of_the_feeds(ask, job, desk):
    index = (desk / "feeds.json").read_text()
    (desk / "feeds.json").write_text(index.replace("float32", "int32"))

    _, answer = ask(job)

    assert answer["error"] == {"kind": "feeds", "reason": "input x is int32, the engine wants float32"}


def test_a_missing_job_is_an_error_too(ask, job, desk):
    (desk / "job.json").unlink(missing_ok=True)
    from edgekit.run.agent import main

    assert main([str(desk / "job.json"), str(desk / "result.json")]) == 1
    assert '"kind": "file"' in (desk / "result.json").read_text()


def test_called_wrongly_the_agent_says_how_to_call_it(capsys):
    from edgekit.run.agent import main

    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: python -m edgekit_run.agent")


def test_session_settings_reach_onnx_runtime(ask, job):
    _, answer = ask({**job, "options": {"session_config": {"session.intra_op.allow_spinning": "0"}, "graph_optimization": "disabled"}})
    _, refused = ask({**job, "options": {"session_config": {"session.load_model_format": "ORT"}}})

    assert answer["error"] is None
    assert refused["error"]["kind"] == "engine"
