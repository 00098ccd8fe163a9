"""The laws that every operator obeys, for its author's own tests: `check_operator(MyOperator)`.

Each law is a function of its own; `LAWS` holds them all. A broken law raises `AssertionError` with what was found.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import math
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.pytorch_utils import Conv1D

import deltac
from deltac.operators import Operator, _registry, fragment, get
from deltac.sites import KINDS
from deltac.spec import installed as spec_loading

_WIDTH, _ROWS = 12, 10
_REFUSALS = {f"DLT{number}" for number in (301, 302, 303, 304, 305, 501, 502, 503, 506)}


class RMSNorm(nn.Module):
    """The norm of Llama and T5: x / sqrt(mean(x²)) · w."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The norm, computed in float32 at least; x: [..., width]."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * scaled.to(x.dtype)


class Pair(nn.Module):
    """A sub-module that returns a tuple, as attention modules do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The tensor and a second item that no operator touches; x: [..., width]."""
        return torch.tanh(self.dense(x)), torch.sin(x)


#: Name → the module that stands at `block.0` of the laws' model.
BASES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(_WIDTH, _WIDTH),
    "linear-without-bias": lambda: nn.Linear(_WIDTH, _WIDTH, bias=False),
    "conv1d": lambda: Conv1D(_WIDTH, _WIDTH),
    "embedding": lambda: nn.Embedding(_ROWS, _WIDTH),
    "layer-norm": lambda: nn.LayerNorm(_WIDTH),
    "rms-norm": lambda: RMSNorm(_WIDTH),
    "tuple": lambda: Pair(_WIDTH),
}


class LawsConfig(PreTrainedConfig):
    """The config of `LawsModel`."""

    model_type = "deltac-laws"
    base: str = "linear"


class LawsModel(PreTrainedModel):
    """Two residual blocks around one kind of base module, small enough to check every value."""

    config_class = LawsConfig
    main_input_name = "input_ids"

    def __init__(self, config: LawsConfig) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(_ROWS, _WIDTH)
        self.block = nn.ModuleList([BASES[config.base](), BASES[config.base]()])
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leaves every module as its own constructor made it."""

    def forward(self, input_ids: torch.Tensor, **kwargs: Any) -> BaseModelOutput:
        """The last hidden state for token numbers; input_ids: [batch, length]."""
        x = self.embed(input_ids)
        for module in self.block:
            out = module(input_ids if self.config.base == "embedding" else x)
            x = x + (out[0] + out[1] if isinstance(out, tuple) else out)
        return BaseModelOutput(last_hidden_state=x)


@dataclass(frozen=True)
class Case:
    """An operator with one choice of options on one kind of base module."""

    operator: type[Operator]
    base: str
    options: tuple[tuple[str, Any], ...]

    def model(self, dtype: torch.dtype = torch.float32) -> LawsModel:
        """The base, with the same random values each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = LawsModel(LawsConfig(base=self.base)).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn(parameter.shape) * 0.1)
        return model.to(dtype)

    def spec(self, **changes: Any) -> dict[str, Any]:
        """A spec with the operator on both blocks."""
        target = {"module": "block.*"}
        delta = {
            "name": "law",
            "operator": self.operator.name,
            "target": target,
            **dict(self.options),
        }
        return {"version": 1, "name": "law", "deltas": [delta], "heads": [], **changes}

    def compile(self, dtype: torch.dtype = torch.float32, **changes: Any) -> deltac.Compiled:
        """The compiled base."""
        return deltac.compile(self.spec(**changes), model=self.model(dtype))


Law = Callable[[Case], None]


def check_operator(operator: type[Operator]) -> None:
    """Runs every law on an operator, on each kind of base module that it accepts.

    Args:
        operator: a class of the operator contract; it needs no installed package.

    Raises:
        AssertionError: a law is broken.
    """
    check_declaration(operator)
    with registered(operator):
        cases = cases_of(operator)
        assert cases, f"{operator.name} accepts none of the base modules {', '.join(BASES)}"
        for case in cases:
            for law in LAWS:
                try:
                    law(case)
                except Exception as error:
                    options = ", ".join(f"{key}={value}" for key, value in case.options)
                    place = f"{operator.name}({options}) on {case.base}: {law.__name__}"
                    raise AssertionError(f"{place}: {error}") from error


def cases_of(operator: type[Operator]) -> list[Case]:
    """The operator on the base modules that it accepts.

    Small defaults on each; each other choice of an option on the first of them, and where the defaults are refused.
    """
    first, *others = _choices(operator)
    cases = [case for base in BASES if _accepts(case := _case(operator, base, first))]
    taken = [case.base for case in cases]
    for options in others:
        bases = [*taken[:1], *(base for base in BASES if base not in taken)]
        cases += filter(_accepts, (_case(operator, base, options) for base in bases))
    return cases


@contextlib.contextmanager
def registered(operator: type[Operator]) -> Iterator[None]:
    """Makes an operator class usable in specs, as if a package had registered it."""
    try:
        if get(operator.name).operator is operator:
            yield
            return
    except KeyError:
        pass
    point = EntryPoint(
        operator.name, f"{operator.__module__}:{operator.__qualname__}", spec_loading.GROUP
    )
    entry = _registry._registered(operator, "under-test", "0")
    before = _registry._points, _registry._load, spec_loading.entry_points
    _registry._points = lambda: [*(p for p in before[0]() if p.name != point.name), point]
    _registry._load = lambda p: entry if p is point else before[1](p)
    spec_loading.entry_points = lambda **query: [*before[2](**query), point]
    try:
        yield
    finally:
        _registry._points, _registry._load, spec_loading.entry_points = before


def check_declaration(operator: type[Operator]) -> None:
    """The class says what it is: name, family, site, paper, bounded and documented options, in a short file."""
    name = getattr(operator, "name", operator.__name__)
    assert dataclasses.is_dataclass(operator) and operator.__dataclass_params__.frozen, (
        f"{name}: an operator is a frozen dataclass"
    )
    assert operator.family in ("addition", "specification", "reparameterization"), (
        f"{name}: the family '{operator.family}' is none of the three"
    )
    assert operator.site in KINDS, f"{name}: no kind of site is '{operator.site}'"
    paper = operator.paper
    assert paper.title and paper.authors, f"{name}: the paper lacks its title or its authors"
    assert 1950 < paper.year < 2100, f"{name}: the paper's year is {paper.year}"
    assert paper.url.startswith("https://"), f"{name}: the paper's address is '{paper.url}'"
    assert operator.summary(), f"{name}: the docstring is empty"
    lines = len(Path(inspect.getfile(operator)).read_text(encoding="utf-8").splitlines())
    assert lines <= 80, f"{name}: its file has {lines} lines, more than 80"
    for option, schema in fragment(operator)["properties"].items():
        assert schema["description"].endswith("."), f"{name}: '{option}' is not documented"
        types = [schema, *schema.get("anyOf", ())]
        for part in types:
            if part.get("type") in ("integer", "number"):
                low = {"minimum", "exclusiveMinimum"} & part.keys()
                assert low, f"{name}: '{option}' has no lower bound"
            if part.get("type") == "string":
                assert "pattern" in part, f"{name}: '{option}' takes any text"


def check_identity(case: Case) -> None:
    """At step 0 the rewritten model computes the base's function, as exactly as the operator declares."""
    tokens = _tokens()
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        model = case.model(dtype)
        before = _run(model, tokens)
        compiled = deltac.compile(case.spec(), model=model)
        for training in (False, True):
            after = _run(model.train(training), tokens)
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
    compiled = _perturbed(case.compile(torch.float64))
    compiled.model.double()
    reference = copy.deepcopy(case.model(torch.float64))
    for index in range(2):
        _apply_by_definition(case, compiled, reference, index)
    tokens = _tokens()
    found, expected = _run(compiled.model, tokens), _run(reference, tokens)
    with compiled.disabled():
        untouched = _run(compiled.model, tokens)
    assert not torch.allclose(found, untouched), "the perturbed delta has no effect"
    difference = (found - expected).abs().max().item()
    # Sums of 12 products in another order: a few units in the last place of float64.
    assert difference <= 1e-12 * max(1.0, expected.abs().max().item()), (
        f"differs by {difference:.3g}"
    )


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
    first, second = case.compile(), case.compile()
    mine = _values(first)
    assert _equal(mine, _values(second)), "two compilations differ"
    spec = case.spec()
    spec["deltas"].insert(0, {"name": "other", "operator": "tune", "target": {"module": "/embed"}})
    both = _values(deltac.compile(spec, model=case.model()))
    assert _equal(mine, {name: both[name] for name in mine}), "another delta changes them"
    added = {
        row["name"]
        for row in first.manifest["tensors"]
        if not re.match(r"base|zeros|constant\b|.* of the weight", row["init"])
    }
    other = _values(case.compile(seed=1))
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
    compiled = _perturbed(case.compile())
    compiled.model.train()
    _loss(compiled.model).backward()
    trained = compiled.parameters()
    for name, parameter in compiled.model.named_parameters():
        if name in trained:
            assert parameter.grad is not None, f"no gradient reaches {name}"
            assert parameter.grad.abs().sum() > 0, f"the gradient of {name} is zero"
        else:
            assert parameter.grad is None, f"the frozen {name} gets a gradient"


def check_round_trip(case: Case) -> None:
    """Saved by name and loaded, perturbed values and outputs come back bit for bit."""
    compiled = _perturbed(case.compile())
    with tempfile.TemporaryDirectory() as folder:
        path = compiled.save(Path(folder) / "delta")
        loaded = deltac.load(path, model=case.model())
        again = loaded.save(Path(folder) / "again")
        same = {file.name: file.read_bytes() for file in path.glob("*.safetensors")}
        assert same == {file.name: file.read_bytes() for file in again.glob("*.safetensors")}
    assert _equal(_values(compiled), _values(loaded)), "values differ after loading"
    tokens = _tokens()
    assert torch.equal(_run(compiled.model, tokens), _run(loaded.model, tokens)), "outputs differ"


def check_dtypes(case: Case) -> None:
    """On a bfloat16 base the output stays bfloat16; float32 masters get float32 gradients."""
    for choice, dtype in (("float32", torch.float32), ("base", torch.bfloat16)):
        spec = case.spec()
        spec["deltas"][0]["dtype"] = choice
        compiled = _perturbed(deltac.compile(spec, model=case.model(torch.bfloat16)))
        loss = _loss(compiled.model.train())
        assert loss.dtype == torch.bfloat16, f"the output became {loss.dtype}"
        loss.backward()
        for part, expected in (("added", dtype), ("factor", dtype), ("tuned", torch.bfloat16)):
            for name, parameter in compiled.parameters(part).items():
                assert parameter.dtype == expected, f"{name} is {parameter.dtype}"
                assert parameter.grad is not None, f"no gradient reaches {name}"
                assert parameter.grad.dtype == expected, (
                    f"gradient of {name}: {parameter.grad.dtype}"
                )
        assert _run(compiled.model, _tokens()).dtype == torch.bfloat16


def check_base_untouched(case: Case) -> None:
    """Compiling, a training step and `disabled()` leave the base as it was, bit for bit."""
    model, tokens = case.model(), _tokens()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    output, names = _run(model, tokens), list(model.state_dict())
    compiled = deltac.compile(case.spec(), model=model)
    assert _equal(before, {name: dict(model.named_parameters())[name] for name in before})
    _perturbed(compiled)
    optimizer = torch.optim.SGD(compiled.parameter_groups(lr=0.1))
    _loss(model.train()).backward()
    optimizer.step()
    model.eval()
    changed = _run(model, tokens)
    assert not torch.equal(changed, output), "training changed nothing"
    with compiled.disabled():
        assert torch.equal(_run(model, tokens), output), "disabled() is not the base"
    assert torch.equal(_run(model, tokens), changed), "the delta is not back after disabled()"
    frozen = set(before) - set(compiled.parameters())
    after = dict(model.named_parameters())
    assert _equal({n: before[n] for n in frozen}, {n: after[n] for n in frozen}), "the base changed"
    assert [name for name in model.state_dict() if name in names] == names, "base names changed"


LAWS: tuple[Law, ...] = (
    check_identity,
    check_inserted_form,
    check_counts,
    check_initial_values,
    check_gradients,
    check_round_trip,
    check_dtypes,
    check_base_untouched,
)


def _case(operator: type[Operator], base: str, options: Mapping[str, Any]) -> Case:
    return Case(operator, base, tuple(sorted(options.items())))


def _accepts(case: Case) -> bool:
    """Whether the operator takes the base; any error that is no refusal of the place is a fault."""
    try:
        deltac.plan(case.spec(), model=case.model())
    except deltac.DeltacError as error:
        other = {each.code for each in error.diagnostics} - _REFUSALS
        assert not other, f"{case.operator.name} on {case.base}: {error}"
        return False
    return True


def _choices(operator: type[Operator]) -> list[dict[str, Any]]:
    """Small defaults, then each other value of every option that is a choice, a switch or a number left open."""
    properties = fragment(operator)["properties"]
    required = fragment(operator)["required"]
    trials = {field.name: field.metadata["trials"] for field in dataclasses.fields(operator)}
    first = {name: values[0] for name, values in trials.items() if values}
    for name, schema in properties.items():
        if name in first:
            continue
        kinds = [schema, *schema.get("anyOf", ())]
        number = next((part for part in kinds if part.get("type") == "integer"), None)
        if number is not None:
            first[name] = max(3, number.get("minimum", 3))
        elif name in required:
            first[name] = _value(schema)
    others = [{**first, name: value} for name, values in trials.items() for value in values[1:]]
    for name, schema in properties.items():
        if trials[name]:
            continue
        if "enum" in schema:
            others += [
                {**first, name: value} for value in schema["enum"] if value != schema.get("default")
            ]
        elif schema.get("type") == "boolean":
            others.append({**first, name: not schema.get("default", False)})
        elif schema.get("type") == "number" and "default" not in schema:
            others.append({**first, name: _value(schema)})
    return [first, *others]


def _value(schema: Mapping[str, Any]) -> Any:
    """Some value that a schema allows."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "boolean":
        return True
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    return low + 1.5 if high == math.inf else (low + high) / 2


def _apply_by_definition(
    case: Case, compiled: deltac.Compiled, reference: LawsModel, index: int
) -> None:
    """Changes one block of a plain model as the operator's own function says, outside of any graph."""
    operator = case.operator(**dict(case.options))
    path = f"block.{index}"
    module, source = reference.get_submodule(path), dict(compiled.model.named_parameters())
    if case.operator.site == "weight":
        p = _namespace(source, f"{path}.law_", "law_")
        p.training = False
        flipped = isinstance(module, Conv1D)
        w = module.weight.detach().t() if flipped else module.weight.detach()
        changed = operator.weight(w, p)
        module.weight = nn.Parameter((changed.t() if flipped else changed).detach())
        if getattr(module, "bias", None) is not None:
            module.bias = nn.Parameter(operator.bias(module.bias.detach(), p).detach())
        return
    for name, parameter in reference.named_parameters():
        if name.startswith(f"{path}."):
            parameter.data = source[name].detach().clone()
    for name, inner in reference.named_modules():
        own = _namespace(source, f"{name}.law_")
        if name.startswith(path) and vars(own):
            inner.register_forward_hook(_output_hook(operator, own))


def _output_hook(operator: Operator, p: Any) -> Callable:
    def hook(module: nn.Module, args: tuple, out: Any) -> Any:
        y = operator.output(args[0], out[0] if isinstance(out, tuple) else out, p)
        return (y, *out[1:]) if isinstance(out, tuple) else y

    return hook


def _namespace(source: Mapping[str, torch.Tensor], *prefixes: str) -> SimpleNamespace:
    """The parameters whose names start with one of the prefixes: a site's own, and those that all sites share."""
    found = {
        name.removeprefix(prefix): p.detach()
        for name, p in source.items()
        for prefix in prefixes
        if name.startswith(prefix)
    }
    return SimpleNamespace(**found)


def _perturbed(compiled: deltac.Compiled) -> deltac.Compiled:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in compiled.parameters().values():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_((0.3 * noise).to(parameter.dtype))
    return compiled


def _tokens() -> torch.Tensor:
    return torch.arange(2 * _ROWS).reshape(4, 5) % _ROWS


def _run(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return model(input_ids=tokens).last_hidden_state


def _loss(model: nn.Module) -> torch.Tensor:
    """A loss of our own, with the penalty that belongs to it."""
    with torch.random.fork_rng(devices=[]):
        loss = model(input_ids=_tokens()).last_hidden_state.pow(2).sum()
    return loss + deltac.Compiled(model).penalty().to(loss.dtype)


def _values(compiled: deltac.Compiled) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in compiled.tensors().items()}


def _equal(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)
