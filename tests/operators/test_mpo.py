"""mpo against the contraction of its tensors and against the paper's own start (Liu et al., 2021, algorithm 1).

The paper makes the tensors with successive singular value decompositions; this operator starts with identities. With no
bond cut the two differ by a change of basis on the bonds, which the second test undoes: it takes perturbed tensors of
the paper to ours and compares outputs and gradients.
"""

import pytest
import tiny
import torch
from torch.nn import functional as F

import deltac

#: Relative to the largest value: sums of few products in float64 in another order.
TOLERANCE = 1e-10
#: out = 48 and in = 32 in five factors each, as `factor: 2` makes them.
ROWS, COLUMNS = (2, 2, 3, 2, 2), (2, 2, 2, 2, 2)
PAIRS = [i * j for i, j in zip(ROWS, COLUMNS, strict=True)]


def _module(tensors=5, factor=2):
    delta = {"operator": "mpo", "target": {"module": "intermediate.dense"}, "name": "d"}
    spec = tiny.spec("bert", delta | {"tensors": tensors, "factor": factor})
    compiled = deltac.compile(spec, model=tiny.base("bert").double())
    tiny.perturb(compiled).model.double()
    return compiled.model.bert.encoder.layer[0].intermediate.dense


def _x():
    return torch.randn(4, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _close(found, expected):
    assert found.dtype == expected.dtype == torch.float64
    scale = expected.abs().max().item()
    assert scale > 0
    assert (found - expected).abs().max().item() <= TOLERANCE * scale


def _paired(w):
    """W as a tensor with the indices i_1 j_1, …, i_5 j_5."""
    order = [axis for k in range(5) for axis in (k, 5 + k)]
    return w.reshape(*ROWS, *COLUMNS).permute(order).reshape(PAIRS)


def _unpaired(t):
    split = [size for pair in zip(ROWS, COLUMNS, strict=True) for size in pair]
    return t.reshape(split).permute(0, 2, 4, 6, 8, 1, 3, 5, 7, 9).reshape(48, 32)


def _contracted(t1, t2, c, t4, t5):
    return _unpaired(torch.einsum("xap,pbq,qcr,rds,sey->abcde", t1, t2, c, t4, t5))


def _tensors(a1, a2, a4, a5):
    """The auxiliary tensors 1 + A_k with their bonds."""
    a, b, _, d, e = PAIRS
    t1 = (torch.eye(a) + a1).reshape(1, a, a)
    t2 = (torch.eye(a * b) + a2).reshape(a, b, a * b)
    t4 = (torch.eye(d * e) + a4).reshape(d * e, d, e)
    t5 = (torch.eye(e) + a5).reshape(e, e, 1)
    return t1, t2, t4, t5


def test_mpo_is_the_contraction_of_its_tensors():
    module, x = _module(), _x().requires_grad_()
    values = [getattr(module, f"d_A{k}") for k in (1, 2, 4, 5)]
    a, b, c, d, e = PAIRS
    t1, t2, t4, t5 = _tensors(*values)
    center = _paired(module.weight).reshape(a * b, c, d * e)
    expected = F.linear(x, _contracted(t1, t2, center, t4, t5), module.bias)
    found = module(x)
    _close(found, expected)
    mine = torch.autograd.grad(found.pow(2).sum(), [*values, x])
    for grad, wanted in zip(
        mine, torch.autograd.grad(expected.pow(2).sum(), [*values, x]), strict=True
    ):
        _close(grad, wanted)


def _decomposed(w):
    """The paper's five tensors of a matrix: singular vectors from the left, what is left over in the last."""
    rest, bond, tensors = _paired(w).reshape(1, -1), 1, []
    for size in PAIRS[:-1]:
        u, s, vh = torch.linalg.svd(rest.reshape(bond * size, -1), full_matrices=False)
        tensors.append(u.reshape(bond, size, -1))
        rest, bond = s[:, None] * vh, s.numel()
    return [*tensors, rest.reshape(bond, PAIRS[-1], 1)]


def test_mpo_reaches_what_the_papers_tensors_reach():
    module, x = _module(), _x().requires_grad_()
    a, b, _, d, e = PAIRS
    *left, center, fourth, fifth = _decomposed(module.weight.detach())
    _close(_contracted(*left, center, fourth, fifth), module.weight.detach())
    before = [*left, fourth, fifth]
    generator = torch.Generator().manual_seed(2)
    after = [
        (t + 0.2 * torch.randn(t.shape, dtype=t.dtype, generator=generator)).requires_grad_()
        for t in before
    ]
    weight = _contracted(*after[:2], center, *after[2:])
    expected = F.linear(x, weight, module.bias)
    # The change of basis: what the starting tensors left and right of the centre are as matrices, undone.
    l0 = torch.einsum("xap,pbq->abq", *before[:2]).reshape(a * b, a * b)
    r0 = torch.einsum("rds,sey->rde", *before[2:]).reshape(d * e, d * e)
    mapped = {
        "d_A1": after[0].reshape(a, a) - torch.eye(a),
        "d_A2": after[1].reshape(a * b, a * b) @ l0.inverse() - torch.eye(a * b),
        "d_A4": r0.inverse() @ after[2].reshape(d * e, d * e) - torch.eye(d * e),
        "d_A5": after[3].reshape(e, e) - torch.eye(e),
    }
    found = torch.func.functional_call(module, mapped, (x,))
    assert (weight - module.weight).abs().max() > 0.1
    _close(found, expected)
    mine = torch.autograd.grad(found.pow(2).sum(), [*after, x])
    for grad, wanted in zip(
        mine, torch.autograd.grad(expected.pow(2).sum(), [*after, x]), strict=True
    ):
        _close(grad, wanted)


@pytest.mark.parametrize(
    ("tensors", "factor", "sizes"),
    [
        (3, 2, {"A1": 4, "A3": 4}),
        (3, 4, {"A1": 16, "A3": 16}),
        (5, 2, {"A1": 4, "A2": 16, "A4": 16, "A5": 4}),
        (5, 3, {"A1": 6, "A2": 24, "A4": 16, "A5": 4}),
    ],
)
def test_the_sizes_of_the_tensors(tensors, factor, sizes):
    module = _module(tensors, factor)
    found = {
        name.removeprefix("d_"): p for name, p in module.named_parameters() if name[:2] == "d_"
    }
    assert {name: tuple(p.shape) for name, p in found.items()} == {
        n: (m, m) for n, m in sizes.items()
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_starts_as_the_base(dtype):
    delta = {"operator": "mpo", "target": {"module": ["query", "dense", "word_embeddings"]}}
    delta["target"]["exclude"] = ["pooler.dense"]
    base = tiny.base("bert", dtype=dtype)
    before = tiny.logits(base)
    deltac.compile(tiny.spec("bert", delta | {"tensors": 3}), model=base)
    assert torch.equal(tiny.logits(base), before)


@pytest.mark.parametrize(
    ("options", "module", "word"),
    [
        ({"tensors": 4}, "query", "middle"),
        ({"tensors": 9}, "query", "larger than C"),
        ({"factor": 64, "tensors": 3}, "query", "larger than C"),
        ({}, "LayerNorm", "needs a matrix"),
    ],
)
def test_what_it_refuses(options, module, word):
    spec = tiny.spec("bert", {"operator": "mpo", "target": {"module": module}, **options})
    assert word in str(tiny.refused(lambda: deltac.plan(spec), "DLT301"))


def test_prime_sizes_are_refused():
    base = tiny.base("bert", hidden_size=29, num_attention_heads=1)
    section = tiny.model_section("bert", hidden_size=29, num_attention_heads=1)
    spec = tiny.spec("bert", {"operator": "mpo", "target": {"module": "query"}}, model=section)
    assert "no factors" in str(tiny.refused(lambda: deltac.plan(spec, model=base), "DLT301"))
