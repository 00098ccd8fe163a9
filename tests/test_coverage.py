"""What a plan says of the layers that its sites are in: how many, which not, and what runs more than once."""

import pytest
import tiny

import deltac
from deltac.planning.report import as_markdown, as_text, report

LORA = {"operator": "lora", "rank": 2}
#: Every sixth layer has another attention.
HYBRID = {
    "model_type": "qwen3_next", "hidden_size": 32, "intermediate_size": 48, "vocab_size": 67,
    "num_hidden_layers": 12, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 2,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": ["linear_attention" if i % 6 == 5 else "full_attention" for i in range(12)],
}  # fmt: skip
ALBERT = {
    "model_type": "albert",
    "hidden_size": 32,
    "embedding_size": 16,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 67,
}


def planned(config, *deltas, cls="AutoModelForCausalLM"):
    return deltac.plan(
        {"version": 1, "model": {"class": cls, "config": config}, "deltas": [*deltas]}
    )


def codes(plan):
    return [each.code for each in plan.warnings]


def test_layers_without_a_site_are_named():
    plan = planned(HYBRID, LORA | {"target": {"role": "attention.query"}})
    assert codes(plan) == ["DLT211"]
    message = "'role: attention.query' has sites in 10 of 12 layers of model.layers; missing 5, 11"
    assert plan.warnings[0].message == message
    data = report(plan)
    (told,) = data["deltas"]
    row = {
        "stack": "model.layers",
        "with_sites": 10,
        "of": 12,
        "missing": [5, 11],
        "sites": [{"layers": "0-4,6-10", "sites": 1}],
    }
    assert told["layers"] == [row]
    assert told["uneven"] == {"role: attention.query": [row]}
    lines = as_text(data).splitlines()
    where = "10 of 12 layers of model.layers; missing 5, 11"
    assert f"  role: attention.query  10 selected, in {where}" in lines
    assert "  model.layers: 10 of 12 layers, 1 site in each; missing 5, 11" in lines
    assert "| `model.layers` 10 of 12 layers; missing 5, 11 |" in as_markdown(data)


@pytest.mark.parametrize(
    ("target", "warned"),
    [
        ({"module": ["q_proj", "up_proj"]}, ["q_proj"]),
        ({"module": ["q_proj", "in_proj_qkvz"]}, []),  # together they are in all layers
        ({"module": ["q_proj", "k_proj"]}, ["q_proj", "k_proj"]),
        ({"module": "q_proj", "layers": "first 4"}, []),
        ({"module": "q_proj", "layers": "first 50%"}, ["q_proj"]),
        ({"module": "layers.3.self_attn.q_proj"}, []),
        ({"module": "re:.*layers\\.[0-3]\\..*q_proj"}, []),
        ({"module": "q_pro*", "stack": "decoder"}, ["q_pro*"]),
        ({"class": "Linear", "exclude": ["lm_head", "shared_expert_gate", "/model.layers.4"]}, []),
        ({"module": "q_proj", "exclude": "layers.4"}, ["q_proj"]),
    ],
)
def test_who_is_warned(target, warned):
    plan = planned(HYBRID, LORA | {"target": target})
    texts = [each.message.split("'")[1].split(": ")[1] for each in plan.warnings]
    assert (texts, set(codes(plan)) <= {"DLT211"}) == (warned, True)


def test_layers_with_more_and_with_fewer_sites():
    plan = planned(
        HYBRID,
        LORA | {"target": {"module": ["shared_expert.up_proj", "layers.2.self_attn.q_proj"]}},
    )
    assert codes(plan) == []
    text = as_text(report(plan))
    assert "12 of 12 layers, 1 site in each of 0-1,3-11, 2 sites in 2\n" in text


def test_what_runs_more_than_once_is_told():
    deltas = [
        LORA | {"target": {"role": "attention.query"}},
        {"operator": "tune", "target": {"role": "norm.after-mlp"}},
    ]
    plan = planned(ALBERT, *deltas, cls="AutoModel")
    assert codes(plan) == ["DLT206"]  # the base itself shares what is tuned in place
    low, tuned = report(plan)["deltas"]
    layer = "encoder.albert_layer_groups.0.albert_layers.0"
    assert low["runs_again"] == {3: [f"{layer}.attention.query"]}
    assert tuned["runs_again"] == {3: [f"{layer}.full_layer_layer_norm"]}
    text = as_text(report(plan))
    assert f"  runs 3 times in a forward pass: {layer}.attention.query\n" in text


def test_what_a_plan_warns_of_is_no_secret_of_the_command_line():
    spec = {"version": 1, "model": {"class": "AutoModel", "config": ALBERT}}
    spec["deltas"] = [LORA | {"target": {"role": "attention.query"}}]
    with pytest.warns(deltac.DeltacWarning, match=r"<dict>:\d+:\d+: warning.DLT206. runs-several"):
        compiled = deltac.compile(spec)
    assert str(deltac.plan(spec)).startswith("unnamed: AlbertModel\n\nlora: lora, 1 site, ")
    assert repr(deltac.plan(spec)) == "Plan('unnamed', AlbertModel, delta=128, heads=0)"
    assert compiled.parameters("tuned") == {}
    tiny.refused(lambda: compiled.parameters("tunde"), "DLT835")


def test_how_the_base_is_quantized_is_told():
    config = {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 2}
    how = {"method": "bitsandbytes", "bits": 4}
    model = {"class": "AutoModelForCausalLM", "quantization": how}
    model["config"] = config | {"intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 32}
    plan = deltac.plan(
        {"version": 1, "model": model, "deltas": [LORA | {"target": {"role": "linear"}}]}
    )
    first = str(plan).splitlines()[0]
    assert first == "unnamed: LlamaForCausalLM, quantized to 4 bits (nf4) by bitsandbytes"
