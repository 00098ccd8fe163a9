"""Plain Python data becomes YAML 1.2 text that reads back as the same data."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml

from deltac.diagnostics import DeltacError
from deltac.spec import scalars

_TAGS = {
    type(None): "tag:yaml.org,2002:null",
    bool: "tag:yaml.org,2002:bool",
    int: "tag:yaml.org,2002:int",
    float: "tag:yaml.org,2002:float",
    str: "tag:yaml.org,2002:str",
}


class _Dumper(yaml.SafeDumper):
    """Writes mappings, lists, tuples, text, paths, numbers, booleans and None; no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def resolve(self, kind: type, value: Any, implicit: Any) -> str:
        """The tag of a value written without quotes: text is quoted where its tag is not `str`."""
        if kind is not yaml.ScalarNode or not implicit[0]:
            return super().resolve(kind, value, implicit)
        return _TAGS[type(scalars.resolve(value))]


def _text(dumper: _Dumper, value: object) -> yaml.Node:
    text = str(value)
    # Only double quotes escape these breaks; elsewhere they read back as spaces.
    style = '"' if any(char in "\x85\u2028\u2029" for char in text) else None
    return dumper.represent_scalar(_TAGS[str], text, style)


_Dumper.add_representer(tuple, lambda dumper, value: dumper.represent_list(value))
_Dumper.add_representer(str, _text)
_Dumper.add_multi_representer(str, _text)
_Dumper.add_multi_representer(PurePath, _text)
for _kind in (set, bytes, datetime.date, datetime.datetime):
    # PyYAML writes these with tags, which no spec may have.
    _Dumper.add_representer(_kind, _Dumper.represent_undefined)


def dump(data: Mapping, name: str) -> str:
    """The YAML text of plain data.

    Raises:
        DeltacError: DLT018 for a value that YAML has no form for, or a mapping that holds itself.
    """
    try:
        return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**30)
    except yaml.representer.RepresenterError as error:
        found = error.args[-1]
        message = f"{name} holds a value of type `{type(found).__name__}`, expected plain data"
        notes = ["plain data is text, numbers, true, false, null, lists and mappings of these"]
        raise DeltacError.of("DLT018", message, notes=notes) from None
    except RecursionError:
        message = f"{name} is nested without end"
        raise DeltacError.of("DLT018", message) from None
