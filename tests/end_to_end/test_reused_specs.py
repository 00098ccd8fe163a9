"""Artifacts of specs that extend others or have variables: whole in themselves, and the same again."""

import filecmp
import hashlib
import json
import shutil

import pytest

import deltac

BASE = """version: 1
vars: {rank: 8, labels: 3}
model:
  config_file: ../config.json
  class: AutoModelForSequenceClassification
  config: {num_labels: "${labels}"}
deltas:
  - operator: lora
    target: {module: [query, value]}
    rank: ${rank}
  - operator: bitfit
    target: {module: "**"}
"""
SPEC = """version: 1
name: extending
extends: shared/base.yaml
deltas:
  - {name: bitfit, remove: true}
  - {name: mine, operator: lora, target: {module: key}, rank: 2}
"""
CONFIG = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 100,
}


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "specs" / "shared").mkdir(parents=True)
    (tmp_path / "specs" / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "specs" / "shared" / "base.yaml").write_text(BASE)
    path = tmp_path / "specs" / "a.delta.yaml"
    path.write_text(SPEC)
    return path


def test_an_artifact_is_whole_without_its_spec(spec, tmp_path):
    deltac.compile(spec, variables={"rank": 4}).save(tmp_path / "one")
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert manifest["spec"]["file"] == "spec.resolved.delta.yaml"
    assert manifest["spec"]["made_from"]["file"] == "spec/a.delta.yaml"
    assert manifest["spec"]["made_from"]["variables"] == {"rank": 4, "labels": 3}
    assert (tmp_path / "one" / "spec" / "a.delta.yaml").read_text() == SPEC
    assert (tmp_path / "one" / "spec" / "shared" / "base.yaml").read_text() == BASE
    spans = {row["delta"]: row["span"] for row in manifest["tensors"] if row["set"] == "factor"}
    assert spans["lora"].startswith("shared/base.yaml:8:")
    assert spans["mine"].startswith("6:")
    shutil.rmtree(spec.parent)
    loaded = deltac.load(tmp_path / "one")
    assert loaded.parameters("factor")[
        "bert.encoder.layer.0.attention.self.query.lora_A"
    ].shape == (4, 32)
    loaded.save(tmp_path / "two")
    names = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file()]
    same, *rest = filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", names, shallow=False)
    assert (sorted(same), rest) == (sorted(names), [[], []])


def test_the_files_that_a_spec_was_made_from_are_checked(spec, tmp_path):
    deltac.compile(spec).save(tmp_path / "one")
    (tmp_path / "one" / "spec" / "shared" / "base.yaml").write_text("version: 1\n")
    with pytest.raises(deltac.DeltacError, match="DLT705"):
        deltac.load(tmp_path / "one")


def test_the_resolved_spec_makes_the_same_delta(spec, tmp_path):
    deltac.compile(spec).save(tmp_path / "one")
    shutil.copy(tmp_path / "one" / "spec.resolved.delta.yaml", spec.parent / "b.delta.yaml")
    deltac.compile(spec.parent / "b.delta.yaml").save(tmp_path / "two")
    delta = [(tmp_path / each / "delta.safetensors").read_bytes() for each in ("one", "two")]
    assert delta[0] == delta[1]


def test_one_file_without_variables_is_kept_as_it_is(spec, tmp_path):
    text = "version: 1\nname: plain\nmodel: {config_file: config.json, class: AutoModel}\n"
    text += "deltas: [{operator: lora, target: {module: query}}]  # a comment\n"
    spec.write_text(text)
    deltac.compile(spec).save(tmp_path / "one")
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert manifest["spec"] == {"file": "spec.delta.yaml", "sha256": digest, "seed": 0}
    assert not (tmp_path / "one" / "spec").exists()
