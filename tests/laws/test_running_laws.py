"""Deltas in models that run: generation, padding, batches, checkpoints, torch.compile, copies. All perturbed."""

import copy
import functools
import pickle

import pytest
import running_models
import tiny
import torch
from running_cases import CASES

import deltac

GENERATED = [(name, model) for name, case in CASES.items() for model in case.generates]
AT_HOME = [(name, model) for name, case in CASES.items() for model in case.homes]
CACHED = [(name, model) for name, case in CASES.items() for model in case.cached]
generated = pytest.mark.parametrize(("name", "model"), GENERATED)
at_home = pytest.mark.parametrize(("name", "model"), AT_HOME)
# What depends least on the architecture is tried on one.
FIRST = [(name, case.homes[0]) for name, case in CASES.items() if case.homes]
first_home = pytest.mark.parametrize(("name", "model"), FIRST)


def _spec(name, model):
    section = {"version": 1, "name": name, "model": running_models.section(model)}
    return section | {
        "deltas": copy.deepcopy([*CASES[name].deltas]),
        "heads": [],
        **CASES[name].spec,
    }


@functools.cache
def _started(name, model):
    """As it is compiled; for copies."""
    return deltac.compile(_spec(name, model), model=running_models.base(model))


def _copy(compiled):
    return deltac.Compiled(copy.deepcopy(compiled.model))


@functools.cache
def _kept(name, model):
    """Perturbed, for tests that change nothing of it."""
    return tiny.perturb(_copy(_started(name, model)), scale=CASES[name].scale)


def _close(found, expected, bound=1e-5):
    """Within a bound relative to the largest value."""
    assert found.shape == expected.shape
    size = max(1.0, expected.abs().max().item())
    assert (found - expected).abs().max() <= bound * size


@at_home
def test_identity_as_declared_and_disabled(name, model):
    before = running_models.logits(running_models.base(model).requires_grad_(False))
    compiled = _copy(_started(name, model))
    start = running_models.logits(compiled.model)
    assert start.shape == before.shape
    if CASES[name].identity == "exact":
        assert torch.equal(start, before)
    elif CASES[name].identity == "near":
        assert (start - before).abs().max() < 0.05 * before.abs().max()
    tiny.perturb(compiled, scale=CASES[name].scale)
    moved = running_models.logits(compiled.model)
    assert (moved - before).abs().max() > 1e-3, "the delta has no effect"
    with compiled.disabled():
        assert torch.equal(running_models.logits(compiled.model), before)
    assert torch.equal(running_models.logits(compiled.model), moved)


@pytest.mark.parametrize(("name", "model"), CACHED)
def test_generation_with_a_cache_is_generation_without(name, model):
    compiled = _kept(name, model)
    with_cache = running_models.generated(compiled.model)
    without = running_models.generated(compiled.model, use_cache=False)
    assert torch.equal(with_cache.sequences, without.sequences)
    _close(torch.stack(with_cache.logits), torch.stack(without.logits))
    with compiled.disabled():
        plain = running_models.generated(compiled.model)
    # Frozen, as it is in the compiled model: torch multiplies in another order where a weight wants a gradient.
    base = running_models.generated(running_models.base(model).requires_grad_(False))
    assert torch.equal(torch.stack(plain.logits), torch.stack(base.logits))
    first = with_cache.logits[0]
    assert (first - base.logits[0]).abs().max() > 1e-3, "the delta has no effect"


@generated
def test_a_row_alone_is_the_row_in_its_batch(name, model):
    compiled = _kept(name, model)
    given = running_models.forward_inputs(compiled.model)
    together = running_models.logits(compiled.model, given)
    for row in range(len(together)):
        alone = {key: value[row : row + 1] for key, value in given.items()}
        _close(running_models.logits(compiled.model, alone), together[row : row + 1])


# Whisper's sounds have one length, and no padding.
@pytest.mark.parametrize(("name", "model"), [p for p in GENERATED if p[1] != "whisper"])
def test_padding_changes_nothing(name, model):
    compiled = _kept(name, model)
    given = running_models.inputs(compiled.model)
    plain = running_models.generated(compiled.model, given)
    sides = {"left": 3} if model in running_models.CAUSAL else {"right": 3}
    padded = running_models.generated(compiled.model, running_models.padded(given, **sides))
    _close(torch.stack(padded.logits), torch.stack(plain.logits))


@pytest.mark.parametrize(
    ("name", "model"), [pair for pair in AT_HOME if pair[1] in ("bert", "roberta")]
)
def test_padding_of_an_encoder_changes_nothing(name, model):
    compiled = _kept(name, model)
    given = running_models.inputs(compiled.model)
    plain = running_models.logits(compiled.model, given)
    padded = running_models.logits(compiled.model, running_models.padded(given, right=3))
    _close(padded[:, : plain.shape[1]], plain)


def _gradients(compiled):
    model = compiled.model.train()
    given = running_models.forward_inputs(model)
    model.zero_grad(set_to_none=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loss = (model(**given).logits ** 2).mean()
        loss.backward()
    found = {name: p.grad.clone() for name, p in compiled.parameters().items()}
    model.eval()
    return loss.detach(), found


@first_home
def test_checkpoints_change_nothing(name, model):
    compiled = _copy(_kept(name, model))
    loss, gradients = _gradients(compiled)
    compiled.model.activation_checkpointing_enable(
        activation_checkpointing_kwargs={"use_reentrant": False}
    )
    again, checkpointed = _gradients(compiled)
    assert torch.equal(again, loss)
    # Equal sums, accumulated in another order; relative to the largest of all gradients, see test_running.py.
    bound = 1e-6 * max(each.abs().max() for each in gradients.values())
    for key, gradient in gradients.items():
        assert gradient.any(), key
        assert (checkpointed[key] - gradient).abs().max() <= bound, key


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:torch")
@first_home
def test_torch_compile_in_one_graph(name, model):
    torch._dynamo.reset()
    compiled = _kept(name, model)
    more = {} if model == "bert" else {"use_cache": False}
    expected = running_models.logits(compiled.model, **more)
    fast = torch.compile(compiled.model, fullgraph=True, backend="eager")
    given = running_models.forward_inputs(compiled.model)
    with torch.no_grad():
        _close(fast(**given, **more).logits, expected)


@first_home
def test_bfloat16_stays(name, model):
    base = running_models.base(model, torch.bfloat16)
    compiled = tiny.perturb(deltac.compile(_spec(name, model), model=base), scale=CASES[name].scale)
    exact = running_models.logits(_kept(name, model).model)
    found = running_models.logits(compiled.model)
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).abs().max() < 0.15 * exact.abs().max()


@first_home
def test_copies_and_files(name, model, tmp_path):
    compiled = _kept(name, model)
    expected = running_models.logits(compiled.model)
    assert torch.equal(running_models.logits(copy.deepcopy(compiled.model)), expected)
    assert torch.equal(running_models.logits(pickle.loads(pickle.dumps(compiled.model))), expected)
    compiled.save(tmp_path / "delta")
    loaded = deltac.load(tmp_path / "delta", model=running_models.base(model))
    _close(running_models.logits(loaded.model), expected, 1e-6)
