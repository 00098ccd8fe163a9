"""Operators that add a matrix of high rank, beside PEFT with the same parameters: outputs and gradients in float64."""

import math

import peer_layers as peer
import peft
import pytest
import torch
from peft.tuners.c3a.utils import get_circulant_fast

LINEARS = ["linear", "linear-without-bias"]


@pytest.mark.parametrize("kind", LINEARS)
def test_loha(kind):
    mine = peer.compiled(kind, "loha", rank=3, alpha=5.0).model.block[0]
    layer = peer.peer(kind, peft.LoHaConfig(**peer.on(kind), r=3, alpha=5.0))
    own = {"A1": "w1_b", "B1": "w1_a", "A2": "w2_b", "B2": "w2_a"}
    own = {name: getattr(layer, f"hada_{theirs}")["default"] for name, theirs in own.items()}
    for name, parameter in own.items():
        parameter.data.copy_(mine.get_parameter(f"d_{name}").detach())
    peer.agree(kind, mine, layer, {name: lambda each=each: each.grad for name, each in own.items()})


@pytest.mark.parametrize("kind", ["conv1d", "embedding"])
def test_loha_where_peft_has_none(kind):
    mine = peer.compiled(kind, "loha", rank=3, alpha=5.0).model.block[0]
    plain = peer.base(kind).block[0]
    own = {
        name: mine.get_parameter(f"d_{name}").detach().clone() for name in ("A1", "B1", "A2", "B2")
    }
    for each in own.values():
        each.requires_grad_()

    def expected(x):
        product = torch.zeros(len(own["B1"]), 12, dtype=torch.float64)
        for i in range(3):
            for j in range(3):
                left, right = own["B1"][:, i] * own["B2"][:, j], own["A1"][i] * own["A2"][j]
                product = product + 5.0 / 3 * torch.outer(left, right)
        if kind == "embedding":
            return (plain.weight + product)[x]
        return x @ (plain.weight + product.T) + plain.bias

    peer.agree(
        kind, mine, expected, {name: lambda each=each: each.grad for name, each in own.items()}
    )


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize("kind", LINEARS)
@pytest.mark.parametrize("mask", ["random", "magnitude"])
def test_shira(kind, mask):
    """PEFT counts the entries of its mask by a rank, rank (in + out)."""
    mine = peer.compiled(kind, "shira", density=24 / 144, mask=mask).model.block[0]
    assert mine.d_values.shape == mine.d_entries.shape == (24,)

    def mine_as_mask(layer, r, **_):
        flat = torch.zeros(144, dtype=torch.bool)
        flat[mine.d_entries] = True
        return flat.view(12, 12)

    config = peft.ShiraConfig(**peer.on(kind), r=1)
    config.mask_fn = mine_as_mask
    layer = peer.peer(kind, config)
    own = layer.shira_weight["default"]
    own.data.copy_(mine.d_values.detach())
    peer.agree(kind, mine, layer, {"values": lambda: own.grad})


@pytest.mark.parametrize("kind", ["conv1d", "embedding"])
def test_shira_where_peft_has_none(kind):
    mine = peer.compiled(kind, "shira", density=0.2).model.block[0]
    plain = peer.base(kind).block[0]
    values = mine.d_values.detach().clone().requires_grad_()
    rows, columns = mine.d_entries // 12, mine.d_entries % 12

    def expected(x):
        change = torch.zeros((10, 12) if kind == "embedding" else (12, 12))
        change[rows, columns] = values
        if kind == "embedding":
            return (plain.weight + change)[x]
        return x @ (plain.weight + change.T) + plain.bias

    peer.agree(kind, mine, expected, {"values": lambda: values.grad})


@pytest.mark.parametrize("mask", ["random", "magnitude"])
def test_shira_entries(mask):
    made = peer.compiled("linear", "shira", density=0.25, mask=mask)
    w = peer.base("linear").block[0].weight.detach()
    entries = made.model.block[0].d_entries
    assert entries.dtype == torch.int64
    assert len(set(entries.tolist())) == 36
    assert entries.tolist() == sorted(entries.tolist())
    largest = set(w.abs().flatten().topk(36).indices.tolist())
    assert (set(entries.tolist()) == largest) == (mask == "magnitude")


@pytest.mark.parametrize("kind", LINEARS)
@pytest.mark.parametrize("factor", [None, 2])
def test_lokr(kind, factor):
    """PEFT takes B A for a factor that is large beside the rank, and a whole matrix for a smaller one."""
    mine = peer.compiled(kind, "lokr", rank=1, alpha=5.0, **({"factor": 2} if factor else {}))
    mine = mine.model.block[0]
    config = peft.LoKrConfig(**peer.on(kind), r=1, alpha=5.0, decompose_factor=factor or -1)
    layer = peer.peer(kind, config)
    own = {
        "C": layer.lokr_w1["default"],
        "B": layer.lokr_w2_a["default"],
        "A": layer.lokr_w2_b["default"],
    }
    assert mine.d_C.shape == ((2, 2) if factor else (3, 3))
    for name, parameter in own.items():
        parameter.data.copy_(mine.get_parameter(f"d_{name}").detach())
    peer.agree(kind, mine, layer, {name: lambda each=each: each.grad for name, each in own.items()})


@pytest.mark.parametrize("kind", LINEARS)
@pytest.mark.parametrize("rank", [4, 5])
def test_miss(kind, rank):
    mine = peer.compiled(kind, "miss", rank=rank).model.block[0]
    layer = peer.peer(kind, peft.MissConfig(**peer.on(kind), r=rank))
    own = layer.miss_block["default"]
    own.data.copy_(mine.d_D.detach().T)
    peer.agree(kind, mine, layer, {"D": lambda: own.grad.T})


@pytest.mark.parametrize("kind", LINEARS)
@pytest.mark.parametrize("block_size", [3, 4])
def test_c3a(kind, block_size):
    """PEFT's dense matrix, in float64: its layer computes in float32, and its gradient of x is not its output's."""
    mine = peer.compiled(kind, "c3a", block_size=block_size).model.block[0]
    plain = peer.base(kind).block[0]
    kernels = mine.d_kernels.detach().clone().requires_grad_()

    def expected(x):
        return plain(x) + x @ get_circulant_fast(kernels).T / 12

    peer.agree(kind, mine, expected, {"kernels": lambda: kernels.grad})
    layer = peer.peer(kind, peft.C3AConfig(**peer.on(kind), block_size=block_size))
    layer.c3a_kernel["default"].data.copy_(mine.d_kernels.detach())
    x = peer.inputs(kind)
    peer.close(mine(x), layer(x), tolerance=1e-6)


def test_c3a_by_definition():
    """(C x)_n is the sum over l of c_l x_(n + l), indices taken modulo the block's size."""
    mine = peer.compiled("conv1d", "c3a", block_size=6).model.block[0]
    plain = peer.base("conv1d").block[0]
    kernels = mine.d_kernels.detach().clone().requires_grad_()

    def expected(x):
        added = []
        for i in range(2):
            for n in range(6):
                shifts = [torch.roll(x[..., 6 * j : 6 * j + 6], -n, -1) for j in range(2)]
                added.append(sum(shifts[j] @ kernels[i, j] for j in range(2)) / 12)
        return plain(x) + torch.stack(added, -1)

    peer.agree("conv1d", mine, expected, {"kernels": lambda: kernels.grad})


@pytest.mark.parametrize("kind", [*LINEARS, "conv1d", "embedding"])
def test_fourierft_by_definition(kind):
    """D[a, b] is the mean over all places of the spectrum of c cos 2π(u a / out + v b / in)."""
    mine = peer.compiled(kind, "fourierft", frequencies=7, scale=20.0).model
    plain, entries = peer.base(kind).block[0], mine.d_entries
    c = mine.block[0].d_c.detach().clone().requires_grad_()
    rows = 10 if kind == "embedding" else 12

    def expected(x):
        a, b = torch.arange(rows)[:, None, None] / rows, torch.arange(12)[:, None] / 12
        waves = torch.cos(2 * math.pi * (entries // 12 * a + entries % 12 * b))
        change = 20.0 * waves @ c / (12 * rows)
        if kind == "embedding":
            return (plain.weight + change)[x]
        w = plain.weight.T if kind == "conv1d" else plain.weight
        return x @ (w + change).T + (0 if plain.bias is None else plain.bias)

    peer.agree(kind, mine.block[0], expected, {"c": lambda: c.grad})


@pytest.mark.parametrize("kind", LINEARS)
def test_fourierft_is_that_of_peft(kind):
    """PEFT rounds the coefficients to float32; the gradient and the exact values are those of the definition above."""
    mine = peer.compiled(kind, "fourierft", frequencies=7, scale=20.0).model
    config = peft.FourierFTConfig(**peer.on(kind), n_frequency=7, scaling=20.0)
    layer = peer.peer(kind, config)
    layer.fourierft_spectrum["default"].data.copy_(mine.block[0].d_c.detach())
    layer.indices["default"] = torch.stack([mine.d_entries // 12, mine.d_entries % 12])
    x = peer.inputs(kind)
    peer.close(mine.block[0](x), layer(x), tolerance=1e-6)


def test_fourierft_shares_its_frequencies():
    made = peer.compiled("linear", "fourierft", frequencies=7)
    assert list(made.parameters("fixed")) == ["d_entries"]
    assert len(set(made.model.d_entries.tolist())) == 7
