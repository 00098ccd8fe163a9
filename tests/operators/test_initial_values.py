"""What each operator draws its initial values from, and how many it trains, beside PEFT on a linear of 192 and 256.

A scale that is wrong at the start changes which learning rates work, and no comparison with copied values shows it.
"""

import warnings
from types import SimpleNamespace

import peer_layers as peer
import peft
import pytest
import torch
from torch import nn

import deltac
from deltac.operators import get
from deltac.operators._init import initial_value

OUT, IN = 256, 192
SITE = SimpleNamespace(
    shape=(OUT, IN), layout="linear", parameter="weight", parameters={}, path="linear.weight"
)
LORA = {"A": "lora_A", "B": "lora_B"}

#: Operator, options, PEFT's config, and PEFT's name for each of our tensors.
CASES = [
    ("lora", {}, peft.LoraConfig(), LORA),
    ("lora", {"init": "gaussian"}, peft.LoraConfig(init_lora_weights="gaussian"), LORA),
    ("lora", {"init": "orthogonal"}, peft.LoraConfig(init_lora_weights="orthogonal"), LORA),
    ("dora", {}, peft.LoraConfig(use_dora=True), {**LORA, "m": "lora_magnitude_vector"}),
    (
        "vera",
        {},
        peft.VeraConfig(),
        {n: f"vera_{n}" for n in "AB"} | {"d": "lambda_d", "b": "lambda_b"},
    ),
    (
        "adalora",
        {},
        peft.AdaLoraConfig(total_step=10),
        {"P": "lora_B", "Lambda": "lora_E", "Q": "lora_A"},
    ),
    ("ia3", {}, peft.IA3Config(feedforward_modules=[]), {"l": "ia3_l"}),
    (
        "loha",
        {},
        peft.LoHaConfig(),
        {"A1": "w1_b", "B1": "w1_a", "A2": "w2_b", "B2": "w2_a"},
    ),
    ("lokr", {"rank": 4}, peft.LoKrConfig(r=4), {"C": "w1", "B": "w2_a", "A": "w2_b"}),
    ("oft", {}, peft.OFTConfig(), {"Q": "oft_R.default.weight"}),
    ("boft", {"factors": 1, "block_size": 4}, peft.BOFTConfig(), {"Q": "boft_R", "s": "boft_s"}),
    ("hra", {}, peft.HRAConfig(), {"v": "hra_u"}),
    ("hira", {}, peft.HiraConfig(), {"A": "hira_A", "B": "hira_B"}),
    ("miss", {}, peft.MissConfig(), {"D": "miss_block"}),
    (
        "randlora",
        {},
        peft.RandLoraConfig(),
        {n: f"randlora_{n}" for n in "AB"}
        | {n: f"randlora_{n.lower()}" for n in ("Lambda", "gamma")},
    ),
    ("fourierft", {}, peft.FourierFTConfig(), {"c": "spectrum"}),
    ("c3a", {"block_size": 64}, peft.C3AConfig(block_size=64), {"kernels": "c3a_kernel"}),
    ("road", {}, peft.RoadConfig(), {"theta": "theta", "alpha": "alpha"}),
    (
        "delora",
        {},
        peft.DeloraConfig(),
        {"A": "delora_A", "B": "delora_B", "strength": "delora_lambda", "lengths": "w_norm"},
    ),
    ("gralora", {}, peft.GraloraConfig(), {"A": "gralora_A", "B": "gralora_B"}),
    (
        "vblora",
        {"length": 64},
        peft.VBLoRAConfig(vector_length=64),
        {"logits_A": "logits_A", "logits_B": "logits_B", "bank": "vector_bank"},
    ),
    (
        "shira",
        {"density": 8 * (OUT + IN) / (OUT * IN)},
        peft.ShiraConfig(r=8),
        {"values": "weight"},
    ),
]


def _ours(name, options, weight):
    operator, made = get(name).operator(**options), {}
    every = {**operator.shared([SITE]), **operator.parameters(SITE)}
    for own, new in every.items():
        given = weight if getattr(new.init, "needs_weight", False) else None
        value = initial_value(
            new.init, new.shape, seed=0, name=own, dtype=torch.float64, weight=given
        )
        made[own] = value, new.trainable
    return made


def _theirs(config, weight):
    base = nn.Sequential(nn.Linear(IN, OUT))
    base[0].weight.data.copy_(weight)
    config.target_modules = ["0"]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # PEFT's own, on what it lacks and on what others have deprecated
        layer = peft.get_peft_model(base, config).base_model.model
    tensors = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    return {name: value for name, value in tensors.items() if "base_layer" not in name}


@pytest.mark.parametrize(
    ("name", "options", "config", "names"), CASES, ids=lambda v: v if isinstance(v, str) else None
)
def test_initial_values_are_those_of_peft(name, options, config, names):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weight = torch.randn(OUT, IN) / IN**0.5
        theirs = _theirs(config, weight)
    ours = _ours(name, options, weight.double())
    for own, other in names.items():
        (found,) = [value for each, value in theirs.items() if other in each]
        value, found = ours[own][0], found.detach().double()
        if (found == found.flatten()[0]).all():
            torch.testing.assert_close(
                value, found.flatten()[0].expand(value.shape), rtol=1e-6, atol=0
            )
            continue
        mean, size = found.mean(), found.abs().max()
        assert abs(value.mean() - mean) < 0.15 * size, own
        # The largest of few hundred values of a normal varies more than their spread.
        assert 0.85 < value.std() / found.std() < 1.18, own
        assert 0.6 < value.abs().max() / size < 1.6, own
    if name != "boft":  # PEFT trains whole blocks, of which only the skew-symmetric part counts
        trained = sum(value.numel() for value, trainable in ours.values() if trainable)
        assert trained == sum(v.numel() for v in theirs.values() if v.requires_grad)


def test_a_mask_starts_in_the_interval_of_the_authors_code():
    """Zhao et al. (2020): uniform from −0.02 on, of which 5 % lie below the threshold of 0.01."""
    value = _ours("mask", {}, None)["M"][0] + 0.01
    assert -0.02 <= value.min() < -0.0199
    assert 0.5799 < value.max() <= 0.58
    assert abs((value < 0.01).double().mean() - 0.05) < 0.005


def test_a_lora_fa_starts_as_a_lora():
    for init in ("kaiming", "gaussian"):
        mine, other = (_ours(name, {"init": init}, None) for name in ("lora-fa", "lora"))
        assert torch.equal(mine["A"][0], other["A"][0]) and not mine["B"][0].any()
        assert not mine["A"][1] and other["A"][1]


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        *(("dora", {}, kind) for kind in ("linear", "conv1d")),
        *(("hra", {}, kind) for kind in ("linear", "conv1d", "embedding")),
        *(
            ("lora", {"init": init}, kind)
            for init in ("pissa", "olora", "orthogonal")
            for kind in ("linear", "conv1d", "embedding")
        ),
    ],
)
def test_what_starts_as_the_base_up_to_rounding(name, options, kind):
    """The laws allow two percent, for small initial values; here only the float32 of the delta's tensors rounds."""
    delta = {"operator": name, "target": {"module": "block.*"}, "rank": 4, **options}
    base = peer.base(kind)
    x = peer.inputs(kind)
    before = base.block[0](x)
    deltac.compile({"version": 1, "heads": [], "deltas": [delta]}, model=base)
    assert (base.block[0](x) - before).abs().max() <= 1e-6 * before.abs().max()
