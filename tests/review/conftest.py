"""Fixtures of the tests of reviews: scratch repositories, the command line in this process."""

from types import SimpleNamespace

import pytest
from review_support import SPEC, change, commit, git

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


@pytest.fixture
def changed(repository):
    """A repository in which one spec changed, one moved, one is new, one is gone, one stayed."""
    for name in ("gone", "old", "same"):
        text = SPEC.replace("name: tiny", f"name: {name}")
        (repository / f"{name}.delta.yaml").write_text(text)
    commit("more")
    change(repository, "self.query}", "[self.query, self.key]}")
    change(repository, "alpha: 4", "alpha: 8")
    change(repository, "name: tiny", "name: tiny\ndescription: More.")
    (repository / "gone.delta.yaml").unlink()
    (repository / "sub").mkdir()
    (repository / "old.delta.yaml").rename(repository / "sub" / "moved.delta.yaml")
    (repository / "new.delta.yaml").write_text(SPEC.replace("name: tiny", "name: new"))
    return repository
