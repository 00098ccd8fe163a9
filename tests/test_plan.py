"""Plans: what is selected, where operators land, and the counts, against numbers made by hand."""

import re

import pytest
import tiny
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

import deltac
from deltac.model.fold import fold, unfold

LORA = {"operator": "lora", "rank": 2}
ADAPTER = {"operator": "adapter", "bottleneck": 4}


def _plan(name, deltas, **more):
    return deltac.plan(tiny.spec(name, deltas, **more))


def _sites(name, **target):
    return list(_plan(name, LORA | {"target": target}).matched["lora"].sites)


def _refused(name, deltas, *codes, **more):
    return tiny.refused(lambda: _plan(name, deltas, **more), *codes)


# Targets.


def test_by_module_in_the_order_of_the_model():
    assert _sites("bert", module=["self.value", "self.query"]) == [
        f"bert.encoder.layer.{layer}.attention.self.{name}.weight"
        for layer in (0, 1)
        for name in ("query", "value")
    ]


def test_a_pattern_matches_whole_trailing_segments():
    assert _sites("bert", module="output.dense", exclude="attention") == [
        f"bert.encoder.layer.{layer}.output.dense.weight" for layer in (0, 1)
    ]
    _refused("bert", LORA | {"target": {"module": "uery"}}, "DLT201")


def test_stars_anchors_and_regular_expressions():
    two = [f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1, 2)]
    assert _sites("llama", module="/model.layers.*.self_attn.q_proj") == two
    assert _sites("llama", module="/model.**.q_proj") == two
    assert _sites("llama", module=r"re:model\.layers\.[0-2]\.self_attn\.q_proj") == two
    assert _sites("llama", module=r"re:.*\.1\..*\.q_proj") == two[1:2]
    _refused("llama", LORA | {"target": {"module": r"re:layers\.0\.self_attn\.q_proj"}}, "DLT201")
    _refused("llama", LORA | {"target": {"module": "/layers.0.self_attn.q_proj"}}, "DLT201")


def test_by_class_and_by_parameter():
    by_class = _plan("bert", {"operator": "tune", "target": {"class": "LayerNorm"}})
    norms = 1 + 2 * 2
    assert by_class.counts.tuned == norms * 2 * 32
    delta = {"operator": "tune", "target": {"parameter": "LayerNorm.bias"}}
    assert _plan("bert", delta).counts.tuned == norms * 32
    assert _sites("bert", parameter="self.query.weight") == _sites("bert", module="self.query")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (0, [0]),
        (-1, [2]),
        ("1-2", [1, 2]),
        ("first 2", [0, 1]),
        ("last 34%", [1, 2]),
        ([0, 2], [0, 2]),
    ],
)
def test_layers(layers, expected):
    found = _sites("llama", module="q_proj", layers=layers)
    assert [int(re.search(r"\d+", site)[0]) for site in found] == expected


def test_layers_count_in_every_stack():
    found = _sites("t5", module="SelfAttention.q", layers=-1)
    assert found == [
        "encoder.block.1.layer.0.SelfAttention.q.weight",
        "decoder.block.1.layer.0.SelfAttention.q.weight",
    ]


def test_every_entry_must_match_and_the_error_says_what_the_others_matched():
    target = {"module": ["self.query", "self.valeu"]}
    error = _refused("bert", LORA | {"target": target}, "DLT201")
    (diagnostic,) = error.diagnostics
    assert "self.valeu" in diagnostic.message
    assert "self.value" in (diagnostic.fix or "")
    assert any("self.query" in note for note in diagnostic.notes)


def test_all_problems_come_at_once():
    deltas = [
        LORA | {"name": "a", "target": {"module": "qeury"}},
        LORA | {"name": "b", "target": {"module": "self.key", "expect": 3}},
        LORA | {"name": "c", "rank": 99, "target": {"module": "self.value"}},
    ]
    _refused("bert", deltas, "DLT201", "DLT204", "DLT301")


def test_expect():
    assert len(_sites("bert", module="self.query", expect=2)) == 2


def test_a_fused_model_has_no_query():
    error = _refused("gpt2", LORA | {"target": {"module": ["c_attn", "q"]}}, "DLT201")
    assert "'module: q'" in str(error)


def test_overrides():
    override = {"layers": -1, "rank": 5}
    planned = _plan("bert", LORA | {"target": {"module": "self.query"}, "overrides": [override]})
    assert [p.operator.rank for p in planned.placements] == [2, 5]
    assert planned.counts.factors == (2 + 5) * (32 + 32)


def test_overrides_may_not_overlap():
    overrides = [{"layers": "0-1", "rank": 3}, {"layers": 1, "rank": 5}]
    delta = LORA | {"target": {"module": "self.query"}, "overrides": overrides}
    _refused("bert", delta, "DLT402")


def test_the_same_operator_twice():
    deltas = [
        LORA | {"name": "a", "target": {"module": "self.query"}},
        LORA | {"name": "b", "target": {"module": ["self.query", "self.value"]}},
    ]
    _refused("bert", deltas, "DLT401")
    deltas[1]["overlap"] = True
    compiled = tiny.compiled("bert", deltas)
    base, x = tiny.base("bert"), torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    module = compiled.model.bert.encoder.layer[0].attention.self.query
    plain = base.bert.encoder.layer[0].attention.self.query
    both = module.a_B @ module.a_A + module.b_B @ module.b_A
    assert torch.allclose(module(x), plain(x) + x @ both.T, atol=1e-5)


def test_different_operators_compose_at_one_place():
    deltas = [
        ADAPTER | {"name": "a", "position": "output", "target": {"module": "self.query"}},
        LORA | {"name": "l", "target": {"module": "self.query"}},
    ]
    module = tiny.compiled("bert", deltas).model.bert.encoder.layer[0].attention.self.query
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    y = x @ (module.weight + module.l_B @ module.l_A).T + module.bias
    h = torch.relu(y @ module.a_down.T + module.a_down_bias)
    assert torch.allclose(module(x), y + h @ module.a_up.T + module.a_up_bias, atol=1e-5)


def test_tuned_parameters_form_a_union():
    deltas = [
        {"operator": "bitfit", "target": {"module": "encoder"}},
        {"operator": "tune", "target": {"class": "LayerNorm"}},
    ]
    planned = _plan("bert", deltas)
    biases = 2 * (4 * 32 + 48 + 32 + 2 * 32)
    norm_weights_and_embedding_norm = 5 * 32 + 32
    assert planned.counts.tuned == biases + norm_weights_and_embedding_norm


# Counts by hand.


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_lora_counts(rank):
    target = {"module": ["self.query", "self.value", "intermediate.dense", "word_embeddings"]}
    counts = _plan("bert", {"operator": "lora", "rank": rank, "target": target}).counts
    assert counts.factors == rank * (2 * (2 * (32 + 32) + (32 + 48)) + (67 + 32))
    assert counts.delta == counts.factors
    assert counts.bytes == 4 * counts.delta


def test_adapter_counts():
    target = {"module": ["attention.output.dense", "layer.*.output.dense"]}
    counts = _plan("bert", ADAPTER | {"bottleneck": 5, "target": target}).counts
    layers, d, m = 2, 32, 5
    assert counts.added == 2 * layers * (2 * d * m + d + m)


def test_bitfit_counts():
    """L (7 d + f), as Ben Zaken et al. (2022) and table 1 of Ding et al. (2023) have it for BERT's layers."""
    counts = _plan("bert", {"operator": "bitfit", "target": {"module": "encoder"}}).counts
    layers, d, f = 2, 32, 48
    # query, key, value, output: 4 d; the two linears: f + d; two norms: 2 d.
    assert counts.tuned == layers * (7 * d + f)


def test_base_heads_and_both_ratios():
    planned = _plan("bert", LORA | {"target": {"module": "self.query"}})
    model = tiny.base("bert")
    head = sum(p.numel() for p in model.classifier.parameters())
    total = sum(p.numel() for p in model.parameters())
    counts = planned.counts
    assert counts.heads == head == 3 * 32 + 3
    assert counts.base == total - head
    assert counts.of_base == counts.delta / counts.base
    assert counts.of_total == counts.delta / (counts.base + counts.delta)


def test_ratio_counts_tuned_parameters_as_no_addition():
    counts = _plan("bert", {"operator": "bitfit", "target": {"module": "encoder"}}).counts
    assert counts.of_total == counts.of_base == counts.delta / counts.base


def test_tied_weights_count_once():
    counts = _plan("gpt2", LORA | {"target": {"module": "c_attn"}}).counts
    assert counts.base == sum(p.numel() for p in tiny.base("gpt2").parameters())


@pytest.mark.parametrize(
    ("budget", "fits"),
    [
        ({"trainable": 256}, True),
        ({"trainable": 255}, False),
        ({"trainable": "1.3%"}, True),
        ({"trainable": "1.2%"}, False),
        ({"bytes": "1KiB"}, True),
        ({"bytes": "1KB"}, False),
    ],
    ids=str,
)
def test_budget(budget, fits):
    delta = LORA | {"target": {"module": "self.query"}}  # 2 · 2 · 64 = 256 of 20,640
    if fits:
        assert _plan("bert", delta, budget=budget).counts.delta == 256
    else:
        _refused("bert", delta, "DLT407", budget=budget)


# Heads.


def test_heads():
    delta = LORA | {"target": {"module": "self.query"}}
    names = ["classifier.weight", "classifier.bias"]
    for heads in ("auto", ["classifier"], ["/classifier.**"], names):
        assert [head.name for head in _plan("bert", delta, heads=heads).heads] == names
    more = _plan("bert", delta, heads=["classifier", "pooler"])
    assert len(more.heads) == 4
    _refused("bert", delta, "DLT405", heads=[])
    _refused("bert", delta, "DLT207", heads=["classifier", "clasifier"])
    assert not _plan("llama", LORA | {"target": {"module": "q_proj"}}, heads=[]).heads


def test_a_head_is_a_whole_segment():
    _refused("bert", LORA | {"target": {"module": "self.query"}}, "DLT207", heads=["fier"])


def test_a_delta_in_a_head_is_refused():
    _refused("bert", LORA | {"target": {"module": "classifier"}}, "DLT404")


# Hard models.


@pytest.mark.parametrize("module", ["lm_head", "wte"])
def test_tied_weights_are_refused(module):
    error = _refused("gpt2", LORA | {"target": {"module": module}}, "DLT406")
    assert "lm_head.weight" in str(error)


def test_a_shared_layer_is_reported():
    config = {"model_type": "albert", "hidden_size": 32, "embedding_size": 16, "vocab_size": 67}
    config |= {"num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": 3}
    config |= {"max_position_embeddings": 64}
    spec = {
        "version": 1,
        "model": {"class": "AutoModel", "config": config},
        "deltas": [LORA | {"target": {"module": "attention.query"}}],
    }
    planned = deltac.plan(spec)
    (warning,) = planned.warnings
    assert warning.code == "DLT206"
    assert "3 times" in warning.message
    assert planned.counts.factors == 2 * (32 + 32)
    compiled = deltac.compile(spec)
    before = compiled.model(torch.tensor([[5, 6]])).last_hidden_state
    tiny.perturb(compiled)
    after = compiled.model(torch.tensor([[5, 6]])).last_hidden_state
    assert not torch.allclose(before, after)


class OddConfig(transformers.PreTrainedConfig):
    """The config of `OddModel`."""

    model_type = "odd"


class OddModel(transformers.PreTrainedModel):
    """A model with everything that a delta could be lost in."""

    config_class = OddConfig
    main_input_name = "input_ids"

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(20, 8)
        self.root_weight = nn.Parameter(torch.randn(8, 8))
        self.used = nn.Linear(8, 8)
        self.dead = nn.Linear(8, 8)
        self.by_function = nn.Linear(8, 8)
        self.both_ways = nn.Linear(8, 8)
        self.alias = self.used
        self.moody = Moody(8, 8)
        self.optional = Optional(8, 8)
        self.post_init()

    def _init_weights(self, module):
        """Leaves every module as its constructor made it."""

    def forward(self, input_ids):
        x = self.used(self.embed(input_ids))
        x = nn.functional.linear(x, self.by_function.weight)
        x = self.both_ways(x) + nn.functional.linear(x, self.both_ways.weight)
        x = self.optional(self.moody(x))
        return BaseModelOutput(last_hidden_state=nn.functional.linear(x, self.root_weight))


class Moody(nn.Linear):
    """Does something else in training."""

    def forward(self, x):
        y = super().forward(x)
        return y * 2 if self.training else y


class Optional(nn.Linear):
    """Does something else where an argument is given."""

    def forward(self, x, scale=None):
        y = super().forward(x)
        return y if scale is None else y * scale


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ({"module": "dead"}, "DLT205"),
        ({"module": "by_function"}, "DLT306"),
        ({"module": "both_ways"}, "DLT306"),
        ({"module": "used"}, "DLT406"),
        ({"module": "alias"}, "DLT201"),
        ({"module": "moody"}, "DLT503"),
        ({"module": "optional"}, "DLT503"),
        ({"parameter": "root_weight"}, "DLT503"),
    ],
    ids=str,
)
def test_a_delta_that_could_be_lost_is_refused(target, code):
    model = OddModel(OddConfig())
    before = tiny.snapshot(model)
    spec = {"version": 1, "heads": [], "deltas": [LORA | {"target": target}]}
    tiny.refused(lambda: deltac.compile(spec, model=model), code)
    assert tiny.snapshot(model) == before


def test_a_root_parameter_can_be_tuned():
    spec = {
        "version": 1,
        "heads": [],
        "deltas": [{"operator": "tune", "target": {"parameter": "root_weight"}}],
    }
    compiled = deltac.compile(spec, model=OddModel(OddConfig()))
    assert list(compiled.parameters()) == ["root_weight"]


def test_an_optional_argument_of_a_real_model():
    config = {"model_type": "bart", "d_model": 32, "vocab_size": 67, "max_position_embeddings": 32}
    for side in ("encoder", "decoder"):
        config |= {f"{side}_layers": 1, f"{side}_attention_heads": 4, f"{side}_ffn_dim": 48}
    spec = {
        "version": 1,
        "model": {"class": "AutoModelForSeq2SeqLM", "config": config},
        "deltas": [LORA | {"target": {"module": "embed_positions"}}],
    }
    error = tiny.refused(lambda: deltac.plan(spec), "DLT503")
    assert "position_ids" in str(error)


def test_bitfit_passes_over_containers():
    delta = {"operator": "bitfit", "add": True, "target": {"module": "/model"}}
    planned = _plan("llama", delta)
    d, kv, f, layers = 32, 16, 48, 3
    assert planned.counts.added == layers * (2 * d + 2 * kv + 2 * f + d)


# Positions of an adapter.


def _adapter_sites(name, module, position):
    delta = ADAPTER | {"position": position, "target": {"module": module, "layers": 0}}
    return [p.site.path for p in _plan(name, delta).placements]


@pytest.mark.parametrize(
    ("name", "module", "position", "expected"),
    [
        ("bert", "layer.*.output.dense", "before-residual", "bert.encoder.layer.0.output.dense"),
        ("bert", "attention.output", "output", "bert.encoder.layer.0.attention.output"),
        ("llama", "mlp", "before-residual", "model.layers.0.mlp"),
        ("llama", "self_attn", "before-residual", "model.layers.0.self_attn"),
        ("llama", "mlp.down_proj", "before-residual", "model.layers.0.mlp.down_proj"),
        ("llama", "mlp", "after-residual", "model.layers.0"),
        ("gpt2", "mlp", "after-residual", "transformer.h.0"),
        (
            "bert",
            "attention.output.dense",
            "after-residual",
            "bert.encoder.layer.0.attention.output[dense]",
        ),
        ("llama", "self_attn", "after-residual", "model.layers.0[self_attn]"),
        ("gpt2", "mlp", "before-residual", "transformer.h.0.mlp"),
    ],
)
def test_adapter_positions(name, module, position, expected):
    assert _adapter_sites(name, module, position) == [expected]


@pytest.mark.parametrize(
    ("name", "module", "position", "code"),
    [
        ("bert", "attention.output", "before-residual", "DLT501"),
        ("bert", "attention.self.query", "before-residual", "DLT501"),
        ("llama", "mlp.gate_proj", "before-residual", "DLT501"),
        ("llama", "/model", "output", "DLT305"),
    ],
)
def test_adapter_positions_refused(name, module, position, code):
    target = {"module": module} | ({"layers": 0} if module[0] != "/" else {})
    _refused(name, ADAPTER | {"position": position, "target": target}, code)


def test_t5_adapter_positions():
    module = "layer.*.DenseReluDense"
    expected = [
        f"{stack}.block.0.layer.{at}.DenseReluDense"
        for stack, at in (("encoder", 1), ("decoder", 2))
    ]
    assert _adapter_sites("t5", module, "before-residual") == expected
    after = _adapter_sites("t5", module, "after-residual")
    assert after == [path.removesuffix(".DenseReluDense") for path in expected]


def test_an_adapter_after_the_residual_by_hand():
    delta = ADAPTER | {"position": "after-residual", "target": {"module": "mlp"}}
    compiled = tiny.compiled("llama", delta)
    layer, plain = compiled.model.model.layers[0], tiny.base("llama").model.layers[0]
    x = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(0))
    rotary = compiled.model.model.rotary_emb(x, torch.arange(4)[None])
    with torch.no_grad():
        y = plain(x, position_embeddings=rotary)
        h = torch.relu(y @ layer.adapter_down.T + layer.adapter_down_bias)
        expected = y + h @ layer.adapter_up.T + layer.adapter_up_bias
        assert torch.allclose(layer(x, position_embeddings=rotary), expected, atol=1e-5)


# A model that is given.


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "bfloat16"},
        {"attn_implementation": "eager"},
        {"class": "BertForMaskedLM"},
        {"config": {"hidden_act": "relu"}},
    ],
    ids=str,
)
def test_a_model_that_is_not_the_specs_is_refused(changes):
    spec = tiny.spec("bert", LORA | {"target": {"module": "self.query"}})
    config = spec["model"]["config"] | changes.get("config", {})
    spec["model"] |= changes | {"config": config}
    tiny.refused(lambda: deltac.plan(spec, model=tiny.base("bert")), "DLT507")


def test_a_nested_setting_is_compared_by_what_the_spec_says():
    spec = tiny.spec("llama", LORA | {"target": {"module": "q_proj"}})
    spec["model"]["config"]["rope_parameters"] = {"rope_theta": 10000.0}
    deltac.plan(spec)
    deltac.plan(spec, model=tiny.base("llama"))
    spec["model"]["config"]["rope_parameters"] = {"rope_theta": 5000.0}
    tiny.refused(lambda: deltac.plan(spec, model=tiny.base("llama")), "DLT507")


# Folding, which the manifest's names go through.

_segment = st.sampled_from(["h", "0", "1", "2", "10", "q", "07"])


@given(st.lists(st.lists(_segment, min_size=1, max_size=4).map(".".join), unique=True))
def test_folding_loses_nothing(paths):
    folded = fold(paths)
    assert sorted(path for each in folded for path in unfold(each)) == sorted(paths)
