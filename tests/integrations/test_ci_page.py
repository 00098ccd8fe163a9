"""docs/ci.md: what its snippets say is there, and what they run works."""

import os
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import yaml
from integrations_support import FAR, ROOT, WRONG, git, repository

PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def snippet(title, kind="yaml"):
    (found,) = re.findall(
        rf"^```{kind}\n(.*?)^```$", PAGE.split(f"## {title}\n")[1].split("\n## ")[0], re.M | re.S
    )
    return found


@pytest.fixture
def folder(tmp_path):
    """A repository with a spec in `specs`, committed."""
    (tmp_path / "here" / "specs").mkdir(parents=True)
    return repository(tmp_path / "here", **{"specs/far": FAR})


def run(folder, command, **variables):
    binaries = folder.parent / "bin"
    binaries.mkdir(exist_ok=True)
    (binaries / "deltac").write_text(f'#!/bin/sh\nexec {sys.executable} -m deltac "$@"\n')
    (binaries / "deltac").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "XDG_CACHE_HOME": str(folder.parent / "cache"),
        **variables,
    }
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_pre_commit_config_names_the_hook(tmp_path):
    config = tmp_path / ".pre-commit-config.yaml"
    config.write_text(snippet("pre-commit"), encoding="utf-8")
    hooks = ROOT / ".pre-commit-hooks.yaml"
    for kind, file in {"validate-config": config, "validate-manifest": hooks}.items():
        done = run(tmp_path, [sys.executable, "-m", "pre_commit", kind, str(file)])
        assert done.returncode == 0, done.stdout
    (repo,) = yaml.safe_load(snippet("pre-commit"))["repos"]
    assert [hook["id"] for hook in repo["hooks"]] == [
        hook["id"] for hook in yaml.safe_load(hooks.read_text(encoding="utf-8"))
    ]


def test_the_github_workflow_calls_the_action_as_it_is():
    steps = yaml.safe_load(snippet("GitHub"))["jobs"]["specs"]["steps"]
    (call,) = [step for step in steps if step["uses"].startswith("OWNER/deltac@")]
    assert set(call["with"]) <= set(ACTION["inputs"])
    assert all(isinstance(value, str) for value in call["with"].values())
    assert steps[-1]["with"]["sarif_file"] == ACTION["inputs"]["sarif-file"]["default"]
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| `?([^|`]+?)`? \|", PAGE, re.M))
    assert list(rows) == list(ACTION["inputs"])
    defaults = {name: text["default"] for name, text in ACTION["inputs"].items() if text["default"]}
    assert {name: rows[name] for name in defaults} == defaults


def test_the_gitlab_job(folder, bare_python):
    """Its script, line by line, from the installation on."""
    job = yaml.safe_load(snippet("GitLab"))["specs"]
    install, validate, breaking = job["script"]
    variables = {
        "PATH": f"{bare_python}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",
        "DELTAC": str(ROOT),
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": git(folder, "rev-parse", "HEAD"),
    }

    def line(text):
        return run(folder, ["bash", "-ec", text], **variables)

    done = line(install)
    assert done.returncode == 0, done.stdout + done.stderr
    assert line(validate).returncode == 0
    report = folder / job["artifacts"]["reports"]["junit"]
    assert len(ElementTree.parse(report).findall(".//testcase")) == 1
    changed = FAR.replace("alpha: 4", "alpha: 8")
    (folder / "specs" / "far.delta.yaml").write_text(changed, encoding="utf-8")
    done = line(breaking)
    assert done.returncode == 1 and "MATH" in done.stdout, done.stdout + done.stderr
    (folder / "specs" / "far.delta.yaml").write_text(WRONG, encoding="utf-8")
    assert line(validate).returncode == 1
    assert len(ElementTree.parse(report).findall(".//failure")) == 1


def test_the_make_target(folder):
    (folder / "Makefile").write_text(snippet("make", "makefile"), encoding="utf-8")
    make = [shutil.which("make"), "-s", "specs"]
    done = run(folder, make)
    assert "specs/far.delta.yaml: ok" in done.stdout
    # The model is out of reach, so that its lock can't be checked.
    assert done.returncode == 2 and "DLT805" in done.stderr, done.stderr
    (folder / "specs" / "far.delta.yaml").write_text(WRONG, encoding="utf-8")
    done = run(folder, make)
    assert done.returncode == 2 and "DLT101" in done.stderr and "DLT805" not in done.stderr
