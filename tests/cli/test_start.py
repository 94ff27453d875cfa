"""Starting: `--help` loads nothing heavy, every verb has help and JSON, documentation matches."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("numpy", "onnx", "onnx_ir", "onnxruntime", "torch", "tensorflow", "keras", "PIL", "ai_edge_litert", "rich.progress")
FIRST = ("init", "build", "plan", "inspect", "bench", "report", "compare", "distill", "sensitivity", "debug")
DEPLOYING = ("keys", "bundle", "sign", "verify", "deploy", "rollback", "status")
VERBS = (*FIRST, "targets", "recipes", "devices", *DEPLOYING, "doctor", "schema", "clean", "version")
README = Path(__file__).resolve().parents[2] / "README.md"


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nsys.stderr.write('\\n'.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(ran.stderr.split())


@pytest.mark.parametrize("arguments", ["['--help']", "['build', '--help']", "['debug', 'quantization', '--help']", "['version']"])
def test_help_loads_nothing_heavy(arguments):
    modules = loaded_by(f"from edgekit.cli import run\nrun({arguments})")

    assert not modules & set(HEAVY)


def test_passes_backends_and_frontends_load_no_framework_before_they_work():
    code = (
        "from edgekit import plugins\n"
        "for group in ('edgekit.frontends', 'edgekit.passes', 'edgekit.backends', 'edgekit.devices'):\n"
        "    for name in plugins.names(group): plugins.load(group, name)\n"
    )

    assert not loaded_by(code) & {"onnx", "onnx_ir", "onnxruntime", "torch", "tensorflow", "keras", "PIL", "ai_edge_litert", "flatbuffers"}


def test_behind_edgekit_onnx_runtime_keeps_no_id_of_the_machine_and_sends_nothing_home(tmp_path):
    names = ("CI", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    home = tmp_path / "home"
    home.mkdir()

    subprocess.run([sys.executable, "-c", "import edgekit, onnxruntime"], env={**environment, "HOME": str(home)}, check=True)

    assert list(home.rglob("*")) == []


def test_importing_edgekit_loads_nothing():
    assert not loaded_by("import edgekit") & {*HEAVY, "typer"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_takes_json(edgekit, verb):
    said = edgekit(verb, "--help")

    assert said.status == 0
    subcommands = [line.split()[0] for line in said.out.partition("Commands:")[2].splitlines() if line.strip()]
    for text in [edgekit(verb, command, "--help").out for command in subcommands] or [said.out]:
        assert "--json" in text


def test_the_readme_lists_every_verb_and_nothing_else():
    table = README.read_text(encoding="utf-8").partition("## Verbs")[2].partition("##")[0]

    assert tuple(re.findall(r"^\| `([a-z]+)`", table, re.MULTILINE)) == VERBS


def test_the_readme_lists_every_recipe(edgekit):
    table = README.read_text(encoding="utf-8").partition("## Recipes")[2].partition("##")[0]

    assert set(re.findall(r"^\| `([a-z0-9_]+)`", table, re.MULTILINE)) == {recipe["name"] for recipe in edgekit("recipes", "list", "--json").data}


def test_the_readme_says_the_exit_statuses_as_the_help_does(edgekit):
    text = " ".join(README.read_text(encoding="utf-8").split())

    for word in ("0 kept", "1 error", "2 usage", "3 budget broken", "4 device", "5 not valid", "6 not supported", "130 interrupted"):
        assert word in text
        assert word in " ".join(edgekit("--help").out.split())


@pytest.mark.parametrize("what", ["recipe", "target", "samples", "project", "boxes", "manifest", "report"])
def test_published_schemas_are_json_schemas(edgekit, what):
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(edgekit("schema", what).data)


def test_the_recipe_schema_takes_the_built_in_recipes_and_refuses_unknown_options(edgekit):
    import tomllib

    import jsonschema

    schema = edgekit("schema", "recipe").data
    for recipe in ("float", "fp16", "bf16", "static_wi8_ai16", "static_wi8_ai8"):
        content = tomllib.loads(edgekit("recipes", "show", recipe).out)
        jsonschema.validate(content, schema)
    content["step"][0]["weight_bit"] = 8
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


def test_targets_are_listed_shown_and_checked(edgekit, tmp_path):
    names = {target["name"] for target in edgekit("targets", "list", "--json").data}
    shown = edgekit("targets", "show", "rpi5:onnxruntime")

    assert {"raspberry-pi-5", "x86-64-vnni", "jetson-orin-nano-jp62", "android-arm64"} <= names
    assert "rpi5:onnxruntime is raspberry-pi-5, runtime onnxruntime" in shown.out
    (tmp_path / "mine.toml").write_text('schema = 1\nname = "other"\narch = "aarch64"\n[[runtimes]]\nname = "tflit"\n[sources]\n')
    checked = edgekit("targets", "check", tmp_path / "mine.toml")
    assert checked.status == 2
    assert "did you mean tflite?" in checked.out
    assert "arch: no source" in checked.out


def test_an_own_target_file_can_be_built_for(edgekit, net, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    facts = 'schema = 1\nname = "my-board"\narch = "aarch64"\naliases = ["board"]\n'
    text = facts + '[[runtimes]]\nname = "tflite"\ndtypes = ["float32"]\n[sources]\narch = "me"\n'
    (tmp_path / "own" / "my-board.toml").write_text(text)
    monkeypatch.setenv("EDGEKIT_TARGETS", str(tmp_path / "own"))

    said = edgekit("build", net, "-t", "board", "--recipe", "float", "--no-bench", "--json")

    assert said.status == 0, said.err
    assert said.data["engines"][0]["target"] == "my-board"


def test_doctor_says_what_is_missing_and_bundles_no_weights(edgekit, net, pictures, tmp_path):
    import zipfile

    edgekit("build", net, "-t", "x86", "--samples", pictures, "--no-bench")
    said = edgekit("doctor", "--json", "--bundle", tmp_path / "report.zip")

    assert said.status == 0
    assert {package["name"] for package in said.data["packages"] if not package["extra"]} >= {"numpy", "onnx", "onnxruntime"}
    held = zipfile.ZipFile(tmp_path / "report.zip").namelist()
    assert {"doctor.json", "packages.json", "report.json"} <= set(held)
    assert not [name for name in held if name.endswith((".onnx", ".tflite", ".npz"))]


def test_inspect_counts_what_can_be_counted_by_hand(edgekit, net):
    said = edgekit("inspect", net, "--json")

    # conv: 8 filters of 3 x 3 x 3, 8 x 8 outputs; dense: 8 x 4
    assert said.data["parameters"] == 8 * 27 + 8 + 8 * 4 + 4
    assert said.data["macs"] == 8 * 27 * 64 + 8 * 4
    assert said.data["ops"]["Conv"] == 1
    assert said.data["inputs"][0]["shape"] == [1, 3, 16, 16]
    assert "classifier" in edgekit("inspect", net).out


@pytest.mark.parametrize("written", ["2,3,16,16", "2x3x16x16"])
def test_shapes_are_taken_as_lists_and_as_reports_print_them(edgekit, net, written):
    import onnx

    proto = onnx.load(net)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(proto, net)
    said = edgekit("inspect", net, "--shape", written, "--json")
    assert said.data["inputs"][0]["shape"] == [2, 3, 16, 16]


def test_plan_says_the_route_and_makes_nothing(edgekit, net, pictures):
    said = edgekit("plan", net, "-t", "rpi5,jetson", "--samples", pictures, "--json")

    assert said.status == 0, said.err
    steps = [(step["target"], step["step"]) for step in said.data["steps"]]
    assert steps[:3] == [("all", "ingest"), ("all", "simplify"), ("all", "fuse")]
    assert ("raspberry-pi-5-tflite", "quantize") in steps
    assert "rpi5 is raspberry-pi-5 (tflite)" in said.data["remarks"]
    assert not Path("edgekit-out").exists()
    assert not any(step["kept"] for step in said.data["steps"] if step["target"] != "all")
    edgekit("build", net, "-t", "rpi5,jetson", "--samples", pictures, "--no-bench")
    assert all(step["kept"] for step in edgekit("plan", net, "-t", "rpi5,jetson", "--samples", pictures, "--json").data["steps"])
    assert "no node was refused" in edgekit("plan", net, "-t", "rpi5", "--samples", pictures).out


def test_clean_empties_the_store(edgekit, net, own_store):
    edgekit("build", net, "-t", "x86", "--recipe", "float", "--no-bench")
    assert list(own_store.glob("steps/*/*"))

    said = edgekit("clean", "--json")

    assert said.data["removed"] >= 3
    assert not list(own_store.glob("steps/*/*"))
    assert edgekit("clean", "--older-than", "soon").status == 2


def test_the_version_is_that_of_the_installed_package(edgekit):
    from importlib.metadata import version

    assert json.loads(edgekit("version", "--json").out) == {"edgekit": version("edgekit")}


def test_the_shell_completes_targets_and_recipes(edgekit):
    def offered(words: str) -> set[str]:
        environment = {**os.environ, "_EDGEKIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        command = [str(Path(sys.executable).with_name("edgekit"))]
        return set(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split())

    assert offered("edgekit build net.onnx --target rasp") == {"raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero-2w"}
    assert offered("edgekit build net.onnx --target x86,jetson-orin-nano-jp6") == {"x86,jetson-orin-nano-jp62"}
    assert offered("edgekit build net.onnx --recipe st") == {"static_wi4_ai8", "static_wi8_ai16", "static_wi8_ai8"}


def test_a_narrow_terminal_gets_lines_that_break_no_number(edgekit, net, monkeypatch):
    import rich.console

    edgekit("build", net, "-t", "rpi5", "--recipe", "float", "--no-bench")
    monkeypatch.setattr("edgekit.cli.report.console", lambda: rich.console.Console(width=80))

    said = edgekit("report", "edgekit-out")

    assert "raspberry-pi-5 · tflite · float32" in said.out


def test_names_in_square_brackets_are_no_markup(capfd):
    from edgekit.cli.terminal import print_table

    print_table(("name",), [("pip install 'edgekit[keras]'",)])

    assert "edgekit[keras]" in capfd.readouterr().out
