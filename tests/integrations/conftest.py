"""A Python as CI finds it: with pip and nothing else."""

import subprocess
import sys

import pytest


@pytest.fixture
def bare_python(tmp_path):
    """The folder of the programs of a new virtual environment."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    return tmp_path / "venv" / "bin"
