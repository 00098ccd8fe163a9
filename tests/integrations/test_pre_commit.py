"""The pre-commit hook, run as another repository would run it: installed from a commit, without torch."""

import os
import shutil
import subprocess
import sys

import pytest
from integrations_support import ROOT, SPEC, WRONG, git, repository

PACKAGE = [".pre-commit-hooks.yaml", "LICENSE", "README.md", "pyproject.toml", "deltac", "schemas"]


@pytest.fixture(scope="module")
def try_repo(tmp_path_factory):
    """Runs the hook of this checkout, committed into a scratch repository, on files of another one."""
    folder = tmp_path_factory.mktemp("pre-commit")
    source = folder / "deltac"
    source.mkdir()
    for name in PACKAGE:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    repository(source)
    user = repository(folder / "user", good=SPEC, wrong=WRONG)
    (user / "other.yaml").write_text("not: a spec\n", encoding="utf-8")
    git(user, "add", "other.yaml")

    def run(*files):
        command = [sys.executable, "-m", "pre_commit", "try-repo", str(source), "deltac-validate"]
        return subprocess.run(
            [*command, "--verbose", "--color", "never", "--files", *files],
            cwd=user, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            env={**os.environ, "PRE_COMMIT_HOME": str(folder / "home")},
        )  # fmt: skip

    return run


def test_a_good_spec_passes(try_repo):
    done = try_repo("good.delta.yaml", "other.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deltac validate" in done.stdout and "Passed" in done.stdout
    assert "good.delta.yaml: ok (checked: schema; " in done.stdout
    assert "other.yaml" not in done.stdout


def test_a_fault_fails_and_is_shown(try_repo):
    done = try_repo("good.delta.yaml", "wrong.delta.yaml")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Failed" in done.stdout and "exit code: 1" in done.stdout
    assert "error[DLT101] unknown-key: the operator `lora` has no key `rnak`" in done.stdout
    assert "--> wrong.delta.yaml:10:5" in done.stdout
