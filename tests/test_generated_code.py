"""The generated code of each kind of region, compared as a whole with golden files."""

from pathlib import Path

import pytest
import tiny

from deltac.artifact.code import code_files
from deltac.prepare import prepare
from deltac.rewrite.pipeline import rewrite
from deltac.testing import LawsConfig, LawsModel, registered

FOLDER = Path(__file__).parent / "golden" / "code"
LORA = {"name": "low", "operator": "lora", "rank": 2, "alpha": 4}
#: File name → base module of the laws' model, and the delta on it.
REGIONS = {
    "lora-linear": ("linear", LORA),
    "lora-linear-dropout": ("linear", LORA | {"dropout": 0.1}),
    "lora-linear-unscaled": ("linear-without-bias", {"name": "low", "operator": "lora", "rank": 2}),
    "lora-conv1d": ("conv1d", LORA),
    "lora-embedding": ("embedding", LORA),
    "adapter-tuple": ("tuple", {"name": "a", "operator": "adapter", "bottleneck": 2}),
    "adapter-linear": ("linear", {"name": "a", "operator": "adapter", "activation": "gelu"}),
    "bitfit-added": ("linear-without-bias", {"name": "b", "operator": "bitfit", "add": True}),
    "unfactored-linear": ("linear", {"name": "u", "operator": "unfactored"}),
    "unfactored-norm": ("layer-norm", {"name": "u", "operator": "unfactored"}),
}


@pytest.mark.parametrize("name", REGIONS)
def test_generated_code(name, golden):
    base, delta = REGIONS[name]
    if delta["operator"] == "unfactored":
        from unfactored_operator import Unfactored

        with registered(Unfactored):
            text = _code(base, delta)
    else:
        text = _code(base, delta)
    golden(FOLDER / f"{name}.py.txt", text)


def test_all_golden_files_are_used():
    assert {path.name.removesuffix(".py.txt") for path in FOLDER.glob("*")} == set(REGIONS)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_equal_modules_share_one_region(name):
    compiled = tiny.compiled(name)
    classes = {}
    for module in compiled.model.modules():
        if hasattr(type(module), "delta_region"):
            classes.setdefault(type(module).delta_region.source.text, set()).add(type(module))
    assert classes
    files = [key for key in compiled.files() if key.startswith("code/")]
    assert len(files) == sum(map(len, classes.values()))


def test_the_code_in_the_artifact_is_valid_python():
    for key, content in tiny.compiled("t5").files().items():
        if key.startswith("code/"):
            compile(content, key, "exec")


def _code(base, delta):
    """The code in the factored form: at the laws' sizes computing W' is the cheaper one."""
    target = {"module": "block.*"}
    spec = {"version": 1, "heads": [], "deltas": [delta | {"target": target}]}
    plan = prepare(spec, LawsModel(LawsConfig(base=base)).eval()).plan
    files = code_files(rewrite(plan, "factored"))
    assert len(files) == 1
    return next(iter(files.values())).decode()
