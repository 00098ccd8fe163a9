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


@pytest.mark.parametrize("kind", ["linear", "linear-without-bias"])
@pytest.mark.parametrize("variant", [1, 2, 4])
def test_road(kind, variant):
    mine = peer.compiled(kind, "road", variant=variant, group_size=4).model.block[0]
    layer = peer.peer(
        kind, peft.RoadConfig(**peer.on(kind), variant=f"road_{variant}", group_size=4)
    )
    own = {"theta": layer.road_theta["default"], "alpha": layer.road_alpha["default"]}
    for name, parameter in own.items():
        parameter.data.copy_(mine.get_parameter(f"d_{name}").detach().flatten())
    grads = {name: lambda each=each: each.grad.view_as(mine.d_theta) for name, each in own.items()}
    peer.agree(kind, mine, layer, grads)


def test_road_where_peft_has_none():
    mine = peer.compiled("conv1d", "road", group_size=6).model.block[0]
    plain = peer.base("conv1d").block[0]
    own = {name: mine.get_parameter(f"d_{name}").detach().clone() for name in ("theta", "alpha")}
    for each in own.values():
        each.requires_grad_()

    def expected(x):
        y, rotated = plain(x), []
        for start in (0, 6):
            group, pairs = y[..., start : start + 6], start // 6
            for half in (0, 1):
                for k in range(3):
                    angle, length = own["theta"][pairs, 0, k], own["alpha"][pairs, 0, k]
                    a, b = group[..., k], group[..., k + 3]
                    turned = (
                        a * angle.sin() + b * angle.cos()
                        if half
                        else a * angle.cos() - b * angle.sin()
                    )
                    rotated.append(length * turned)
        return torch.stack(rotated, -1)

    grads = {name: lambda each=each: each.grad for name, each in own.items()}
    peer.agree("conv1d", mine, expected, grads)


class _BlockDiagonal:
    """In the place of PEFT's CUDA kernel, without which it knows one butterfly factor only."""

    @staticmethod
    def forward(blocks):
        return [torch.stack([torch.block_diag(*each) for each in blocks])]

    @staticmethod
    def backward(grad, blocks):
        factors, count, size, _ = blocks.shape
        parts = grad.view(factors, count, size, count, size)
        return [torch.stack([parts[:, i, :, i] for i in range(count)], 1)]


@pytest.mark.parametrize("kind", ["linear", "linear-without-bias"])
@pytest.mark.parametrize(("factors", "block_size"), [(1, 3), (2, 2), (2, 6)])
def test_boft(kind, factors, block_size, monkeypatch):
    """PEFT takes the skew-symmetric part of whole blocks, so ours has twice the gradient of one entry."""
    monkeypatch.setattr("peft.tuners.boft.layer.get_fbd_cuda", lambda: _BlockDiagonal)
    mine = peer.compiled(kind, "boft", factors=factors, block_size=block_size).model.block[0]
    config = peft.BOFTConfig(
        **peer.on(kind), boft_block_size=block_size, boft_n_butterfly_factor=factors
    )
    layer = peer.peer(kind, config)
    own, scale = layer.boft_R["default"], layer.boft_s["default"]
    rows, columns = torch.triu_indices(block_size, block_size, 1)
    with torch.no_grad():
        own.zero_()
        own[..., rows, columns] = mine.d_Q
        own[..., columns, rows] = -mine.d_Q
        scale.copy_(mine.d_s[:, None])
    grads = {"Q": lambda: 2 * own.grad[..., rows, columns], "s": lambda: scale.grad[:, 0]}
    peer.agree(kind, mine, layer, grads)


def test_boft_of_one_factor_is_oft():
    one = peer.compiled("conv1d", "boft", factors=1, block_size=4, scale=False).model.block[0]
    other = peer.compiled("conv1d", "oft", block_size=4).model.block[0]
    other.d_Q.data.copy_(one.d_Q[0])
    peer.agree("conv1d", one, other, {"Q": lambda: other.d_Q.grad[None]})
