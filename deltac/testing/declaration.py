"""The law on an operator's class itself."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

from deltac.operators import Operator, fragment
from deltac.sites import KINDS


def check_declaration(operator: type[Operator]) -> None:
    """The class says what it is: name, family, site, paper, bounded and documented options, in a short file."""
    name = getattr(operator, "name", operator.__name__)
    assert dataclasses.is_dataclass(operator) and operator.__dataclass_params__.frozen, (
        f"{name}: an operator is a frozen dataclass"
    )
    assert operator.family in ("addition", "specification", "reparameterization"), (
        f"{name}: the family '{operator.family}' is none of the three"
    )
    assert operator.site in KINDS, f"{name}: no kind of site is '{operator.site}'"
    paper = operator.paper
    assert paper.title and paper.authors, f"{name}: the paper lacks its title or its authors"
    assert 1950 < paper.year < 2100, f"{name}: the paper's year is {paper.year}"
    assert paper.url.startswith("https://"), f"{name}: the paper's address is '{paper.url}'"
    assert operator.summary(), f"{name}: the docstring is empty"
    lines = len(Path(inspect.getfile(operator)).read_text(encoding="utf-8").splitlines())
    assert lines <= 80, f"{name}: its file has {lines} lines, more than 80"
    for option, schema in fragment(operator)["properties"].items():
        assert schema["description"].endswith("."), f"{name}: '{option}' is not documented"
        types = [schema, *schema.get("anyOf", ())]
        for part in types:
            if part.get("type") in ("integer", "number"):
                low = {"minimum", "exclusiveMinimum"} & part.keys()
                assert low, f"{name}: '{option}' has no lower bound"
            if part.get("type") == "string":
                assert "pattern" in part, f"{name}: '{option}' takes any text"
