"""Fixtures of the tests of reviews: scratch repositories, the command line in this process."""

from types import SimpleNamespace

import pytest
from review_support import SPEC, commit, git

from deltac.cli.main import main


@pytest.fixture
def deltac(capsys):
    """Runs the command line in this process: exit code, stdout, stderr."""

    def run(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(word) for word in words])
        return SimpleNamespace(code=exit_.value.code, **capsys.readouterr()._asdict())

    return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def repository(folder):
    """A git repository with the tiny spec, committed and tagged `v1`."""
    (folder / "a.delta.yaml").write_text(SPEC)
    git("init", "-q", "-b", "main")
    commit("first")
    git("tag", "v1")
    return folder
