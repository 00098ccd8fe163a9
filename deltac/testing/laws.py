"""The laws that every operator obeys, one function each."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

import deltac
from deltac.model.quiet import quiet
from deltac.testing.definition import apply_by_definition
from deltac.testing.models import Case, LawsModel
from deltac.testing.values import loss, perturbed, run, same, values_of

Law = Callable[[Case], None]


def check_identity(case: Case) -> None:
    """At step 0 the rewritten model computes the base's function, as exactly as the operator declares."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        before = run(case.model(dtype))
        compiled = case.compile(dtype)
        for training in (False, True):
            after = run(compiled.model.train(training))
            declared = {row["identity_at_start"][0] for row in compiled.manifest["deltas"]}.pop()
            difference = (after.double() - before.double()).abs().max().item()
            assert after.dtype == before.dtype, f"the output is {after.dtype} on a {dtype} base"
            if declared == "exact":
                assert torch.equal(after, before), (
                    f"{dtype}: differs by {difference:.3g}, not at all"
                )
            elif declared == "near":
                # 2 % of the largest value: the initial values are small, not zero.
                bound = 0.02 * before.abs().max().item()
                assert difference <= bound, (
                    f"{dtype}: differs by {difference:.3g}, not at most {bound:.3g}"
                )


def check_inserted_form(case: Case) -> None:
    """The cheap generated form agrees with the operator's own function, on perturbed parameters in float64."""
    compiled = perturbed(case.compile(torch.float64))
    compiled.model.double()
    reference = copy.deepcopy(case.model(torch.float64))
    for index in range(1 if case.operator.site == "sequence" else 2):
        apply_by_definition(case, compiled, reference, index)
    found, expected = run(compiled.model), run(reference)
    with compiled.disabled():
        untouched = run(compiled.model)
    assert not torch.allclose(found, untouched), "the perturbed delta has no effect"
    difference = (found - expected).abs().max().item()
    # Sums of 12 products in another order: a few units in the last place of float64.
    assert difference <= 1e-12 * max(1.0, expected.abs().max().item()), (
        f"differs by {difference:.3g}"
    )


def check_merge(case: Case) -> None:
    """A merged model is plain and computes what the delta does; `merged()` gives the base back bit for bit.

    On perturbed parameters, in float64. A delta that can't be merged is refused with its reason.
    """
    compiled = perturbed(case.compile(torch.float64))
    compiled.model.double()
    expected = run(compiled.model)
    if compiled.unmergeable():
        try:
            compiled.merge()
        except deltac.DeltacError as error:
            assert {each.code for each in error.diagnostics} == {"DLT731"}
            return
        raise AssertionError("it can't be merged, and merge() says nothing")
    bound = 1e-12 * max(1.0, expected.abs().max().item())  # as for the inserted form
    merged = compiled.merge()
    assert type(merged) is LawsModel, f"merged, it is a {type(merged).__name__}"
    assert list(merged.state_dict()) == list(case.model().state_dict()), (
        "merged, it has other names"
    )
    difference = (run(merged) - expected).abs().max().item()
    assert difference <= bound, f"merged, it differs by {difference:.3g}"
    with tempfile.TemporaryDirectory() as folder, quiet():
        merged.save_pretrained(folder)
        again = LawsModel.from_pretrained(folder, dtype=torch.float64)
    assert torch.equal(run(again), run(merged)), "merged, saved and loaded, it differs"
    objects = dict(compiled.model.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in objects.items()}
    with compiled.merged():
        assert torch.equal(run(compiled.model), run(merged)), "merged() is not merge()"
        with compiled.disabled():
            base = run(compiled.model)
    after = dict(compiled.model.named_parameters())
    assert same(before, after), "merged() left other values"
    assert all(after[name] is objects[name] for name in objects), "merged() left other objects"
    assert torch.equal(run(compiled.model), expected), "the delta is not back after merged()"
    with compiled.disabled():
        assert torch.equal(run(compiled.model), base), "disabled() in merged() is not the base"


def check_counts(case: Case) -> None:
    """Declared names, shapes and counts are those of the real tensors."""
    compiled = case.compile()
    counts, model = compiled.manifest["counts"], compiled.model
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows = {row["name"]: row for row in compiled.manifest["tensors"]}
    wrong = {name for name, row in rows.items() if row["set"] != "fixed"} ^ set(trainable)
    assert not wrong, f"listed and trainable differ: {wrong}"
    saved = compiled.tensors()
    assert set(rows) == set(saved), f"listed and saved differ: {set(rows) ^ set(saved)}"
    for name, parameter in saved.items():
        listed, real = rows[name]["shape"], list(parameter.shape)
        assert listed == real, f"{name}: listed as {listed}, is {real}"
    number = sum(p.numel() for p in trainable.values())
    assert counts["delta"] == number, f"{counts['delta']} counted, {number} there"
    total = sum(p.numel() for p in case.model().parameters())
    assert counts["base"] == total, f"{counts['base']} counted in the base, {total} there"
    size = sum(p.numel() * p.element_size() for p in saved.values())
    assert counts["delta_bytes"] == size, f"{counts['delta_bytes']} bytes counted, {size} there"


def check_initial_values(case: Case) -> None:
    """Initial values depend on the seed and the parameter's name, and on nothing else."""
    first = case.compile()
    mine = values_of(first)
    spec = case.spec()
    spec["deltas"].insert(0, {"name": "other", "operator": "tune", "target": {"module": "/embed"}})
    both = values_of(deltac.compile(spec, model=case.model()))
    assert same(mine, {name: both[name] for name in mine}), (
        "they differ in a second compilation, beside another delta"
    )
    added = {
        row["name"]
        for row in first.manifest["tensors"]
        if not re.match(r"base|zeros|constant\b|identity|artifact|.* of the weight", row["init"])
    }
    other = values_of(case.compile(seed=1)) if added else {}
    for name in added:
        assert not torch.equal(mine[name], other[name]), f"{name} does not depend on the seed"
        twin = name.replace("block.0", "block.1")
        assert (
            twin == name
            or mine[name].dtype in (torch.int64, torch.bool)
            or not torch.equal(mine[name], mine[twin])
        ), f"{name} equals {twin}"


def check_gradients(case: Case) -> None:
    """A gradient reaches every trained parameter, and no frozen one."""
    compiled = perturbed(case.compile())
    compiled.model.train()
    loss(compiled.model).backward()
    trained = compiled.parameters()
    for name, parameter in compiled.model.named_parameters():
        if name in trained:
            assert parameter.grad is not None, f"no gradient reaches {name}"
            assert parameter.grad.abs().sum() > 0, f"the gradient of {name} is zero"
        else:
            assert parameter.grad is None, f"the frozen {name} gets a gradient"


def check_round_trip(case: Case) -> None:
    """Saved by name and loaded, perturbed values and outputs come back bit for bit; saved for use, the outputs do."""
    compiled = perturbed(case.compile())
    for resumable in (True, False):
        if not resumable and compiled.files() == compiled.files(resumable=True):
            return  # training needs no more than use does: it is the same artifact
        with tempfile.TemporaryDirectory() as folder:
            path = compiled.save(Path(folder) / "delta", resumable=resumable)
            loaded = deltac.load(path, model=case.model())
            again = loaded.save(Path(folder) / "again", resumable=resumable)
            files = {file.name: file.read_bytes() for file in path.glob("*.safetensors")}
            assert files == {file.name: file.read_bytes() for file in again.glob("*.safetensors")}
        if resumable:
            assert same(values_of(compiled), values_of(loaded)), "values differ after loading"
        assert torch.equal(run(compiled.model), run(loaded.model)), "outputs differ"


def check_dtypes(case: Case) -> None:
    """On a bfloat16 base the output stays bfloat16; float32 masters get float32 gradients."""
    spec = case.spec()
    spec["deltas"][0]["dtype"] = "base"
    small = deltac.compile(spec, model=case.model(torch.bfloat16))
    masters = case.compile(torch.bfloat16)
    for compiled, dtype in ((masters, torch.float32), (small, torch.bfloat16)):
        total = loss(perturbed(compiled).model.train())
        assert total.dtype == torch.bfloat16, f"the output became {total.dtype}"
        total.backward()
        for part, expected in (("added", dtype), ("factor", dtype), ("tuned", torch.bfloat16)):
            for name, parameter in compiled.parameters(part).items():
                assert parameter.dtype == expected, f"{name} is {parameter.dtype}"
                assert parameter.grad is not None, f"no gradient reaches {name}"
                assert parameter.grad.dtype == expected, (
                    f"gradient of {name}: {parameter.grad.dtype}"
                )
        assert run(compiled.model).dtype == torch.bfloat16


def check_base_untouched(case: Case) -> None:
    """Compiling, a training step and `disabled()` leave the base as it was, bit for bit."""
    model = case.model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    output, names = run(model), list(model.state_dict())
    compiled = deltac.compile(case.spec(), model=model)
    assert same(before, {name: dict(model.named_parameters())[name] for name in before})
    perturbed(compiled)
    optimizer = torch.optim.SGD(compiled.parameter_groups(lr=1e-3))
    loss(model.train()).backward()
    optimizer.step()
    model.eval()
    changed = run(model)
    assert not torch.equal(changed, output), "training changed nothing"
    with compiled.disabled():
        assert torch.equal(run(model), output), "disabled() is not the base"
    assert torch.equal(run(model), changed), "the delta is not back after disabled()"
    frozen = set(before) - set(compiled.parameters())
    after = dict(model.named_parameters())
    assert same({n: before[n] for n in frozen}, {n: after[n] for n in frozen}), "the base changed"
    assert [name for name in model.state_dict() if name in names] == names, "base names changed"


LAWS: tuple[Law, ...] = (
    check_identity,
    check_inserted_form,
    check_merge,
    check_counts,
    check_initial_values,
    check_gradients,
    check_round_trip,
    check_dtypes,
    check_base_untouched,
)
