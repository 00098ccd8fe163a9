"""full, norm and mask against definitions in plain torch, and norm against PEFT's LayerNorm tuning."""

from types import SimpleNamespace

import peft
import pytest
import tiny
import torch
from by_definition import close, laws_model, output
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

import deltac
from deltac.operators import get
from deltac.operators._stored_mask import packed, unpacked


def _spec(operator, **options):
    delta = {"name": "d", "operator": operator, "target": {"module": "block.*"}, **options}
    return {"version": 1, "heads": [], "deltas": [delta]}


def _compiled(base, operator, **options):
    compiled = tiny.perturb(deltac.compile(_spec(operator, **options), model=laws_model(base)))
    compiled.model.double()
    return compiled


def _compare(mine, reference, pairs):
    """Outputs, and gradients of a sum of squares: mine by name, the reference's by tensor; both blocks."""
    found, expected = output(mine.model), output(reference)
    close(found, expected)
    with mine.disabled():
        assert (output(mine.model) - expected).abs().max() > 0.01, "the delta has no effect"
    found.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    for name, tensor in pairs.items():
        close(mine.model.get_parameter(name).grad, tensor.grad)


@pytest.mark.parametrize("base", ["linear", "embedding", "layer-norm"])
def test_full_is_a_weight_that_was_changed(base):
    mine, reference, pairs = _compiled(base, "full"), laws_model(base), {}
    for index in range(2):
        own = reference.block[index].weight
        with torch.no_grad():
            own.add_(mine.model.get_parameter(f"block.{index}.d_D"))
        pairs[f"block.{index}.d_D"] = own  # dD = dW', which is what fine-tuning gives to W
    _compare(mine, reference, pairs)


def test_full_sees_a_transposed_weight_as_out_by_in():
    spec = {"operator": "full", "target": {"module": "mlp.c_fc"}, "name": "d"}
    compiled = tiny.perturb(deltac.compile(tiny.spec("gpt2", spec), model=tiny.base("gpt2")))
    module = compiled.model.transformer.h[0].mlp.c_fc
    assert isinstance(module, Conv1D) and module.d_D.shape == module.weight.T.shape
    x = torch.randn(3, 32)
    torch.testing.assert_close(module(x), x @ (module.weight + module.d_D.T) + module.bias)


def test_a_weight_and_a_bias_of_one_module_change_apart():
    spec = _spec("full")
    spec["deltas"][0]["target"] = {"parameter": "block.*.*"}
    compiled = tiny.perturb(deltac.compile(spec, model=laws_model("linear")))
    compiled.model.double()
    module = compiled.model.block[0]
    assert module.d_D.shape == (module.out_features, module.in_features)
    assert module.d_bias_D.shape == (module.out_features,)
    x = torch.randn(3, module.in_features, dtype=torch.float64)
    close(module(x), F.linear(x, module.weight + module.d_D, module.bias + module.d_bias_D))


@pytest.mark.parametrize("option", [{"gate": True}, {"dropout": 0.1}])
def test_full_has_no_gate_or_dropout_on_a_vector(option):
    error = tiny.refused(
        lambda: deltac.compile(_spec("full", **option), model=laws_model("layer-norm")), "DLT301"
    )
    assert next(iter(option)) in str(error)


# PEFT asks transformers for a property that transformers has deprecated.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning")
@pytest.mark.parametrize("base", ["layer-norm", "rms-norm"])
def test_norm_is_the_layernorm_tuning_of_peft(base):
    mine = _compiled(base, "norm")
    config = peft.LNTuningConfig(target_modules=["0", "1"])
    theirs = peft.get_peft_model(laws_model(base), config).double()
    trained = {
        n.split("ln_tuning_layers.default.")[-1]
        for n, p in theirs.named_parameters()
        if p.requires_grad
    }
    assert {name.rpartition(".")[2] for name in mine.parameters()} == trained
    pairs = {}
    for index in range(2):
        layer = theirs.base_model.model.block[index].ln_tuning_layers["default"]
        for name in trained:
            own = getattr(layer, name)
            with torch.no_grad():
                own.copy_(mine.model.get_parameter(f"block.{index}.{name}"))
            pairs[f"block.{index}.{name}"] = own
    assert len(pairs) == len(mine.parameters())
    _compare(mine, theirs, pairs)


@pytest.mark.parametrize(
    ("parts", "ends"),
    [("both", {"weight", "bias"}), ("scale", {"weight"}), ("shift", {"bias"})],
)
def test_norm_trains_every_norm_below_the_target_and_nothing_else(parts, ends):
    spec = tiny.spec("bert", {"operator": "norm", "parts": parts, "target": {"module": "encoder"}})
    compiled = deltac.compile(spec, model=tiny.base("bert"))
    norms = [
        path
        for path, module in compiled.model.named_modules()
        if isinstance(module, nn.LayerNorm) and ".encoder." in path
    ]
    assert len(norms) == 4
    assert set(compiled.parameters("tuned")) == {f"{path}.{end}" for path in norms for end in ends}


def test_bitfit_trains_what_is_called_a_bias():
    model = nn.Sequential(nn.MultiheadAttention(8, 2), nn.LayerNorm(8), nn.Linear(8, 8))
    operator, chosen = get("bitfit").operator(), set()
    for path, parameter in model.named_parameters():
        own = path.rpartition(".")[2]
        if operator.tunes(SimpleNamespace(parameter=own, shape=tuple(parameter.shape))):
            chosen.add(path)
    assert chosen == {"0.in_proj_bias", "0.out_proj.bias", "1.bias", "2.bias"}


def test_norm_refuses_a_target_without_norms():
    spec = tiny.spec("bert", {"operator": "norm", "target": {"module": "self.query"}})
    tiny.refused(lambda: deltac.plan(spec), "DLT303")


class _StraightThrough(torch.autograd.Function):
    """1[m ≥ 0], whose gradient passes as if it were the identity (Zhao et al., 2020, section 3)."""

    @staticmethod
    def forward(ctx, m):
        return torch.where(m < 0, 0.0, 1.0).to(m.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class _Masked(nn.Module):
    def __init__(self, base, m):
        super().__init__()
        self.base, self.m = base, nn.Parameter(m.detach().clone())

    def forward(self, x):
        return F.linear(x, self.base.weight * _StraightThrough.apply(self.m), self.base.bias)


def test_mask_is_that_of_the_paper():
    mine, reference, pairs = _compiled("linear", "mask"), laws_model("linear"), {}
    for index in range(2):
        m = mine.model.get_parameter(f"block.{index}.d_M")
        assert 0 < (m < 0).sum() < m.numel()
        reference.block[index] = _Masked(reference.block[index], m)
        pairs[f"block.{index}.d_M"] = reference.block[index].m
    _compare(mine, reference, pairs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mask_keeps_or_drops_an_element_and_rounds_none(dtype):
    delta = {"operator": "mask", "target": {"module": "self.query"}, "name": "d"}
    compiled = tiny.compiled("bert", delta, dtype=dtype)
    module = compiled.model.bert.encoder.layer[0].attention.self.query
    kept = module.d_M >= 0
    assert kept.any() and not kept.all()
    x = torch.randn(3, 32).to(dtype)
    with torch.no_grad():
        expected = F.linear(x, torch.where(kept, module.weight, 0), module.bias)
        assert torch.equal(module(x), expected)


@pytest.mark.parametrize("sparsity", [0, 0.05, 0.5])
def test_mask_starts_with_the_sparsity_asked_for(sparsity):
    delta = {"operator": "mask", "target": {"module": "encoder.**.dense"}, "sparsity": sparsity}
    base = tiny.base("bert")
    before = tiny.logits(base)
    compiled = deltac.compile(tiny.spec("bert", delta), model=base)
    values = torch.cat([m.flatten() for m in compiled.parameters("factor").values()])
    found = (values < 0).double().mean().item()
    # Three standard deviations of the share of so many draws.
    assert abs(found - sparsity) <= 3 * (sparsity * (1 - sparsity) / values.numel()) ** 0.5
    assert torch.equal(tiny.logits(base), before) == (sparsity == 0)
    identity = compiled.manifest["deltas"][0]["identity_at_start"]
    assert identity == (["no"] if sparsity else ["exact"])


def test_mask_refuses_a_vector():
    tiny.refused(lambda: deltac.plan(_spec("mask"), model=laws_model("layer-norm")), "DLT301")


# A mask as it is saved for use.


def test_a_saved_mask_has_one_bit_for_each_element(tmp_path):
    delta = {"operator": "mask", "name": "d", "target": {"module": ["q_proj", "up_proj"]}}
    made = tiny.perturb(deltac.compile(tiny.spec("llama", delta), model=tiny.base("llama")))
    made.save(tmp_path / "bits")
    made.save(tmp_path / "whole", resumable=True)
    bits, whole = (load_file(tmp_path / name / "delta.safetensors") for name in ("bits", "whole"))
    for name, stored in bits.items():
        mask = (whole[name.replace("_bits", "_M")] >= 0).flatten().tolist()
        assert stored.dtype == torch.uint8
        assert len(stored) == -(-len(mask) // 8)
        # Written out: the first element is the lowest bit of the first byte.
        assert [bool(int(stored[i // 8]) >> (i % 8) & 1) for i in range(len(mask))] == mask
    loaded = deltac.load(tmp_path / "bits", model=tiny.base("llama"))
    assert torch.equal(tiny.logits(loaded.model), tiny.logits(made.model))
    assert not loaded.parameters()
    merged, expected = loaded.merge(), made.merge()
    assert tiny.same_bits(tiny.state(merged), tiny.state(expected))
    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("*/delta.safetensors"))]
    assert sizes[0] < sizes[1] / 15  # names and shapes take the rest


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 65])
def test_bits_of_any_number_of_elements(count):
    kept = torch.rand(count, generator=torch.Generator().manual_seed(count)) < 0.5
    found = unpacked(packed(kept), torch.zeros(count, dtype=torch.float64))
    assert torch.equal(found, kept.double())
