"""The pages in docs/ say what the program does: their examples run, their tables list what there is."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import deltac
from deltac.spec import language, load_schema

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(name, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)


def section(name, title):
    """The text below a heading, up to the next heading of any depth."""
    return re.split(
        r"^#+ ", page(name).split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE
    )[0]


def first_column(text):
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_fresh():
    generated = load(DOCS / "generate.py").generated()
    assert {"operators.md", "errors.md"} <= set(generated)
    for name, text in generated.items():
        assert text == page(name), f"{name}: run: python docs/generate.py --write"


EXAMPLES = blocks("language.md", "yaml")


@pytest.mark.parametrize("example", EXAMPLES, ids=[text.splitlines()[0] for text in EXAMPLES])
def test_examples_of_the_language(example):
    """A whole spec is checked, and planned where it names a model; a part is put where it belongs and checked."""
    data = yaml.safe_load(example)
    keys = set(data)
    if "version" in keys:
        assert deltac.validate(example) == []
        assert "model" not in keys or deltac.plan(example).counts.delta > 0
        return
    delta = {"operator": "lora", "target": {"module": "query"}}
    if keys <= set(language.SPEC["properties"]):
        spec = {"version": 1, "deltas": [delta], **data}
    else:
        spec = {"version": 1, "deltas": [{**delta, **data}]}
    assert deltac.validate(spec) == []


@pytest.mark.parametrize(
    ("title", "definition"),
    [
        ("Top level", None),
        ("`model`", "model"),
        ("`model.quantization`", "quantization"),
        ("`deltas`", "delta"),
        ("`target`", "target"),
        ("`budget`", "budget"),
    ],
)
def test_every_key_of_the_language_is_listed(title, definition):
    schema = load_schema()
    part = {
        None: schema,
        "model": schema["properties"]["model"],
        "quantization": schema["properties"]["model"]["properties"]["quantization"],
        "delta": schema["definitions"]["delta"],
        "target": schema["definitions"]["target"],
        "budget": schema["properties"]["budget"],
    }[definition]
    assert sorted(first_column(section("language.md", title))) == sorted(part["properties"])


def test_the_blocks_of_the_python_page_run(tmp_path):
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    given = """
import torch
from transformers import TrainingArguments
arguments = TrainingArguments("run", max_steps=1)
dataset = [{"input_ids": [101, 2000, 102], "attention_mask": [1, 1, 1], "labels": 1}] * 8
inputs = {"input_ids": torch.tensor([[101, 2000, 102]])}
"""
    script = given + "\n".join(blocks("python.md", "python"))
    script += "\nassert again.checked == ('structure', 'weights'), again.checked\n"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_on_the_python_page():
    listed = re.findall(r"^\| `deltac\.(\w+)", page("python.md"), re.MULTILINE)
    assert sorted(listed) == sorted(deltac.__all__)


def test_every_stage_is_on_the_architecture_page():
    root = Path(deltac.__file__).parent
    listed = set(re.findall(r"`deltac/(\w+)/`", page("architecture.md")))
    stages = {path.parent.name for path in root.glob("*/__init__.py")}
    assert listed == stages


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact") / "quickstart"
    deltac.compile(ROOT / "specs" / "quickstart.delta.yaml").save(folder)
    return folder


def test_every_field_of_the_manifest_is_on_the_artifact_page(artifact):
    manifest = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(first_column(section("artifact.md", "manifest.json"))) == sorted(manifest)
    assert sorted(first_column(section("artifact.md", "counts"))) == sorted(manifest["counts"])
    base = re.findall(r"`(\w+)`", section("artifact.md", "base"))
    assert set(manifest["base"]) <= set(base)


def test_every_file_of_an_artifact_is_on_the_artifact_page(artifact):
    written = {
        path.relative_to(artifact).as_posix() for path in artifact.rglob("*") if path.is_file()
    }
    listed = {
        re.sub(r"NN_Class", "01_Linear", name)
        for name in first_column(section("artifact.md", "The artifact"))
    }
    assert written == listed
