"""What the methods compute, against definitions written by others or by hand: PEFT, the papers, plain torch."""

import copy
import math

import peft
import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

import deltac
from deltac.rewrite.fused import kept_elements
from deltac.testing import LawsConfig, LawsModel

#: Relative to the largest value: sums of few products in float64 in another order.
TOLERANCE = 1e-10


def _model(base):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return tiny.randomize(LawsModel(LawsConfig(base=base)), 3).double().eval()


def _tokens():
    return torch.arange(20).reshape(4, 5) % 10


def _output(model):
    return model(input_ids=_tokens()).last_hidden_state


def _compiled(base, operator, **options):
    spec = {
        "version": 1,
        "heads": [],
        "deltas": [{"name": "d", "operator": operator, "target": {"module": "block.*"}, **options}],
    }
    compiled = tiny.perturb(deltac.compile(spec, model=_model(base)))
    compiled.model.double()
    return compiled


def _close(found, expected):
    assert found.dtype == expected.dtype
    scale = expected.abs().max().item()
    assert scale > 0
    assert (found - expected).abs().max().item() <= TOLERANCE * scale


# LoRA, against PEFT.


# PEFT asks transformers for a property that transformers has deprecated.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("scaling", ["standard", "rank-stabilized"])
@pytest.mark.parametrize("base", ["linear", "linear-without-bias", "conv1d", "embedding"])
def test_lora_is_that_of_peft(base, scaling):
    rank, alpha = 3, 5.0
    mine = _compiled(base, "lora", rank=rank, alpha=alpha, scaling=scaling)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        use_rslora=scaling != "standard",
        target_modules=r"block\.\d+",
        fan_in_fan_out=base == "conv1d",
    )
    theirs = peft.get_peft_model(_model(base), config).double()
    factors = {}
    for index in range(2):
        layer = theirs.base_model.model.block[index]
        a, b = (mine.model.get_parameter(f"block.{index}.d_{name}") for name in "AB")
        with torch.no_grad():
            if base == "embedding":
                # PEFT keeps the embedding's factors as [rank, rows] and [width, rank].
                own = layer.lora_embedding_B["default"], layer.lora_embedding_A["default"]
                own[0].copy_(a.T)
                own[1].copy_(b.T)
            else:
                own = layer.lora_A["default"].weight, layer.lora_B["default"].weight
                own[0].copy_(a)
                own[1].copy_(b)
        factors[index] = own
    found, expected = _output(mine.model), _output(theirs)
    _close(found, expected)
    with mine.disabled():
        assert (_output(mine.model) - expected).abs().max() > 0.01, "the delta has no effect"
    found.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    for index, own in factors.items():
        for name, other in zip("AB", own, strict=True):
            grad = mine.model.get_parameter(f"block.{index}.d_{name}").grad
            _close(grad, other.grad.T if base == "embedding" else other.grad)


def test_lora_starts_with_the_values_that_the_paper_and_peft_draw_from():
    # PEFT's A is kaiming_uniform(√5): uniform on ±1/√in; B is zero.
    compiled = deltac.compile(
        tiny.spec("bert", {"operator": "lora", "target": {"module": "self.query"}, "rank": 32}),
        model=tiny.base("bert"),
    )
    values = dict(compiled.model.named_parameters())
    a = torch.cat([p.flatten() for name, p in values.items() if name.endswith("lora_A")])
    b = torch.cat([p.flatten() for name, p in values.items() if name.endswith("lora_B")])
    bound = 1 / math.sqrt(32)
    assert a.abs().max() <= bound
    assert abs(a.std().item() - bound / math.sqrt(3)) < 0.05 * bound
    assert not b.any()


@pytest.mark.parametrize(
    ("options", "scale"),
    [
        ({}, 1.0),
        ({"alpha": 5.0}, 5.0 / 3),
        ({"alpha": 5.0, "scaling": "rank-stabilized"}, 5.0 / math.sqrt(3)),
    ],
)
def test_lora_scale_by_hand(options, scale):
    compiled = _compiled("linear", "lora", rank=3, **options)
    module = compiled.model.block[0]
    x = torch.randn(4, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a, b = module.d_A, module.d_B
    _close(module(x), F.linear(x, module.weight + scale * b @ a, module.bias))


@pytest.mark.parametrize("base", ["linear", "conv1d"])
def test_dropout_acts_on_the_input_of_the_delta_alone(base):
    compiled = _compiled(base, "lora", rank=3, alpha=6.0, dropout=0.5)
    module = compiled.model.block[0]
    x = torch.randn(4, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w = module.weight.T if isinstance(module, Conv1D) else module.weight
    plain = F.linear(x, w, module.bias)

    def expected(inputs):
        return plain + 2.0 * F.linear(F.linear(inputs, module.d_A), module.d_B)

    state = torch.get_rng_state()
    _close(module(x), expected(x))
    assert torch.equal(torch.get_rng_state(), state), "evaluation draws random numbers"
    module.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        found = module(x)
        torch.manual_seed(4)
        masked = x * kept_elements(x, 0.5) / 0.5
        assert (masked == 0).any()
        _close(found, expected(masked))
        again = module(x)
    assert not torch.equal(found, again), "each call draws its own mask"


def test_dropout_changes_nothing_of_the_base_where_the_delta_is_zero():
    spec = tiny.spec(
        "llama",
        {"operator": "lora", "target": {"module": "q_proj"}, "rank": 4, "dropout": 0.5},
    )
    base = tiny.base("llama").train()
    before = tiny.logits(base)
    assert torch.equal(tiny.logits(deltac.compile(spec, model=base).model), before)


# The adapter, against the formula of Houlsby et al. (2019), section 2.1.

_SIGMA = {
    "relu": lambda h: h.clamp(min=0),
    "gelu": lambda h: h * 0.5 * (1 + torch.erf(h / math.sqrt(2))),
    "silu": lambda h: h / (1 + torch.exp(-h)),
    "tanh": torch.tanh,
}


class _Houlsby(nn.Module):
    """A base module followed by h + W_u σ(W_d h + b_d) + b_u."""

    def __init__(self, base, adapter, sigma):
        super().__init__()
        self.base, self.sigma = base, sigma
        self.down = nn.Parameter(adapter["down"].detach().clone())
        self.down_bias = nn.Parameter(adapter["down_bias"].detach().clone())
        self.up = nn.Parameter(adapter["up"].detach().clone())
        self.up_bias = nn.Parameter(adapter["up_bias"].detach().clone())

    def forward(self, x):
        out = self.base(x)
        h = out[0] if isinstance(out, tuple) else out
        h = h + self.sigma(h @ self.down.T + self.down_bias) @ self.up.T + self.up_bias
        return (h, *out[1:]) if isinstance(out, tuple) else h


@pytest.mark.parametrize("activation", _SIGMA)
@pytest.mark.parametrize("base", ["linear", "tuple", "layer-norm"])
def test_adapter_is_that_of_the_paper(base, activation):
    mine = _compiled(base, "adapter", bottleneck=5, activation=activation)
    reference = _model(base).requires_grad_(False)
    names = ("down", "down_bias", "up", "up_bias")
    for index in range(2):
        values = {n: mine.model.get_parameter(f"block.{index}.d_{n}") for n in names}
        reference.block[index] = _Houlsby(reference.block[index], values, _SIGMA[activation])
    found, expected = _output(mine.model), _output(reference)
    _close(found, expected)
    found.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    for index in range(2):
        for name in names:
            grad = mine.model.get_parameter(f"block.{index}.d_{name}").grad
            _close(grad, getattr(reference.block[index], name).grad)


def test_adapter_bottleneck_as_a_share_of_the_width():
    compiled = _compiled("linear", "adapter", bottleneck="d/4")
    assert compiled.model.block[0].d_down.shape == (3, 12)
    assert compiled.model.block[0].d_up.shape == (12, 3)


def test_houlsby_initial_values_are_cut_at_two_standard_deviations():
    spec = tiny.spec(
        "bert", {"operator": "adapter", "target": {"module": "attention.output.dense"}}
    )
    compiled = deltac.compile(spec, model=tiny.base("bert"))
    for name, parameter in compiled.parameters("added").items():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            assert parameter.abs().max() <= 0.02
            # The standard deviation of a normal cut at ±2σ is 0.88 σ.
            assert abs(parameter.std().item() - 0.0088) < 0.0006


# BitFit and tune, against a model that was frozen by hand.


def _step(model, parameters):
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(**tiny.inputs(model, labels=True)).loss.backward()
        optimizer.step()


def _is_bert_bias(name):
    return name.startswith("bert.encoder") and name.endswith("bias")


def _is_last_layer(name):
    return name.startswith("bert.encoder.layer.1.")


@pytest.mark.parametrize(
    ("delta", "chosen"),
    [
        ({"operator": "bitfit", "target": {"module": "encoder"}}, _is_bert_bias),
        ({"operator": "tune", "target": {"module": "layer.*", "layers": -1}}, _is_last_layer),
        ({"operator": "tune", "target": {"parameter": "layer.1.**"}}, _is_last_layer),
    ],
    ids=["bitfit", "tune-modules", "tune-parameters"],
)
def test_tuning_is_that_of_a_hand_frozen_model(delta, chosen):
    reference = tiny.base("bert")
    mine = deltac.compile(tiny.spec("bert", delta), model=copy.deepcopy(reference))
    for name, parameter in reference.named_parameters():
        parameter.requires_grad_(chosen(name) or name.startswith("classifier"))
    trained = [p for p in reference.parameters() if p.requires_grad]
    assert sum(map(torch.Tensor.numel, trained)) == sum(
        p.numel() for p in mine.parameters().values()
    )
    before = tiny.state(reference)
    _step(reference, trained)
    _step(mine.model, list(mine.parameters().values()))
    assert tiny.same_bits(tiny.state(mine.model), tiny.state(reference))
    changed = {n for n, t in tiny.state(reference).items() if not torch.equal(t, before[n])}
    assert any(map(chosen, changed))
    assert all(chosen(name) or name.startswith("classifier") for name in changed)


def test_added_biases_are_biases():
    delta = {"operator": "bitfit", "add": True, "target": {"module": ["q_proj", "down_proj"]}}
    base = tiny.base("llama")
    before = tiny.logits(base)
    compiled = deltac.compile(tiny.spec("llama", delta), model=base)
    assert torch.equal(tiny.logits(compiled.model), before)
    tiny.perturb(compiled)
    reference = tiny.base("llama")
    for name, value in compiled.parameters("added").items():
        path = name.removesuffix(".bitfit_bias")
        assert path != name
        reference.get_submodule(path).bias = nn.Parameter(value.detach().clone())
    assert not torch.equal(tiny.logits(compiled.model), before)
    # One sum in float32, as x W + b or as (x W) + b.
    assert torch.allclose(tiny.logits(compiled.model), tiny.logits(reference), rtol=1e-5, atol=1e-5)
