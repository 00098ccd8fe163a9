"""The operator that the architecture page shows is one."""

import importlib.util
import re
import sys
from pathlib import Path

from deltac.testing import check_operator

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_the_operator_of_the_page_obeys_the_laws(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    (source,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    file = tmp_path / "row_gain.py"
    file.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("row_gain", file)
    module = sys.modules["row_gain"] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        check_operator(module.RowGain)
    finally:
        del sys.modules["row_gain"]
