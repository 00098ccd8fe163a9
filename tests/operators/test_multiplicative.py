"""Operators that multiply the weight, beside PEFT with the same parameters: outputs and gradients in float64."""

import peer_layers as peer
import peft
import pytest
import torch

LINEARS = ["linear", "linear-without-bias", "conv1d"]


@pytest.mark.parametrize("kind", LINEARS)
@pytest.mark.parametrize("side", ["output", "input"])
def test_ia3(kind, side):
    mine = peer.compiled(kind, "ia3", side=side).model.block[0]
    config = peft.IA3Config(
        **peer.on(kind),
        feedforward_modules=r"block\.\d+" if side == "input" else [],
        fan_in_fan_out=kind == "conv1d",
    )
    layer = peer.peer(kind, config)
    own = layer.ia3_l["default"]
    own.data.copy_(mine.d_l.detach().view_as(own))
    peer.agree(kind, mine, layer, {"l": lambda: own.grad.flatten()})


@pytest.mark.parametrize("kind", ["linear", "linear-without-bias", "embedding"])
@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("terms", [0, 3])
def test_oft(kind, share, terms):
    """PEFT rotates by the transpose of our R, on an embedding by R itself, and its series has the other sign of Q."""
    mine = peer.compiled(kind, "oft", block_size=4, share=share, neumann_terms=terms).model.block[0]
    sign = -1.0 if (terms > 0) != (kind == "embedding") else 1.0
    config = peft.OFTConfig(
        **peer.on(kind),
        oft_block_size=4,
        block_share=share,
        use_cayley_neumann=terms > 0,
        num_cayley_neumann_terms=terms + 2,
    )
    layer = peer.peer(kind, config)
    own = (layer.oft_embedding_R if kind == "embedding" else layer.oft_R)["default"].weight
    own.data.copy_(sign * mine.d_Q.detach())
    peer.agree(kind, mine, layer, {"Q": lambda: sign * own.grad})


def test_oft_where_peft_has_none():
    mine = peer.compiled("conv1d", "oft", block_size=3).model.block[0]
    plain = peer.base("conv1d").block[0]
    upper = mine.d_Q.detach().clone().requires_grad_()

    def expected(x):
        eye, zero, blocks = torch.eye(3), torch.zeros(()), []
        for a, b, c in upper:
            q = torch.stack([zero, a, b, -a, zero, c, -b, -c, zero]).view(3, 3)
            blocks.append((eye + q) @ torch.linalg.inv(eye - q))
        return x @ (plain.weight.T @ torch.block_diag(*blocks)).T + plain.bias

    peer.agree("conv1d", mine, expected, {"Q": lambda: upper.grad})


def test_oft_rotations_are_orthogonal():
    mine = peer.compiled("linear", "oft", block_size=4).model.block[0]
    plain = peer.base("linear").block[0]
    changed = mine(torch.eye(12, dtype=torch.float64)) - plain.bias
    w = plain.weight.T
    assert not torch.allclose(changed, w)
    # W' W'ᵀ = W Wᵀ: lengths and angles of the rows stay.
    peer.close(changed.T @ changed, w.T @ w)


@pytest.mark.parametrize("kind", ["linear", "linear-without-bias"])
def test_hra(kind):
    mine = peer.compiled(kind, "hra", rank=4).model.block[0]
    layer = peer.peer(kind, peft.HRAConfig(**peer.on(kind), r=4))
    own = layer.hra_u["default"]
    own.data.copy_(mine.d_v.detach().T)
    peer.agree(kind, mine, layer, {"v": lambda: own.grad.T})


@pytest.mark.parametrize("kind", ["conv1d", "embedding"])
def test_hra_where_peft_has_none(kind):
    mine = peer.compiled(kind, "hra", rank=4).model.block[0]
    plain = peer.base(kind).block[0]
    v = mine.d_v.detach().clone().requires_grad_()

    def reflected(rows):
        for each in v:
            rows = rows - 2 * torch.outer(rows @ each, each) / each.dot(each)
        return rows

    def expected(x):
        if kind == "embedding":
            return reflected(plain.weight)[x]
        return x @ reflected(plain.weight.T).T + plain.bias

    peer.agree(kind, mine, expected, {"v": lambda: v.grad})
