"""FSDP2 on one process: parameters become shards, and what the delta trains still gets its gradients."""

import pytest
import tiny
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard

DELTAS = {
    "lora": {"rank": 4},
    "subspace": {"dimension": 20},  # its vector is the root's
    "vera": {"rank": 4},
    "diff-pruning": {
        "penalty_weight": 0.01,
        "structured": False,
        "start": 0.5,
    },  # its penalty reads whole values
}


@pytest.fixture
def process_group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _step(compiled):
    model = compiled.model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loss = model(**tiny.inputs(model, labels=True)).loss
        loss.backward()
    grads = {name: parameter.grad for name, parameter in compiled.parameters().items()}
    assert all(grad is not None for grad in grads.values()), "a trained parameter has no gradient"
    full = {n: g.full_tensor() if hasattr(g, "full_tensor") else g for n, g in grads.items()}
    model.zero_grad(set_to_none=True)
    return loss.detach(), {name: grad.clone() for name, grad in full.items()}


@pytest.mark.parametrize("operator", DELTAS)
def test_a_sharded_model_trains_the_same(operator, process_group):
    delta = {"name": "d", "operator": operator, "target": {"module": ["q_proj", "v_proj"]}}
    compiled = tiny.compiled("llama", delta | DELTAS[operator])
    loss, expected = _step(compiled)
    model = compiled.model
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    again, found = _step(compiled)
    assert all(hasattr(parameter, "to_local") for parameter in model.parameters())
    torch.testing.assert_close(again, loss)
    for name, grad in expected.items():
        assert grad.any(), name
        torch.testing.assert_close(found[name], grad, msg=name)
