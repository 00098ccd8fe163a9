"""Operators that add a matrix of high rank, beside PEFT with the same parameters: outputs and gradients in float64."""

import peer_layers as peer
import peft
import pytest
import torch

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
