"""Files stay short: an operator 80 lines, any other file 300."""

from pathlib import Path

DELTAC = Path(__file__).parents[1] / "deltac"

#: Longer files: their own limit, and why they are not split.
LONGER = {
    "testing.py": (550, "the laws on operators, one public module that is read from top to bottom"),
}


def limit(path):
    name = path.relative_to(DELTAC).as_posix()
    if name in LONGER:
        return LONGER[name][0]
    is_operator = path.parent.name == "operators" and not path.name.startswith("_")
    return 80 if is_operator else 300


def test_files_are_short():
    lines = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in DELTAC.rglob("*.py")
    }
    assert len(lines) > 50
    long = {str(path): count for path, count in lines.items() if count > limit(path)}
    assert not long


def test_the_list_of_longer_files_is_needed():
    files = [DELTAC / name for name in LONGER if (DELTAC / name).is_file()]
    assert all(len(file.read_text(encoding="utf-8").splitlines()) > 300 for file in files)
