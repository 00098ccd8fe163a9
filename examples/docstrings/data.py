"""Docstrings of the standard library, each with the family of modules that it comes from.

The sources are parsed, never imported. No module has texts on two sides of the split.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Only top-level names that Python 3.11 and later share, and that no distribution packs apart (as tkinter is).
FAMILIES = {
    "asyncio": "asyncio",
    "dates and numbers": "_pydatetime _pydecimal calendar datetime fractions numbers random statistics",
    "files": "_pyio bz2 filecmp fileinput glob gzip lzma pathlib shutil tarfile tempfile zipfile",
    "importing": "importlib modulefinder pkgutil runpy zipimport",
    "inspection": "ast bdb code cmd dis inspect pdb profile pstats pydoc tokenize trace traceback",
    "logging": "logging",
    "mail": "email imaplib mailbox poplib smtplib",
    "markup": "html plistlib xml",
    "processes": "concurrent multiprocessing subprocess",
    "testing": "doctest unittest",
    "types": "_collections_abc abc collections dataclasses enum functools types typing weakref",
    "web": "ftplib http ipaddress socketserver ssl urllib wsgiref xmlrpc",
}
CLASSES = tuple(FAMILIES)
PARTS = ("train", "dev", "test")
# Shares of each family's texts that dev and test may take at most.
SHARES = {"test": 0.3, "dev": 0.15}
LONGEST = 32

_NAMES = sorted({name for names in FAMILIES.values() for name in names.split()}, key=len)
_GIVEAWAY = re.compile(rf"\b({'|'.join(reversed(_NAMES))})\b\.?", re.IGNORECASE)


@dataclass(frozen=True)
class Text:
    """One docstring's first paragraph, the file it stands in, its family's index, and its side of the split."""

    text: str
    module: str
    label: int
    part: str


def read(lengths: Callable[[list[str]], list[int]]) -> list[Text]:
    """All texts of at most `LONGEST` tokens, in the order of families, files and lines.

    Args:
        lengths: the number of tokens of each text.
    """
    rows = []
    for label, family in enumerate(CLASSES):
        found = list(_family(family))
        parts = _split(Counter(module for module, _ in found))
        rows += [Text(text, module, label, parts[module]) for module, text in found]
    sizes = lengths([row.text for row in rows])
    short = [row for row, size in zip(rows, sizes, strict=True) if size <= LONGEST]
    return _without_duplicates(short)


def _family(family: str) -> Iterator[tuple[str, str]]:
    library = Path(sysconfig.get_paths()["stdlib"])
    for name in FAMILIES[family].split():
        files = [library / f"{name}.py", *sorted((library / name).rglob("*.py"))]
        for file in files:
            module = file.relative_to(library).as_posix()
            if file.is_file() and not re.search(r"(^|/)_?tests?/", module):
                yield from ((module, text) for text in _docstrings(file))


def _docstrings(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            paragraph = (ast.get_docstring(node) or "").split("\n\n")[0]
            text = " ".join(_GIVEAWAY.sub(" ", paragraph).split())
            if len(_words(text)) >= 3:
                yield text


def _split(sizes: Counter[str]) -> dict[str, str]:
    """The part of each module of a family: in the order of a hash, the first ones that fit into the shares."""
    order = sorted(sizes, key=lambda module: hashlib.sha256(module.encode()).digest())
    sides = dict.fromkeys(order, "train")
    for part, share in SHARES.items():
        room = share * sizes.total()
        for module in order:
            if sides[module] == "train" and sizes[module] <= room:
                sides[module] = part
                room -= sizes[module]
    return sides


def _without_duplicates(texts: list[Text]) -> list[Text]:
    """Drops texts of two families, repetitions, and held-out texts nearly equal to one of another part."""
    words = [frozenset(_words(row.text)) for row in texts]
    families = defaultdict(set)
    for row, key in zip(texts, words, strict=True):
        families[key].add(row.label)
    kept: list[int] = []
    seen: set[frozenset[str]] = set()
    for part in PARTS:
        earlier = defaultdict(list)
        for other in seen:
            for word in other:
                earlier[word].append(other)
        for index, (row, key) in enumerate(zip(texts, words, strict=True)):
            if row.part != part or key in seen or len(families[key]) > 1:
                continue
            # A near text lacks a quarter of the words at most, so it has one of any quarter and one more.
            some = sorted(key, key=len)[-(len(key) // 4 + 1) :]
            if not any(_near(key, other) for word in some for other in earlier[word]):
                seen.add(key)
                kept.append(index)
    return [texts[index] for index in sorted(kept)]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _near(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two texts share at least three quarters of all their words."""
    return len(one & other) >= 0.75 * len(one | other)
