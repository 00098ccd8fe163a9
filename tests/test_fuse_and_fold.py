"""What the passes `fuse` and `fold` put into generated code: the same results, less to keep, computed once."""

import pytest
import tiny
import torch
from torch.nn import functional as F

import deltac
from deltac.prepare import prepare
from deltac.rewrite.apply import apply
from deltac.rewrite.fused import add_product, dropped_linear, kept_elements
from deltac.rewrite.norms import low_rank_row_norm
from deltac.rewrite.pipeline import rewrite


def _draw(*shape, grad=True):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_(grad)


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 4, 5), (2, 3, 4, 5)])
def test_add_product_is_the_sum(shape):
    torch.manual_seed(0)
    y, h, b = _draw(*shape[:-1], 7), _draw(*shape[:-1], 3), _draw(7, 3)
    found, wanted = add_product(y, h, b, 0.5), y + 0.5 * F.linear(h, b)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(add_product(y, h, b, 0.5), wanted, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(
        torch.autograd.grad(found.sin().sum(), (y, h, b)),
        torch.autograd.grad(wanted.sin().sum(), (y, h, b)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_product_of_zero_changes_no_bit(dtype):
    torch.manual_seed(0)
    y, h = torch.randn(3, 5, 16).to(dtype), torch.randn(3, 5, 4).to(dtype)
    zeros = torch.zeros(16, 4, dtype=dtype)
    assert torch.equal(add_product(y, h, zeros, 2.0), y)
    with torch.no_grad():
        assert torch.equal(add_product(y, h, zeros, 2.0), y)


def test_dropped_linear_is_dropout_before_the_map():
    """The mask is read off the result of an identity: then output and gradients follow from it by hand."""
    torch.manual_seed(0)
    x = _draw(6, 50)
    x.data[x.data.abs() < 0.01] = 1.0
    torch.manual_seed(1)
    mask = (dropped_linear(x, torch.eye(50, dtype=torch.float64), 0.3, True) != 0).double()
    assert 0.6 < mask.mean() < 0.8
    a = _draw(4, 50)
    torch.manual_seed(1)
    found, wanted = dropped_linear(x, a, 0.3, True), F.linear(x * mask / 0.7, a)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(
        torch.autograd.grad(found.sin().sum(), (x, a)),
        torch.autograd.grad(wanted.sin().sum(), (x, a)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(dropped_linear(x, a, 0.3, False), F.linear(x, a))


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.5, 0.9])
def test_elements_are_dropped_with_the_probability_asked_for(probability):
    """Five standard deviations, on the whole, on even and odd places, and for neighbours together."""
    torch.manual_seed(0)
    dropped = ~kept_elements(torch.empty(1001, 999), probability).flatten()
    pairs = dropped[:-1] & dropped[1:]
    for part, share in (
        (dropped, probability),
        (dropped[::2], probability),
        (dropped[1::2], probability),
        (pairs, probability**2),
    ):
        spread = (share * (1 - share) / len(part)) ** 0.5
        assert abs(part.double().mean().item() - share) < 5 * spread


def test_dropped_linear_keeps_one_byte_of_mask():
    x, a, kept = _draw(8, 32), _draw(2, 32), {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        dropped_linear(x, a, 0.5, True)
    own = {tensor.untyped_storage().data_ptr() for tensor in (x, a)}
    assert sum(size for pointer, size in kept.items() if pointer not in own) == 8 * 32


def test_row_norms_without_the_product():
    torch.manual_seed(0)
    w, b, a = _draw(9, 6), _draw(9, 2), _draw(2, 6)
    found = low_rank_row_norm(w, b, a, 1.5)
    torch.testing.assert_close(found, (w + 1.5 * b @ a).norm(dim=1), rtol=1e-10, atol=1e-12)


def test_constants_are_computed_once_while_generating(monkeypatch):
    compiled = _dora()
    model, tokens = compiled.model.eval(), torch.arange(6).view(1, 6)
    with torch.no_grad():
        wanted = model(input_ids=tokens).logits
    counted = []
    cls = type(model.get_submodule("model.layers.0.self_attn.q_proj"))
    source = cls.delta_region.constants
    function = source.function
    monkeypatch.setitem(vars(source), "function", lambda self: counted.append(1) or function(self))
    model.generate(tokens, max_new_tokens=4, do_sample=False, pad_token_id=0)
    regions = sum(getattr(m, "delta_region", None) is not None for m in model.modules())
    assert 0 < len(counted) <= regions
    with compiled.inference():
        assert torch.equal(model(input_ids=tokens).logits, wanted)
        assert torch.equal(model(input_ids=tokens).logits, wanted)
    with torch.no_grad():
        for parameter in compiled.parameters().values():
            parameter.add_(0.1)
        assert not torch.equal(model(input_ids=tokens).logits, wanted), (
            "a kept value outlived its scope"
        )


def test_gradients_reach_all_in_a_scope_that_keeps_constants():
    compiled = _dora()
    with compiled.inference(), torch.enable_grad():
        compiled.model(input_ids=torch.arange(6).view(1, 6)).logits.sum().backward()
    assert all(p.grad is not None for p in compiled.parameters().values())


def _dora():
    """DoRA at a width where its factored form costs least."""
    delta = {"name": "d", "operator": "dora", "target": {"role": "attention.query"}, "rank": 2}
    compiled = deltac.compile(
        {"version": 1, "heads": [], "deltas": [delta]}, model=tiny.base("llama", hidden_size=128)
    )
    with torch.no_grad():
        for parameter in compiled.parameters().values():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return compiled


def test_tokens_per_step_choose_the_form():
    """At 32 × 32 and rank 3 the product B A is worth forming for a million tokens, but not for a hundred."""
    delta = {"name": "d", "operator": "lora", "target": {"role": "attention.query"}, "rank": 3}
    texts, outputs = {}, []
    for tokens in (100, 10**6):
        spec = {"version": 1, "heads": [], "tokens_per_step": tokens, "deltas": [delta]}
        compiled = tiny.perturb(deltac.compile(spec, model=tiny.base("llama")))
        texts[tokens] = next(v for k, v in compiled.files().items() if k.startswith("code/"))
        outputs.append(tiny.logits(compiled.model))
    assert b"add_product" in texts[100] and b"d_value" not in texts[100]
    assert b"d_value" in texts[10**6] and b"add_product" not in texts[10**6]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)


def test_parts_of_a_fused_projection_share_the_product_with_their_input():
    delta = {"name": "d", "operator": "lora", "rank": 2, "alpha": 4}
    target = {"role": ["attention.query", "attention.value"]}
    spec = {"version": 1, "heads": [], "deltas": [delta | {"target": target}]}
    model = tiny.base("gpt2", n_embd=128, dtype=torch.float64)
    plan = prepare(spec, model).plan
    text = rewrite(plan, "factored").regions["transformer.h.0.attn.c_attn"].source.text
    assert text.count("shared_linear(") == 1 and "_nn.linear(view" not in text
    outputs = []
    for forms in ("inserted", "factored"):
        made = tiny.base("gpt2", n_embd=128, dtype=torch.float64)
        generator = torch.Generator().manual_seed(0)
        values = {
            name: 0.1 * torch.randn(new.shape, generator=generator, dtype=torch.float64)
            for name, _, _, new in plan.added()
        }
        with apply(plan, rewrite(plan, forms), made, values.__getitem__):
            outputs.append(tiny.logits(made))
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-12)
