"""Every example in a docstring of deltac gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import deltac

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(deltac.__path__, "deltac.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failures, _ = doctest.testmod(importlib.import_module(name))
    assert failures == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [
        test
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
        if test.examples
    ]
    assert len(found) >= 5
