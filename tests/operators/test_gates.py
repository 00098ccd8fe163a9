"""The gate of an additive delta against its formula in plain torch: y = x Wᵀ + b + σ(x gᵀ + c) · (x Dᵀ)."""

import peer_layers as peer
import pytest
import torch


@pytest.mark.parametrize("kind", ["linear", "linear-without-bias", "conv1d"])
@pytest.mark.parametrize("operator", ["lora", "full"])
def test_a_gate_multiplies_what_is_added(operator, kind):
    options = {"rank": 3, "alpha": 5.0} if operator == "lora" else {}
    made = peer.compiled(kind, operator, gate=True, **options)
    mine, plain = made.model.block[0], peer.base(kind).block[0]
    own = {
        name.removeprefix("d_"): p.detach().clone().requires_grad_()
        for name, p in mine.named_parameters()
        if name.startswith("d_")
    }
    assert {"gate", "gate_bias"} < set(own)

    def expected(x):
        change = own["D"] if operator == "full" else 5.0 / 3 * own["B"] @ own["A"]
        opening = 1 / (1 + torch.exp(-(x @ own["gate"] + own["gate_bias"])))
        return plain(x) + opening[..., None] * (x @ change.T)

    peer.agree(
        kind, mine, expected, {name: lambda each=each: each.grad for name, each in own.items()}
    )


def test_a_gate_starts_half_open():
    spec = {"name": "d", "operator": "lora", "target": {"module": "block.*"}, "gate": True}
    made = peer.deltac.compile(
        {"version": 1, "heads": [], "deltas": [spec | {"rank": 2}]}, model=peer.base("linear")
    )
    module = made.model.block[0]
    assert not module.d_gate.any() and not module.d_gate_bias.any()
    torch.nn.init.ones_(module.d_B)
    x = peer.draw(4, 12)
    found = module.double()(x) - peer.base("linear").block[0](x)
    peer.close(found, 0.5 * x @ (module.d_B @ module.d_A).T)
