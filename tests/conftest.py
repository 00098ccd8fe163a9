"""What all tests share."""

import logging

import pytest

# Torch writes a record with a stack for each step of a trace as soon as its trace log has a handler, and pytest would
# give it some: that takes a third of the time of whatever traces or compiles.
logging.getLogger("torch.__trace").addHandler = lambda handler: None


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files instead of comparing"
    )


@pytest.fixture
def golden(request):
    """Compares a text with a golden file; with --update-golden, writes it."""

    def compare(path, text):
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path.name} is missing: run pytest --update-golden and read it"
        assert path.read_text(encoding="utf-8") == text

    return compare
