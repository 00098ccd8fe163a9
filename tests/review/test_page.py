"""What docs/review.md shows is what the verbs print."""

import re
import shutil
from pathlib import Path

from review_support import commit, git

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"^```text\n(.*?)^```$", (ROOT / "docs" / "review.md").read_text(), re.MULTILINE | re.DOTALL
)


def test_the_outputs_of_the_page_are_real(folder, deltac):
    lock, stale, diff, breaking = BLOCKS
    spec = folder / "quickstart.delta.yaml"
    shutil.copy(ROOT / "specs" / spec.name, spec)
    git("init", "-q", "-b", "main")
    deltac("lock", ".")
    commit("first")
    assert f"\n{lock}heads:" in (folder / "quickstart.delta.lock").read_text()
    text = spec.read_text()
    for old, new in (
        ("alpha: 16", "alpha: 32"),
        ("dropout: 0.05", "dropout: 0.1"),
        ("attention.value]", "attention.value, attention.output]"),
    ):
        assert old in text
        text = text.replace(old, new)
    spec.write_text(text)
    assert deltac("lock", "--check", ".").err.startswith(stale)
    assert deltac("diff", f"HEAD:{spec.name}", spec.name).out == diff
    assert deltac("breaking", "--against", "HEAD").out == breaking
