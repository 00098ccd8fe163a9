"""What a training step keeps for its backward pass, beside PEFT on the same model."""

import warnings

import peft
import pytest
import tiny
import torch
from safetensors.torch import load

import deltac

RANK = 2


def _kept(model):
    """The distinct tensors that a forward pass keeps, parameters left out: storage → tensor."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor):
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    tokens = torch.arange(24).view(2, 12) % 60
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.train()(input_ids=tokens, labels=tokens).loss
    del loss
    return {pointer: tensor for pointer, tensor in kept.items() if pointer not in own}


def _bytes(model):
    return sum(tensor.untyped_storage().nbytes() for tensor in _kept(model).values())


def _models(operator, dtype=torch.float32, dropout=0.0):
    """The frozen floor, PEFT's model and ours, all of one base."""
    base = {"dtype": dtype, "hidden_size": 128, "intermediate_size": 192}
    floor = tiny.base("llama", **base).requires_grad_(False)
    floor.get_input_embeddings().register_forward_hook(lambda m, args, out: out.requires_grad_())
    config = peft.LoraConfig(
        r=RANK, use_dora=operator == "dora", lora_dropout=dropout, target_modules="all-linear"
    )
    with warnings.catch_warnings(action="ignore"):
        theirs = peft.get_peft_model(tiny.base("llama", **base), config)
    more = {"dropout": dropout} if dropout else {}
    delta = {"operator": operator, "target": {"role": "linear"}, "rank": RANK, **more}
    spec = {"version": 1, "heads": [], "deltas": [delta]}
    return floor, theirs, deltac.compile(spec, model=tiny.base("llama", **base)).model


def test_no_float32_copy_of_an_input_is_kept_on_a_bfloat16_base():
    floor, theirs, ours = _models("lora", torch.bfloat16)
    assert _bytes(ours) - _bytes(floor) < 0.5 * (_bytes(theirs) - _bytes(floor))
    wide = {
        tuple(tensor.shape)
        for tensor in _kept(ours).values()
        if tensor.dtype == torch.float32 and tensor.shape[-1:] in {(128,), (192,)}
    }
    # The norms and the attention of the base compute in float32; what they keep is in the floor too.
    assert wide <= {tuple(tensor.shape) for tensor in _kept(floor).values()}


def test_dora_keeps_no_matrix_and_less_than_half_of_the_peers():
    floor, theirs, ours = _models("dora")
    assert _bytes(ours) - _bytes(floor) < 0.5 * (_bytes(theirs) - _bytes(floor))
    matrices = {(128, 128), (192, 128), (128, 192)}
    assert not [t.shape for t in _kept(ours).values() if tuple(t.shape) in matrices]


def test_dropout_keeps_bytes_of_masks_and_no_dropped_copy():
    floor, theirs, ours = _models("lora", dropout=0.1)
    plain = _models("lora")[2]
    masks = [tensor for tensor in _kept(ours).values() if tensor.dtype == torch.bool]
    assert _bytes(ours) - _bytes(plain) == pytest.approx(sum(m.numel() for m in masks), rel=0.01)
    assert _bytes(ours) - _bytes(floor) < 0.6 * (_bytes(theirs) - _bytes(floor))


def test_a_shared_basis_is_saved_once():
    delta = {"name": "v", "operator": "vera", "target": {"role": "attention.query"}, "rank": RANK}
    spec = {"version": 1, "heads": [], "deltas": [delta]}
    compiled = deltac.compile(spec, model=tiny.base("llama"))
    saved = load(compiled.files()["delta.safetensors"])
    sites = [name for name, _ in compiled.model.named_modules() if name.endswith("q_proj")]
    own = {f"{site}.v_{name}" for site in sites for name in ("b", "d")}
    assert len(sites) > 1 and set(saved) == own | {"v_A", "v_B"}
