"""An operator of another package: nothing of deltac is edited, and everything sees it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import deltac

SOURCE = '''\
"""A multiplicative change of a weight, which no sum can replace."""

from dataclasses import dataclass
from typing import ClassVar

from deltac.operators import NewParameter, Operator, Paper, Zeros, option


@dataclass(frozen=True)
class Gain(Operator):
    """W' = (1 + s g) W with one gain g for each output."""

    strength: float = option(1.0, "The factor s of every gain.", above=0)

    name: ClassVar = "gain"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper("Gains", "Nobody", 2024, "https://example.org/gains")

    def parameters(self, site):
        """`g`: [out, 1], or one for each element of a vector."""
        return {"g": NewParameter((site.shape[0], *(1 for _ in site.shape[1:])), Zeros())}

    def weight(self, w, p):
        """(1 + s g) W."""
        return (1.0 + self.strength * p.g) * w
'''
ENTRY = {"gain": "gain_operator:Gain"}
PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "{version}"

[project.entry-points."deltac.operators"]
{entries}

[tool.hatch.build.targets.wheel]
include = ["*.py"]
"""
SPEC = """\
version: 1
name: gained
model:
  class: AutoModelForCausalLM
  config: {{model_type: llama, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, vocab_size: 67,
    num_attention_heads: 4, num_key_value_heads: 2}}
deltas:
  - operator: {operator}
    target: {{module: q_proj}}
{options}
"""


def install(folder, name, modules, entries, version="1.2"):
    """Builds a package of modules and installs it into a folder, without the network."""
    project = folder / f"{name}-source"
    project.mkdir(parents=True)
    lines = "\n".join(f'{key} = "{value}"' for key, value in entries.items())
    text = PROJECT.format(name=name, version=version, entries=lines)
    (project / "pyproject.toml").write_text(text)
    for module, source in modules.items():
        (project / f"{module}.py").write_text(source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--upgrade"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site")]
    subprocess.run([*command, str(project)], check=True, env=os.environ | {"PIP_NO_INPUT": "1"})
    shutil.rmtree(project)
    return folder / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the package `deltac-gain` in it."""
    folder = tmp_path_factory.mktemp("plugin")
    return install(folder, "deltac-gain", {"gain_operator": SOURCE}, ENTRY)


def python(site, script, *arguments, check=True):
    """Runs a script with the package on its path; gives what it prints, as JSON where it succeeds."""
    path = os.pathsep.join([str(site), str(Path(deltac.__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "error::UserWarning:deltac"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if check:
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)
    return run


_SEEN = """
import json, sys
import deltac
from deltac.operators import get, names
from deltac.testing import check_operator

spec, wrong, folder = sys.argv[1:]
assert "gain_operator" not in sys.modules
found = {"names": names(), "imported": "gain_operator" in sys.modules}
from deltac.operators import fragment
extra = lambda name: fragment(get(name).operator)
found["problems"] = [d.code for d in deltac.validate(spec, extra_fragment=extra)]
found["wrong"] = [d.code for d in deltac.validate(wrong, extra_fragment=extra)]
import torch
compiled = deltac.compile(spec)
tokens = torch.tensor([[3, 4, 5]])
with torch.no_grad():
    start = compiled.model(input_ids=tokens).logits
    with compiled.disabled():
        found["identity"] = torch.equal(start, compiled.model(input_ids=tokens).logits)
    for parameter in compiled.parameters().values():
        parameter.normal_()
    moved = compiled.model(input_ids=tokens).logits
    found["effect"] = not torch.allclose(start, moved)
    layer = compiled.model.model.layers[0].self_attn.q_proj
    x = torch.randn(3, 32)
    by_hand = x @ ((1 + 2.0 * layer.gain_g) * layer.weight).T
    found["math"] = torch.allclose(layer(x), by_hand, atol=1e-5)
    compiled.save(folder)
    loaded = deltac.load(folder)
    found["loaded"] = torch.equal(loaded.model(input_ids=tokens).logits, moved)
found["manifest"] = compiled.manifest["operators"]["gain"]
found["sha"] = get("gain").source_sha256
found["count"] = compiled.manifest["counts"]["factors"]
check_operator(get("gain").operator)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """The spec, and one whose option is out of bounds."""
    folder = tmp_path_factory.mktemp("specs")
    good, bad = folder / "good.delta.yaml", folder / "bad.delta.yaml"
    good.write_text(SPEC.format(operator="gain", options="    strength: 2"))
    bad.write_text(SPEC.format(operator="gain", options="    strength: 0\n    strenght: 1"))
    return good, bad


@pytest.fixture(scope="module")
def seen(site, specs, tmp_path_factory):
    """What a process with the package sees, and the artifact that it wrote."""
    folder = tmp_path_factory.mktemp("artifact") / "gained"
    return python(site, _SEEN, *specs, folder), folder


def test_it_is_listed_without_being_imported(seen):
    assert "gain" in seen[0]["names"]
    assert {"lora", "adapter", "bitfit", "tune"} <= set(seen[0]["names"])
    assert not seen[0]["imported"]


def test_its_options_are_validated(seen):
    assert seen[0]["problems"] == []
    assert len(seen[0]["wrong"]) == 2
    assert all(code.startswith("DLT1") for code in seen[0]["wrong"])


def test_it_compiles_trains_saves_and_loads(seen):
    found = seen[0]
    assert found["identity"]
    assert found["effect"]
    assert found["math"]
    assert found["loaded"]
    assert found["count"] == 2 * 32


def test_the_manifest_says_where_it_comes_from(seen, site):
    found = seen[0]
    assert found["manifest"]["package"] == "deltac-gain"
    assert found["manifest"]["version"] == "1.2"
    assert found["manifest"]["source_sha256"] == found["sha"]
    assert len(found["sha"]) == 64


def test_it_is_known_to_no_process_without_the_package(specs):
    assert [each.code for each in deltac.validate(specs[0])] == ["DLT107"]


def test_the_command_line_sees_it(site):
    script = "from deltac.cli.main import main; main()"
    run = python(site, script, "operators", "gain", check=False)
    assert run.returncode == 0, run.stderr
    assert "strength" in run.stdout
    assert "deltac-gain" in run.stdout


_LOAD = """
import json, sys, deltac
try:
    deltac.load(sys.argv[1])
except deltac.DeltacError as error:
    print(json.dumps([each.code for each in error.diagnostics]))
else:
    print("[]")
"""


def test_another_source_is_refused(seen, site, tmp_path):
    changed = SOURCE.replace("(1.0 + self.strength * p.g)", "(1.0 - self.strength * p.g)")
    other = install(tmp_path, "deltac-gain", {"gain_operator": changed}, ENTRY, "1.3")
    assert python(other, _LOAD, seen[1]) == ["DLT723"]
    assert python(site, _LOAD, seen[1]) == []


def test_a_missing_package_is_refused_with_its_name(seen, tmp_path):
    script = _LOAD.replace("[each.code for each in error.diagnostics]", "str(error)")
    text = python(tmp_path, script, seen[1])
    assert "gain" in text
    assert "DLT" in text


#: Name of a broken operator → the source of its module, and the code of the refusal.
BROKEN = {
    "import": ("raise RuntimeError('on import')\n", "DLT815"),
    "absent": ("Other = 1\n", "DLT815"),
    "noclass": ("class Gain:\n    name = 'noclass'\n", "DLT815"),
    "othername": (SOURCE, "DLT815"),
    "option": (SOURCE.replace("strength: float", "strength: dict"), "DLT815"),
    "weight": (SOURCE.replace("return (1.0", "raise ValueError\n        return (1.0"), "DLT815"),
    "parameters": (SOURCE.replace("return {", "raise ValueError\n        return {"), "DLT815"),
    "number": (SOURCE.replace("return (1.0 + self.strength * p.g) * w", "return 3.0"), "DLT815"),
    # A weight of another shape shows when the rewritten model runs on shapes.
    "shape": (SOURCE.replace("* p.g) * w", "* p.g.sum()) * w[:1]"), "DLT902"),
}
_COMPILE = """
import json, sys, deltac
found = {}
for spec in sys.argv[1:]:
    try:
        deltac.compile(spec)
    except deltac.DeltacError as error:
        found[spec] = sorted({each.code for each in error.diagnostics})
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """The codes of the refusal of each broken operator, by name; all are in one package."""
    folder = tmp_path_factory.mktemp("broken")
    sources, specs = {}, {}
    for name, (source, _) in BROKEN.items():
        own = source if name == "othername" else source.replace('"gain"', f'"{name}"')
        sources[f"broken_{name}"] = own
        specs[name] = folder / f"{name}.delta.yaml"
        specs[name].write_text(SPEC.format(operator=name, options=""))
    entries = {name: f"broken_{name}:Gain" for name in BROKEN}
    found = python(install(folder, "deltac-broken", sources, entries), _COMPILE, *specs.values())
    return {name: found.get(str(path)) for name, path in specs.items()}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_operator_has_a_code(name, refusals):
    assert refusals[name] == [BROKEN[name][1]]
