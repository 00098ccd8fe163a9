"""Single deltas switched off: what is left is what the others alone would be."""

import copy
import itertools
import pickle

import pytest
import tiny
import torch

import deltac

DELTAS = [
    {"name": "low", "operator": "lora", "target": {"role": "attention.query"}, "rank": 2},
    {
        "name": "scaled",
        "operator": "ia3",
        "target": {"role": ["attention.query", "attention.value"]},
    },
    {
        "name": "first",
        "operator": "adapter",
        "target": {"role": "mlp"},
        "bottleneck": 4,
        "activation": "gelu",
    },
    {
        "name": "second",
        "operator": "adapter",
        "target": {"role": "mlp"},
        "bottleneck": 4,
        "activation": "tanh",
        "overlap": True,
    },
    {
        "name": "after",
        "operator": "adapter",
        "target": {"role": "attention"},
        "position": "after-residual",
        "bottleneck": 4,
    },
    {"name": "front", "operator": "prefix", "target": {"role": "attention"}, "length": 3},
    {"name": "soft", "operator": "prompt", "target": {"role": "embedding"}, "length": 3},
    {"name": "norms", "operator": "tune", "target": {"role": "norm"}},
]
NAMES = [delta["name"] for delta in DELTAS]


def _made(name="llama", deltas=DELTAS):
    return tiny.perturb(deltac.compile(tiny.spec(name, deltas), model=tiny.base(name)))


def _alone(full, name, chosen):
    """The chosen deltas compiled alone, with the values of the whole."""
    deltas = [delta for delta in DELTAS if delta["name"] in chosen]
    alone = deltac.compile(tiny.spec(name, deltas), model=tiny.base(name))
    values = full.tensors()
    with torch.no_grad():
        for key, tensor in alone.tensors().items():
            tensor.copy_(values[key])
    return tiny.logits(alone.model)


#: Each alone, and several; on T5, whose attention and norms are others, those that have to do with them.
OFF = {
    "llama": [*((each,) for each in NAMES), ("low", "first"), tuple(NAMES[1:])],
    "t5": [("after",), ("front",), ("soft",), ("norms",), tuple(NAMES[1:])],
}


@pytest.mark.parametrize("name", OFF)
def test_what_is_left_is_what_the_others_alone_would_be(name):
    full = _made(name)
    expected = tiny.logits(full.model)
    classes = [type(module) for module in full.model.modules()]
    for off in OFF[name]:
        with full.disabled(*off) as model:
            found = tiny.logits(model)
        assert torch.equal(found, _alone(full, name, set(NAMES) - set(off))), off
        assert not torch.equal(found, expected), off
        assert torch.equal(tiny.logits(full.model), expected)
    assert [type(module) for module in full.model.modules()] == classes


def test_two_at_one_site_in_any_order():
    full = _made()
    expected, state = tiny.logits(full.model), tiny.state(full.model)
    for first, second in itertools.permutations(["first", "second"]):
        both = _alone(full, "llama", set(NAMES) - {first, second})
        with full.disabled(first):
            one = tiny.logits(full.model)
            with full.disabled(second):
                assert torch.equal(tiny.logits(full.model), both)
            assert torch.equal(tiny.logits(full.model), one)
        assert torch.equal(tiny.logits(full.model), expected)
    assert tiny.same_bits(tiny.state(full.model), state)


def test_all_of_them_by_name_is_the_base():
    base = tiny.base("llama")
    before = tiny.logits(base.requires_grad_(False))
    full = tiny.perturb(deltac.compile(tiny.spec("llama", DELTAS), model=base))
    with full.disabled(*NAMES):
        assert torch.equal(tiny.logits(base), before)
        with full.disabled():
            assert torch.equal(tiny.logits(base), before)


def test_blocks_of_other_kinds_inside():
    full = _made(deltas=DELTAS[:2])
    expected = tiny.logits(full.model)
    with full.disabled("low"):
        without = tiny.logits(full.model)
        with full.merged() as model:
            assert torch.allclose(tiny.logits(model), expected, atol=1e-5)
        assert torch.equal(tiny.logits(full.model), without)
        with full.disabled():
            base = tiny.logits(tiny.base("llama").requires_grad_(False))
            assert torch.equal(tiny.logits(full.model), base)
        assert torch.equal(tiny.logits(full.model), without)
    with full.disabled(), full.disabled("low"):
        assert torch.equal(tiny.logits(full.model), without), "the innermost holds"


def test_copies_made_inside_and_training_inside():
    full = _made()
    expected = tiny.logits(full.model)
    with full.disabled("low", "norms"):
        without = tiny.logits(full.model)
        for twin in (copy.deepcopy(full.model), pickle.loads(pickle.dumps(full.model))):
            assert torch.equal(tiny.logits(twin), expected), "a copy shows its whole delta"
            with deltac.Compiled(twin).disabled("low", "norms"):
                assert torch.equal(tiny.logits(twin), without)
            assert torch.equal(tiny.logits(twin), expected)
        assert torch.equal(tiny.logits(full.model), without)
        full.model(**tiny.inputs(full.model, labels=True)).loss.backward()
    for key, parameter in full.parameters().items():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached == (".low_" not in key), key


def test_a_penalty_is_off_with_its_delta():
    deltas = [
        {"name": name, "operator": "diff-pruning", "target": {"module": module}}
        for name, module in (("one", "q_proj"), ("two", "v_proj"))
    ]
    full = _made(deltas=deltas)
    both = full.penalty().item()
    parts = []
    for name in ("one", "two"):
        with full.disabled(name):
            parts.append(full.penalty().item())
    assert both == pytest.approx(sum(parts))
    assert all(parts)


def test_what_is_refused(compiled):
    tiny.refused(lambda: compiled.disabled("lo").__enter__(), "DLT737")
    model = compiled.model
    wrapped = next(m for m in model.modules() if hasattr(type(m), "delta_region"))
    wrapped.__class__ = type("FSDPWrapped", (type(wrapped),), {})
    tiny.refused(lambda: compiled.disabled("low").__enter__(), "DLT707")
    with compiled.disabled():
        tiny.logits(model)
