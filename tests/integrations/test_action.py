"""The GitHub action: its shape, and its steps run in order as a runner runs them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
import yaml
from integrations_support import BETTER, FAR, ROOT, SPEC, WRONG, git, repository

ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = ACTION["runs"]["steps"]
SCRIPTS = [step for step in STEPS if "run" in step]


def test_its_shape():
    assert ACTION["name"] and ACTION["description"] and ACTION["runs"]["using"] == "composite"
    for name, text in ACTION["inputs"].items():
        assert re.fullmatch("[a-z-]+", name) and text["description"].endswith(".")
        assert isinstance(text["default"], str)
    for step in SCRIPTS:
        assert step["shell"] == "bash" and step["name"]
        assert "${{" not in step["run"], "a value reaches a script through its environment only"
    used = set(re.findall(r"inputs\.([a-z-]+)", json.dumps(STEPS)))
    assert used == set(ACTION["inputs"])


def run_steps(folder, work, *, pull_request="", runner=None, **inputs):
    """Runs the scripts in order in `folder`, until one fails.

    `runner` is the folder of a Python's programs; without one, pip only notes what it is asked for, and deltac is the
    one under test.
    """
    work.mkdir()
    inputs = {name.replace("_", "-"): value for name, value in inputs.items()}
    assert set(inputs) <= set(ACTION["inputs"])
    known = {f"inputs.{name}": text["default"] for name, text in ACTION["inputs"].items()}
    known |= {f"inputs.{name}": value for name, value in inputs.items()}
    known["github.event.pull_request.base.sha"] = pull_request
    known["steps.base.outputs.commit"] = ""
    binaries, python_path = runner or work / "bin", "" if runner else str(ROOT)
    if runner is None:
        binaries.mkdir()
        for name, script in {
            "python": f'echo "$@" > {work}/pip\n',
            "deltac": f'exec {sys.executable} -W error -m deltac "$@"\n',
        }.items():
            (binaries / name).write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
            (binaries / name).chmod(0o755)
    summary, output = work / "summary.md", work / "output"
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": python_path,
        "HF_HUB_OFFLINE": "1",
        "XDG_CACHE_HOME": str(work / "cache"),
        "GITHUB_ACTION_PATH": str(ROOT) if runner else "/actions/deltac",
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_OUTPUT": str(output),
        "RUNNER_TEMP": str(work),
    }

    def substitute(text):
        def value(match):
            return next(filter(None, (known[part] for part in match[1].split(" || "))), "")

        return re.sub(r"\$\{\{ (.+?) \}\}", value, text)

    summary.touch()
    log, last, code = "", "", 0
    for step in SCRIPTS:
        output.write_text("", encoding="utf-8")
        script = work / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            env=environment | {key: substitute(text) for key, text in step["env"].items()},
        )  # fmt: skip
        log += done.stdout + done.stderr
        for line in output.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            known[f"steps.{step['id']}.outputs.{key}"] = value
        last, code = step["name"], done.returncode
        if code:
            break
    return SimpleNamespace(
        code=code, last=last, log=log, summary=summary.read_text(encoding="utf-8"),
        installed="" if runner else (work / "pip").read_text(encoding="utf-8").strip(),
    )  # fmt: skip


def sarif_of(path):
    schema = ROOT / "tests" / "data" / "sarif-schema-2.1.0.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(found, json.loads(schema.read_text(encoding="utf-8")))
    return [each["ruleId"] for each in found["runs"][0]["results"]]


@pytest.fixture
def pull_request(tmp_path):
    """A repository as a runner has it: the change alone is fetched, the base is on the server."""
    server = repository(tmp_path / "server", a=SPEC, b=SPEC, old=SPEC)
    base = git(server, "rev-parse", "HEAD")
    git(server, "switch", "-q", "-c", "change")
    git(server, "rm", "-q", "old.delta.yaml")

    def clone(**specs):
        for name, text in specs.items():
            file = name if name.endswith(".yaml") else f"{name}.delta.yaml"
            (server / file).write_text(text, encoding="utf-8")
        git(server, "add", "-A")
        git(server, "commit", "-q", "-m", "change")
        here = tmp_path / "clone"
        git(tmp_path, "clone", "-q", "--depth=1", "-b", "change", server.as_uri(), str(here))
        return here, base

    return clone


def test_a_good_change(pull_request, tmp_path):
    folder, base = pull_request(a=BETTER, **{"a new one": SPEC.replace("name: tiny", "name: new")})
    ran = run_steps(
        folder, tmp_path / "work", pull_request=base, model="true", require_model="true",
        fail_on="CHECKPOINT",
    )  # fmt: skip
    assert ran.installed == "-m pip install --quiet /actions/deltac[model]"
    assert (ran.code, ran.last) == (1, "Find breaking changes"), ran.log
    assert "a.delta.yaml: ok (checked: schema and model)" in ran.log
    differences, _, breaking = ran.summary.partition(" break CHECKPOINT\n")
    assert "### `a new one.delta.yaml`: new\n" in differences
    assert "### `old.delta.yaml`: deleted " in differences
    assert "3 sites" in differences and "self.value" in differences
    assert "b.delta.yaml" not in differences
    assert "### `a.delta.yaml`: changed\n" in breaking
    assert sarif_of(folder / "deltac.sarif") == []


def test_a_fault(pull_request, tmp_path):
    folder, _ = pull_request(a=WRONG, far=FAR)
    ran = run_steps(
        folder, tmp_path / "work", base="main", paths="a.delta.yaml\nfar.delta.yaml\n",
        sarif_file="found.sarif",
    )  # fmt: skip
    assert ran.installed == "-m pip install --quiet /actions/deltac"
    assert (ran.code, ran.last) == (1, "Validate"), ran.log
    assert "::error file=a.delta.yaml,line=10," in ran.log
    assert "far.delta.yaml: ok (checked: schema; " in ran.log
    assert "### `a.delta.yaml`: faulty (CHECKPOINT), it can't be compared: DLT101" in ran.summary
    assert "### `far.delta.yaml`: new\n" in ran.summary and "b.delta.yaml" not in ran.summary
    assert "Not everything could be compared" in ran.summary
    assert sarif_of(folder / "found.sarif") == ["DLT101"]


def test_without_a_base_only_validation_is_left(tmp_path):
    folder = repository(tmp_path / "here", a=FAR)
    trap = "$(touch hit) `touch hit` ; touch hit"
    ran = run_steps(folder, tmp_path / "work", paths="a.delta.yaml", fail_on="META")
    assert (ran.code, ran.summary) == (0, "")
    ran = run_steps(folder, tmp_path / "again", paths=trap, sarif_file="$(touch hit).sarif")
    assert (ran.code, ran.last) == (2, "Validate")
    assert not Path(folder / "hit").exists()


def test_every_step_for_real(bare_python, pull_request, tmp_path):
    """The first step installs this checkout, and the others run what it brought: no torch, no stub."""
    folder, base = pull_request(a=SPEC.replace("alpha: 4", "alpha: 8"), far=FAR)
    ran = run_steps(
        folder, tmp_path / "work", pull_request=base, runner=bare_python, fail_on="META"
    )
    assert (ran.code, ran.last) == (1, "Find breaking changes"), ran.log
    assert "far.delta.yaml: ok (checked: schema; " in ran.log
    assert (bare_python / "deltac").is_file()
    assert "| delta lora | alpha | 4 | 8 |" in ran.summary
    assert "Compared as text only" in ran.summary
    assert sarif_of(folder / "deltac.sarif") == []


def test_a_base_that_changed_shows_at_the_spec_that_extends_it(pull_request, tmp_path):
    folder, _ = pull_request(child="version: 1\nextends: base.yaml\n", **{"base.yaml": FAR})
    (folder / "base.yaml").write_text(FAR.replace("alpha: 4", "alpha: 8"), encoding="utf-8")
    ran = run_steps(folder, tmp_path / "work", base="HEAD", paths="child.delta.yaml")
    assert ran.code == 0, ran.log
    assert "### `" in ran.summary and "→ `child.delta.yaml`" in ran.summary
    assert "| delta lora | alpha | 4 | 8 |" in ran.summary
