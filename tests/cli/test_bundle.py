"""Bundles from the command line: keys, made, signed, verified, installed on this machine, rolled back."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cryptography")
pytest.importorskip("cyclonedx")


@pytest.fixture(autouse=True)
def nobodys_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("EDGEKIT_APPS", str(tmp_path / "apps"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("EDGEKIT_KEY_PASSPHRASE", raising=False)


@pytest.fixture
def built(edgekit, net, pictures):
    """A build of the tiny network for this machine."""
    assert edgekit("build", net, "-t", "x86", "--samples", pictures, "--no-bench", "-o", "out").status == 0
    return Path("out")


@pytest.fixture
def key(edgekit):
    assert edgekit("keys", "new", "release").status == 0
    return "release"


def member(path, name):
    with tarfile.open(path) as archive:
        return archive.extractfile(name).read()


def test_the_same_build_gives_the_same_bundle(edgekit, built, pictures, key, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    for name in ("one", "other"):
        assert edgekit("bundle", built, "-o", f"{name}.edgekit", "--samples", pictures, "--key", key, "--expires", "2028-01-01").status == 0

    assert Path("one.edgekit").read_bytes() == Path("other.edgekit").read_bytes()
    assert b"signed 2027-01-15T08:00:00Z\nexpires 2028-01-01T00:00:00Z\n" in member("one.edgekit", "signatures")


def test_a_bundle_says_what_it_is_and_every_member_is_what_the_manifest_says(edgekit, built, key):
    said = edgekit("bundle", built, "--name", "tiny", "--version", 7, "--licence", "Apache-2.0", "--max-latency-ms", 50, "--key", key, "--json")

    told = json.loads(member(said.data["path"], "manifest.json"))
    report = json.loads((built / "report.json").read_text())
    assert (told["name"], told["version"], told["licence"]["model"]) == ("tiny", 7, "Apache-2.0")
    assert told["target"]["arch"] == os.uname().machine
    assert told["origin"]["sha256"] == report["model"]["sha256"]
    assert told["fidelity"]["sqnr_db"] == report["engines"][0]["fidelity"]["sqnr_db"]
    assert told["health"]["max_latency_ms"] == 50
    for one in told["members"]:
        content = member(said.data["path"], one["path"])
        assert (len(content), hashlib.sha256(content).hexdigest()) == (one["bytes"], one["sha256"])
    assert {"run.py", "descriptor.json", "sbom.cdx.json", "engine/engine.json"} <= {one["path"] for one in told["members"]}


def test_a_bundle_tells_nothing_of_the_machine_that_made_it(edgekit, built, pictures, key, tmp_path):
    path = edgekit("bundle", built.resolve(), "--samples", pictures.resolve(), "--key", key, "--json").data["path"]

    assert json.loads((built / "report.json").read_text())["engines"][-1]["fidelity"]["judged_on"]["device"] != ""
    assert json.loads(member(path, "manifest.json"))["fidelity"]["judged_on"]["device"] == ""
    assert not [folder for folder in (tmp_path, Path.home()) if str(folder).encode() + b"/" in Path(path).read_bytes()]


def test_where_the_users_own_code_lies_stays_here(edgekit, built):
    report = json.loads((built / "report.json").read_text())
    report["recipe"]["step"].append({"pass": "finetune", "trainer": "/home/somebody/loops/slow.py:run", "epochs": 2})
    (built / "report.json").write_text(json.dumps(report))

    path = edgekit("bundle", built, "--json").data["path"]

    assert json.loads(member(path, "manifest.json"))["origin"]["steps"][-1] == {"pass": "finetune", "trainer": "slow.py:run", "epochs": 2}
    assert b"/home/somebody" not in Path(path).read_bytes()


def test_the_bill_of_materials_is_valid_and_names_files_model_and_packages(edgekit, built, key):
    said = edgekit("bundle", built, "--licence", "Apache-2.0 OR MIT", "--json")
    content = member(said.data["path"], "sbom.cdx.json")
    bill = json.loads(content)

    names = {one["name"] for one in bill["components"]}
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert {"engine/model.onnx", "net.onnx", "little", "onnxruntime", "numpy"} <= names
    hashes = {one["name"]: one["hashes"][0]["content"] for one in bill["components"] if "hashes" in one}
    assert hashes["engine/model.onnx"] == hashlib.sha256(member(said.data["path"], "engine/model.onnx")).hexdigest()
    assert bill["metadata"]["component"]["licenses"] == [{"expression": "Apache-2.0 OR MIT"}]
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode()) is None


def test_a_bundle_is_signed_verified_and_refused_when_a_bit_changes(edgekit, built, key):
    edgekit("bundle", built, "-o", "b.edgekit")
    unsigned = edgekit("verify", "b.edgekit")
    signed = edgekit("sign", "b.edgekit", "--key", key)
    whole = Path("b.edgekit").read_bytes()

    assert (unsigned.status, unsigned.err.splitlines()[0]) == (5, "edgekit: b.edgekit: it is not signed")
    assert signed.status == 0
    assert "whole, signed by release" in edgekit("verify", "b.edgekit").out
    Path("b.edgekit").write_bytes(whole[:-2000] + bytes([whole[-2000] ^ 1]) + whole[-1999:])
    said = edgekit("verify", "b.edgekit")
    assert said.status == 5
    assert len(said.err.splitlines()) == 2


def test_two_keys_sign_one_bundle_and_either_will_do(edgekit, built, key, tmp_path):
    edgekit("keys", "new", "second")
    edgekit("bundle", built, "-o", "b.edgekit", "--key", key)
    edgekit("sign", "b.edgekit", "--key", "second")

    for name in (key, "second"):
        assert edgekit("verify", "b.edgekit", "--keys", tmp_path / "keys" / f"{name}.pub").status == 0
    edgekit("keys", "new", "third")
    said = edgekit("verify", "b.edgekit", "--keys", tmp_path / "keys" / "third.pub")
    assert said.status == 5
    assert "trusted here: third" in said.err


def test_a_private_key_is_for_its_owner_alone_and_may_have_a_passphrase(edgekit, built, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_KEY_PASSPHRASE", "correct horse")
    edgekit("keys", "new", "release")
    file = tmp_path / "keys" / "release.key"
    edgekit("bundle", built, "-o", "b.edgekit")

    assert file.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in file.read_bytes()
    assert edgekit("sign", "b.edgekit", "--key", "release").status == 0
    for wrong, said in (("battery", "the passphrase is not its own"), (None, "needs a passphrase")):
        monkeypatch.delenv("EDGEKIT_KEY_PASSPHRASE") if wrong is None else monkeypatch.setenv("EDGEKIT_KEY_PASSPHRASE", wrong)
        found = edgekit("sign", "b.edgekit", "--key", "release")
        assert (found.status, said in found.err) == (2, True)
    monkeypatch.setenv("EDGEKIT_KEY_PASSPHRASE", "correct horse")
    file.chmod(0o644)
    assert "others may read it" in edgekit("sign", "b.edgekit", "--key", "release").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("keys", "new", "../x"), "no name for a key"),
        (("keys", "rotate", "nobody", "--to", "x"), "no such key"),
        (("bundle", "nowhere"), "no build here"),
        (("sign", "nothing.edgekit", "--key", "release"), "no such key"),
        (("verify", "nothing.edgekit"), "No such file"),
        (("deploy", "nothing.edgekit", "--device", "local"), "No such file"),
        (("status", "mark-god", "--device", "local"), "did you mean mark-good"),
        (("rollback", "--device", "local"), "nothing is installed"),
        (("status", "--device", "lab:all"), "one device at a time here"),
        (("deploy", "whole.edgekit", "--device", "local", "--trust-keys", "binary.pub"), "binary.pub: no file of keys: it is not text"),
    ],
)
def test_mistakes_are_said_in_one_line_with_a_hint(edgekit, bundles, words, said):
    bundles.Toy().write(Path("whole.edgekit"), bundles.Signer("release"))
    Path("binary.pub").write_bytes(b"\x89\xff\n")

    found = edgekit(*words)

    assert found.status in (2, 4)
    assert said in found.err
    assert len(found.err.splitlines()) == 2


def test_a_bundle_of_another_engine_name_or_time_is_a_usage_error(edgekit, built, key):
    for words, said in (
        (("--engine", "rpi5"), "no engine rpi5"),
        (("--name", "A B"), "the name 'A B' is none: small letters, digits and `-`, 63 at most"),
        (("--version", 2**53), "the version 9007199254740992 is none: a whole number from 1 to 9007199254740991"),
        (("--key", key, "--expires", "soon"), "no such time"),
        (("--key", key, "--expires", "0d"), "no such time"),
        (("--key", key, "--expires", "2001-01-01"), "that has passed"),
    ):
        found = edgekit("bundle", built, *words)
        assert found.status == 2, words
        assert said in found.err


def test_it_goes_onto_a_device_runs_there_gives_way_and_comes_back(edgekit, built, pictures, key, tmp_path):
    public = tmp_path / "keys" / "release.pub"
    for version in (1, 2):
        edgekit("bundle", built, "--name", "tiny", "--version", version, "--samples", pictures, "--key", key, "-o", f"{version}.edgekit")

    stranger = edgekit("deploy", "1.edgekit", "--device", "local")
    first = edgekit("deploy", "1.edgekit", "--device", "local", "--trust-keys", public, "--trial-s", 1)
    second = edgekit("deploy", "2.edgekit", "--device", "local", "--trial-s", 0, "--json")
    replayed = edgekit("deploy", "1.edgekit", "--device", "local")
    back = edgekit("rollback", "--device", "local")
    after = edgekit("status", "--device", "local", "--json").data["apps"][0]

    assert (stranger.status, "--trust-keys" in stranger.err) == (5, True)
    assert (first.status, "tiny 1 runs, good; signed by release" in first.out) == (0, True), first.err
    assert second.data["health"]["difference"] == 0
    assert replayed.status == 5
    assert "its version is 1; nothing older than 2 is installed here; version 2 goes on running" in replayed.err
    assert "tiny 1 runs again" in back.out
    assert {slot["version"]: slot["runs"] for slot in after["slots"]} == {1: True, 2: False}


def test_what_is_marked_bad_gives_way(edgekit, built, key, tmp_path):
    for version in (1, 2):
        edgekit("bundle", built, "--name", "tiny", "--version", version, "--key", key, "-o", f"{version}.edgekit")
        edgekit("deploy", f"{version}.edgekit", "--device", "local", "--trial-s", 0, "--trust-keys", tmp_path / "keys" / "release.pub")

    said = edgekit("status", "mark-bad", "--device", "local", "--json")
    slots = {slot["version"]: slot for slot in said.data["apps"][0]["slots"]}

    assert (slots[1]["runs"], slots[2]["status"], slots[2]["reason"]) == (True, "bad", "it was marked bad")
    nothing_left = edgekit("status", "mark-bad", "--device", "local")
    assert nothing_left.status == 4
    assert "tiny: it is marked bad and goes on running, since there is no earlier slot to go back to" in nothing_left.err
    assert "edgekit deploy BUNDLE" in nothing_left.err


def test_a_key_that_gave_way_signs_nothing_more_for_a_device(edgekit, built, key, tmp_path):
    edgekit("bundle", built, "--name", "tiny", "--version", 1, "--key", key, "-o", "1.edgekit")
    edgekit("bundle", built, "--name", "tiny", "--version", 3, "--key", key, "-o", "old.edgekit")
    edgekit("deploy", "1.edgekit", "--device", "local", "--trial-s", 0, "--trust-keys", tmp_path / "keys" / "release.pub")

    rotated = edgekit("keys", "rotate", key, "--to", "next")
    edgekit("bundle", built, "--name", "tiny", "--version", 2, "--key", "next", "-o", "2.edgekit")
    new = edgekit("deploy", "2.edgekit", "--device", "local", "--trial-s", 0)
    old = edgekit("deploy", "old.edgekit", "--device", "local", "--trial-s", 0)

    assert rotated.status == 0
    assert "--key next" in edgekit("sign", "2.edgekit", "--key", key).err
    assert edgekit("keys", "rotate", "next", "--to", key).status == 2
    assert (new.status, "signed by next" in new.out) == (0, True), new.err
    assert (old.status, "which is revoked" in old.err) == (5, True)
    assert [(one["name"], one["gave_way_to"]) for one in edgekit("keys", "list", "--json").data["keys"]] == [("next", ""), ("release", "next")]


def test_the_device_computes_of_a_picture_what_was_judged_here(edgekit, built, pictures, key, tmp_path):
    """Scores of ``run.py`` in the slot, against the engine in ONNX Runtime on what the samples make of the same picture."""
    import onnxruntime

    from edgekit.report import read_report
    from edgekit.samples import feed_of

    edgekit("bundle", built, "--name", "tiny", "--key", key, "-o", "b.edgekit", "--samples", pictures)
    edgekit("deploy", "b.edgekit", "--device", "local", "--trial-s", 0, "--trust-keys", tmp_path / "keys" / "release.pub")
    picture = pictures / "03.png"

    ran = subprocess.run([sys.executable, tmp_path / "apps/tiny/current/run.py", picture], capture_output=True, text=True, check=True)

    report = read_report(built / "report.json")
    session = onnxruntime.InferenceSession(built / report.engines[0].path)
    (expected,) = session.run(None, feed_of(picture, "images", report.model.signature))
    best = json.loads(ran.stdout)["classes"]
    assert [one["index"] for one in best] == np.argsort(-expected[0], kind="stable").tolist()
    assert [one["score"] for one in best] == pytest.approx(np.sort(expected[0])[::-1].tolist(), rel=1e-6)


def test_a_service_for_systemd_is_written_beside_the_application(edgekit, built, key, tmp_path):
    edgekit("bundle", built, "--name", "tiny", "--key", key, "-o", "b.edgekit")

    said = edgekit("deploy", "b.edgekit", "--device", "local", "--trial-s", 0, "--unit", "--trust-keys", tmp_path / "keys" / "release.pub", "--json")
    unit = Path(said.data["unit"]).read_text()

    assert Path(said.data["unit"]) == tmp_path / "apps" / "tiny" / "edgekit-tiny.service"
    assert f"ExecStart=/usr/bin/env {sys.executable} -m edgekit_run.apps keep tiny 600 3600\n" in unit
    assert f"Environment=EDGEKIT_APPS={tmp_path / 'apps'} " in unit


def test_a_detectors_boxes_come_back_in_the_pictures_own_pixels(edgekit, key, tmp_path):
    """Two boxes on one thing and a weak one, in shares of the input; the picture is twice as wide as the input, and as high."""
    import onnx
    from PIL import Image

    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 21]>
        detect (float[1,3,16,16] image) => (float[1,3,4] boxes, float[1,3,2] scores)
        <float[1,3,4] places = {0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.5, 0.4375, 0.5, 0.5, 1.0, 1.0},
         float[1,3,2] sure = {0.8, 0.1, 0.7, 0.1, 0.1, 0.15}, float zero = {0.0}, int64[4] axes = {0, 1, 2, 3}> {
            mean = ReduceMean<keepdims=0>(image, axes)  none = Mul(mean, zero)  boxes = Add(places, none)  scores = Add(sure, none) }""")
    onnx.save(model, "detect.onnx")
    Path("boxes.toml").write_text('boxes = "boxes"\nscores = "scores"\nunit = "share"\n')
    Path("wrong.toml").write_text('boxes = "boxs"\n')
    Image.fromarray(np.full((16, 32, 3), 90, np.uint8)).save("a.png")
    words = ("--recipe", "float", "--no-bench", "--set", "preprocess.std=255", "--set", "preprocess.mean=0")
    assert edgekit("build", "detect.onnx", "-t", "x86", *words, "-o", "out").status == 0

    misspelt = edgekit("bundle", "out", "--boxes", "wrong.toml")
    edgekit("bundle", "out", "--boxes", "boxes.toml", "--key", key, "-o", "b.edgekit")
    edgekit("deploy", "b.edgekit", "--device", "local", "--trial-s", 0, "--trust-keys", tmp_path / "keys" / "release.pub")
    ran = subprocess.run([sys.executable, tmp_path / "apps/detect/current/run.py", "a.png"], capture_output=True, text=True, check=True)

    assert (misspelt.status, "did you mean boxes?" in misspelt.err) == (2, True)
    assert json.loads(ran.stdout)["boxes"] == [{"label": "0", "index": 0, "score": pytest.approx(0.8), "box": pytest.approx([0, 0, 16, 8])}]
