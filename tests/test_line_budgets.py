"""Files stay short: an operator 80 lines, any other file 300."""

from pathlib import Path

DELTAC = Path(__file__).parents[1] / "deltac"


def limit(path):
    is_operator = path.parent.name == "operators" and not path.name.startswith("_")
    return 80 if is_operator else 300


def test_files_are_short():
    lines = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in DELTAC.rglob("*.py")
    }
    assert len(lines) > 50
    long = {str(path): count for path, count in lines.items() if count > limit(path)}
    assert not long
