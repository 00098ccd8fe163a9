"""subspace against the Fastfood projection written out as dense matrices (Aghajanyan et al., 2021, section 2; Le et
al., 2013): P = H G Π H B over sqrt(D Σ g²), as the published program scales it, so that its columns have about unit
length.
"""

import copy
import math
import pickle

import pytest
import tiny
import torch
from by_definition import close, laws_model, output

import deltac


def _spec(**options):
    delta = {"name": "d", "operator": "subspace", "target": {"module": "block.*"}, **options}
    return {"version": 1, "heads": [], "deltas": [delta]}


def _compiled(base="linear", **options):
    compiled = tiny.perturb(deltac.compile(_spec(**options), model=laws_model(base)))
    compiled.model.double()
    return compiled


def _projection(module, size, dimension):
    """P: [size, dimension], from the module's fixed tensors."""
    n = module.d_gaussian.numel()
    h, corner = torch.ones(1, 1).double(), torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double()
    while h.shape[0] < n:
        h = torch.kron(corner, h)
    b = torch.zeros(n, dimension).double()
    b[:dimension] = torch.diag(module.d_signs)
    pi = torch.eye(n).double()[module.d_permutation]
    g = torch.diag(module.d_gaussian)
    return (h @ g @ pi @ h @ b)[:size] / math.sqrt(size * (g**2).sum())


@pytest.mark.parametrize("aware", [True, False])
@pytest.mark.parametrize("dimension", [1, 5, 8])
@pytest.mark.parametrize("base", ["linear", "embedding", "layer-norm"])
def test_subspace_is_that_of_the_paper(base, dimension, aware):
    mine = _compiled(base, dimension=dimension, structure_aware=aware)
    model, reference = mine.model, laws_model(base)
    z = model.d_z.detach().clone().requires_grad_()
    factors, weights = [], {}
    for index in range(2):
        module = model.block[index]
        w = reference.block[index].weight.detach()
        p = _projection(module, w.numel(), dimension)
        factors.append(module.d_scale.detach().clone().requires_grad_() if aware else torch.ones(1))
        weights[f"block.{index}.weight"] = w + factors[-1] * (p @ z).reshape(w.shape)
    given = {"input_ids": torch.arange(20).reshape(4, 5) % 10}
    expected = torch.func.functional_call(reference, weights, kwargs=given).last_hidden_state
    found = output(model)
    close(found, expected)
    with mine.disabled():
        assert (output(model) - expected).abs().max() > 0.01, "the delta has no effect"
    found.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    close(model.d_z.grad, z.grad)
    for index in range(2 if aware else 0):
        close(model.block[index].d_scale.grad, factors[index].grad)


def test_what_it_trains_is_small_and_what_it_is_made_of_is_kept():
    spec = tiny.spec(
        "bert", {"operator": "subspace", "target": {"module": ["query", "value"]}, "name": "d"}
    )
    compiled = deltac.compile(spec, model=tiny.base("bert"))
    counts = compiled.manifest["counts"]
    assert counts["delta"] == 200 + 4
    assert counts["fixed"] == 4 * (200 + 2 * 1024)
    trained = compiled.parameters("factor")
    assert sorted(trained)[-1] == "d_z" and len(trained) == 5
    module = compiled.model.bert.encoder.layer[0].attention.self.query
    assert module.d_permutation.sort().values.tolist() == list(range(1024))
    assert set(module.d_signs.unique().tolist()) == {-1.0, 1.0}
    lengths = _projection(module.double(), 1024, 200).norm(dim=0)
    assert lengths.mean().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_share_one_vector(copied):
    compiled = _compiled(dimension=5)
    twin = copied(compiled.model)
    assert torch.equal(output(twin), output(compiled.model))
    with torch.no_grad():
        twin.d_z.zero_()
    with compiled.disabled():
        assert torch.equal(output(twin), output(compiled.model))
    assert not torch.equal(output(twin), output(compiled.model))


def test_a_loaded_delta_has_the_projection_that_was_saved(tmp_path):
    compiled = tiny.perturb(deltac.compile(_spec(dimension=5), model=laws_model().float()))
    loaded = deltac.load(compiled.save(tmp_path / "delta"), model=laws_model().float())
    assert torch.equal(output(loaded.model), output(compiled.model))


def test_more_dimensions_than_elements_are_refused():
    size = sum(block.weight.numel() for block in laws_model().block)
    deltac.plan(_spec(dimension=size), model=laws_model())
    error = tiny.refused(
        lambda: deltac.plan(_spec(dimension=size + 1), model=laws_model()), "DLT301"
    )
    assert str(size) in str(error)


def test_a_bias_smaller_than_the_subspace_moves_too():
    delta = {
        "operator": "subspace",
        "target": {"parameter": "layer.*.attention.self.query.*"},
        "name": "d",
    }
    compiled = tiny.compiled("bert", delta)
    module = compiled.model.bert.encoder.layer[0].attention.self.query
    assert module.d_bias_gaussian.shape == (256,) and module.bias.shape == (32,)
    x = torch.zeros(32)
    assert not torch.equal(module(x), module.bias)


# torch.compile's own code calls deprecated functions of torch.
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:torch")
def test_torch_compile_in_one_graph():
    torch._dynamo.reset()
    compiled = tiny.compiled("bert", {"operator": "subspace", "target": {"module": "query"}})
    fast = torch.compile(compiled.model, fullgraph=True, backend="eager")
    with torch.no_grad():
        found = fast(**tiny.inputs(compiled.model)).logits
    torch.testing.assert_close(found, tiny.logits(compiled.model))


def test_a_vector_exchanged_at_the_root_is_exchanged_for_all():
    compiled = _compiled(dimension=5)
    model, before = compiled.model, output(compiled.model)
    other = {name: value.clone() for name, value in model.state_dict().items()}
    other["d_z"] *= 2
    model.load_state_dict(other, assign=True)
    after = output(model)
    assert not torch.equal(after, before)
    after.pow(2).sum().backward()
    assert model.get_parameter("d_z").grad.any()
