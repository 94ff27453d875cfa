"""What is said of an engine that is built where it runs, by how its builder ended."""

import os

import pytest

from edgekit.run import health
from edgekit.run.bundle_file import RefusedError
from edgekit.run.tensors import Tensor, write_tensors

BUILT = "import json, os, signal\njson.dump({'status': 'built', 'by': 'trtexec', 'engine': {}}, open('build-result.json', 'w'))\n"
KILLED = BUILT + "os.kill(os.getpid(), signal.SIGKILL)\n"
ANSWERING = """import json, os, shutil
shutil.copytree('inputs/000', 'outputs/000')
os.rename('outputs/000/x.bin', 'outputs/000/y.bin')
json.dump({'status': 'built', 'run': {'latencies_ns': [1000000, 3000000, 2000000]}}, open('build-result.json', 'w'))
"""
MANIFEST = {
    "build": {"argv": ["builder.py"], "again": ["builder.py"], "timeout_s": 30},
    "health": {"max_difference": 0.0, "max_latency_ms": None},
}


@pytest.fixture
def checked(tmp_path):
    """Check an engine that answers what it is given, built by this program."""

    def check(builder):
        (tmp_path / "engine").mkdir()
        (tmp_path / "engine" / "builder.py").write_text(builder)
        (tmp_path / "health").mkdir()
        for part, name in (("inputs", "x"), ("outputs", "y")):
            write_tensors(os.path.join(tmp_path, "health", part), [[Tensor(name, "uint8", (2,), b"\x01\x02")]])
        return health.check(str(tmp_path), MANIFEST, is_new=True)

    return check


def test_an_engine_that_is_built_and_answers_as_recorded_is_well(checked):
    found = checked(ANSWERING)

    assert (found["difference"], found["p50_ms"]) == (0.0, 2.0)


@pytest.mark.parametrize(
    ("builder", "said"),
    [
        (KILLED, "it was ended by SIGKILL"),
        (BUILT + "raise SystemExit('out of memory')", "it ended with status 1: out of memory"),
        ("raise SystemExit(3)", "it ended with status 3"),
        ('open(\'build-result.json\', \'w\').write(\'{"status": "refused", "reason": "another board"}\')\nraise SystemExit(2)', "another board"),
    ],
)
def test_a_builder_that_ends_before_the_engine_answers_is_told_by_how_it_ended(checked, builder, said):
    with pytest.raises(RefusedError) as refused:
        checked(builder)

    assert refused.value.reason == said


def test_a_builder_that_ends_well_and_asked_nothing_is_of_an_older_edgekit(checked):
    with pytest.raises(RefusedError, match="its builder is of an older edgekit"):
        checked(BUILT)
