"""`deltac breaking`: each class is proved by loading a delta that was saved with the earlier spec."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from review_support import SPEC, change, commit, git
from tiny import logits, perturb, refused
from transformers import BertConfig, BertModel

import deltac as package
from deltac.review.compare import compare
from deltac.review.sides import Call, file_side

GOLDEN = Path(__file__).parent.parent / "golden" / "review"

ADAPTERS = SPEC + (
    "  - {name: first, operator: adapter, bottleneck: 3, overlap: true,\n"
    "     target: {module: layer.0.output.dense}}\n"
    "  - {name: second, operator: adapter, bottleneck: 3, overlap: true, init: zero,\n"
    "     target: {module: layer.0.output.dense}}\n"
)
_LINES = ADAPTERS.splitlines(keepends=True)
SWAPPED = "".join([*_LINES[:-4], *_LINES[-2:], *_LINES[-4:-2]])

#: LoRA where a change shows well in the results.
STRONG = SPEC.replace("self.query", "output.dense")


def swap(old, new, text=SPEC):
    assert old in text
    return text, text.replace(old, new)


#: Earlier and later spec, the code with which loading fails, the classes.
CHECKPOINT = {
    "rank": (*swap("rank: 2", "rank: 3"), "DLT722", {"CHECKPOINT", "MATH"}),
    "name": (*swap("name: low", "name: query"), "DLT721", {"CHECKPOINT"}),
    "dtype of the base": (*swap("  class:", "  dtype: bfloat16\n  class:"), "DLT717", {"CHECKPOINT"}),
    "width": (*swap("intermediate_size: 24", "intermediate_size: 32"), "DLT713", {"CHECKPOINT"}),
    "depth": (
        *swap("num_hidden_layers: 3", "num_hidden_layers: 4"),
        "DLT712",
        {"CHECKPOINT", "SITES"},
    ),
    "setting": (*swap("vocab_size", "hidden_act: relu, vocab_size"), "DLT714", {"CHECKPOINT"}),
    "heads": (*swap("num_labels: 3", "num_labels: 4"), "DLT722", {"CHECKPOINT", "META"}),
    "more heads": (
        *swap("heads: classifier", "heads: [classifier, pooler]"),
        "DLT721",
        {"CHECKPOINT"},
    ),
    "seed of a random base": (*swap("version: 1", "version: 1\nseed: 1"), "DLT716", {"CHECKPOINT"}),
    "more sites": (
        *swap("self.query", "[self.query, self.key]"),
        "DLT721",
        {"CHECKPOINT", "SITES"},
    ),
    "fewer sites": (
        *swap("{module: self.query}", "{module: self.query, layers: 1-2}"),
        "DLT721",
        {"CHECKPOINT", "SITES"},
    ),
    "fewer tuned": (*swap("last 1", "-1, parameter: bias"), "DLT721", {"CHECKPOINT", "SITES"}),
    "operator": (
        *swap("operator: lora\n    target: {module: self.query}\n    rank: 2\n    alpha: 4",
              "operator: tune\n    target: {module: self.query}"),
        "DLT721",
        {"CHECKPOINT", "MATH", "SITES"},
    ),
}  # fmt: skip

MATH = {
    "alpha": (*swap("alpha: 4", "alpha: 8", STRONG), {"MATH"}),
    "no alpha": (*swap("    alpha: 4\n", "", STRONG), {"MATH"}),
    "alpha in one layer": (
        *swap("alpha: 4", "alpha: 4\n    overrides: [{layers: 1, alpha: 6}]", STRONG),
        {"MATH"},
    ),
    "scaling": (*swap("alpha: 4", "alpha: 4\n    scaling: rank-stabilized", STRONG), {"MATH"}),
    "activation": (*swap("init: zero", "activation: gelu, init: zero", ADAPTERS), {"MATH"}),
    "order": (ADAPTERS, SWAPPED, {"MATH"}),
}

META = {
    "texts": (*swap("name: tiny", "name: other\ndescription: More."), {"META"}),
    "budget": (*swap("\nheads:", "\nbudget: {trainable: 9%, bytes: 1MB}\nheads:"), {"META"}),
    "dropout": (*swap("alpha: 4", "alpha: 4\n    dropout: 0.5"), {"META"}),
    "initial values": (*swap("alpha: 4", "alpha: 4\n    init: gaussian"), {"META"}),
    "name of a tuned delta": (*swap("name: norms", "name: last"), {"META"}),
    "order where nothing meets": (
        SPEC,
        SPEC[: SPEC.index("  - name: low")]
        + SPEC[SPEC.index("  - name: norms") :]
        + SPEC[SPEC.index("  - name: low") : SPEC.index("  - name: norms")],
        {"META"},
    ),
    "labels": (*swap("num_labels: 3", "num_labels: 3, problem_type: regression"), {"META"}),
    "a parameter tuned twice": (
        SPEC,
        SPEC + "  - {operator: tune, target: {class: LayerNorm, layers: -1, parameter: bias}}\n",
        {"SITES"},
    ),
    "another writing": (*swap("alpha: 4", "alpha: 4.0"), set()),
}


def classes(folder, before, after):
    """The classes that deltac gives the change."""
    for name, text in (("before", before), ("after", after)):
        (folder / f"{name}.delta.yaml").write_text(text)
    sides = [file_side(folder / f"{name}.delta.yaml", Call()) for name in ("before", "after")]
    return compare(*sides).classes


def saved(folder, text):
    """A delta trained with a spec, and the logits of its model."""
    compiled = perturb(package.compile(text))
    compiled.save(folder / "built")
    return folder / "built", logits(compiled.model.eval())


def put_under(built, text):
    """Puts another spec into an artifact, as if the delta had been saved with that one."""
    manifest = json.loads((built / "manifest.json").read_text())
    (built / "spec.delta.yaml").write_text(text)
    manifest["spec"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (built / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("case", CHECKPOINT.values(), ids=CHECKPOINT)
def test_checkpoint_means_that_loading_fails(folder, case):
    before, after, code, expected = case
    assert classes(folder, before, after) == expected
    built, _ = saved(folder, before)
    put_under(built, after)
    assert refused(lambda: package.load(built), code)


@pytest.mark.parametrize("case", MATH.values(), ids=MATH)
def test_math_means_other_results(folder, case):
    before, after, expected = case
    assert classes(folder, before, after) == expected
    built, results = saved(folder, before)
    put_under(built, after)
    others = logits(package.load(built).model.eval())
    assert not torch.allclose(results, others, atol=1e-4)


@pytest.mark.parametrize("case", META.values(), ids=META)
def test_meta_means_the_same_bits(folder, case):
    before, after, expected = case
    assert classes(folder, before, after) == expected
    built, results = saved(folder, before)
    put_under(built, after)
    assert torch.equal(logits(package.load(built).model.eval()), results)


def test_the_whole_text(changed, deltac, golden):
    done = deltac("breaking", "--against", "HEAD")
    assert (done.code, done.err) == (1, "")
    golden(GOLDEN / "breaking.txt", done.out)


def test_the_whole_markdown(changed, deltac, golden):
    done = deltac("breaking", "--against", "HEAD", "--format", "markdown")
    assert done.code == 1
    golden(GOLDEN / "breaking.md", done.out)


def test_json(changed, deltac):
    data = json.loads(deltac("breaking", "--against", "HEAD", "--format", "json").out)
    assert (data["version"], data["failed"]) == (1, True)
    states = {row["path"]: (row["state"], row["classes"]) for row in data["specs"]}
    assert states == {
        "a.delta.yaml": ("compared", ["CHECKPOINT", "MATH", "META", "SITES"]),
        "new.delta.yaml": ("new", ["META"]),
        "same.delta.yaml": ("unchanged", []),
        "sub/moved.delta.yaml": ("compared", []),
        "gone.delta.yaml": ("deleted", ["CHECKPOINT", "SITES"]),
    }


@pytest.mark.parametrize(
    ("edit", "fail_on", "code"),
    [
        (("alpha: 4", "alpha: 8"), None, 1),
        (("alpha: 4", "alpha: 8"), "CHECKPOINT,SITES", 0),
        (("alpha: 4", "alpha: 8"), "math", 1),
        (("alpha: 4", "alpha: 4\n    dropout: 0.1"), None, 0),
        (("alpha: 4", "alpha: 4\n    dropout: 0.1"), "META", 1),
        (("rank: 2", "rank: 3"), "CHECKPOINT", 1),
        (("rank: 2", "rank: 2  # as before"), "CHECKPOINT,MATH,SITES,META", 0),
        (("rank: 2", "rank: 2"), "OTHER", 2),
    ],
)
def test_the_exit_code(repository, deltac, edit, fail_on, code):
    change(repository, *edit)
    words = ["--fail-on", fail_on] if fail_on else []
    assert deltac("breaking", "--against", "v1", "a.delta.yaml", *words).code == code


def test_against_a_file_a_folder_and_an_artifact(folder, deltac):
    (folder / "a.delta.yaml").write_text(SPEC)
    (folder / "then").mkdir()
    (folder / "then" / "a.delta.yaml").write_text(SPEC)
    (folder / "then" / "b.delta.yaml").write_text(SPEC.replace("name: tiny", "name: b"))
    deltac("compile", "a.delta.yaml", "-o", "built")
    change(folder, "alpha: 4", "alpha: 8")
    for against in ("then/a.delta.yaml", "then", "built"):
        done = deltac("breaking", "--against", against, "a.delta.yaml")
        assert "  MATH              delta low: ~ alpha: 4 -> 8\n" in done.out
        assert done.code == 1
    (folder / "now").mkdir()
    (folder / "a.delta.yaml").rename(folder / "now" / "a.delta.yaml")
    out = deltac("breaking", "--against", "then", "now").out
    assert "now/a.delta.yaml: changed\n" in out
    assert "now/b.delta.yaml: deleted (CHECKPOINT SITES)" in out


def test_a_version_that_was_at_fault_may_have_broken_anything(repository, deltac):
    change(repository, "self.query", "self.qeury")
    commit("fault")
    change(repository, "self.qeury", "self.query")
    done = deltac("breaking", "--against", "HEAD")
    assert done.code == 1
    assert "unknown (CHECKPOINT), the earlier version can't be planned now: DLT201" in done.out


def test_a_spec_at_fault_now_is_an_error(repository, deltac):
    (repository / "b.delta.yaml").write_text(SPEC.replace("name: tiny", "name: b"))
    commit("another")
    change(repository, "self.query", "self.qeury")
    change(repository, "alpha: 4", "alpha: 8", "b.delta.yaml")
    done = deltac("breaking", "--against", "HEAD", "--fail-on", "META")
    assert done.code == 1
    assert "error[DLT201]" in done.err
    # The others are compared all the same.
    assert "a.delta.yaml: faulty (CHECKPOINT), it can't be compared: DLT201" in done.out
    assert "  MATH              delta low: ~ alpha: 4 -> 8\n" in done.out


def test_without_specs_those_of_the_settings(repository, deltac):
    (repository / "kept").mkdir()
    (repository / "a.delta.yaml").rename(repository / "kept" / "a.delta.yaml")
    (repository / "deltac.toml").write_text('specs = ["kept"]')
    commit("settings")
    (repository / "elsewhere.delta.yaml").write_text(SPEC)
    change(repository, "alpha: 4", "alpha: 8", "kept/a.delta.yaml")
    for verb in ("breaking", "diff"):
        data = json.loads(deltac(verb, "--against", "HEAD", "--format", "json").out)
        assert [row["path"] for row in data["specs"]] == ["kept/a.delta.yaml"]


def test_out_of_reach_every_option_may_break(repository, deltac):
    model = SPEC[SPEC.index("model:") : SPEC.index("heads: classifier")]
    text = SPEC.replace(model, "model: {source: ./nowhere}\n")
    (repository / "a.delta.yaml").write_text(text)
    commit("folder")
    (repository / "a.delta.yaml").write_text(text.replace("alpha: 4", "alpha: 5"))
    done = deltac("breaking", "--against", "HEAD")
    assert "compared as text only: HEAD:a.delta.yaml: DLT804" in done.out
    assert "  CHECKPOINT MATH   delta low: ~ alpha: 4 -> 5\n" in done.out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--against", "nowhere"], "DLT612"),
        (["--against", "v1", "b.delta.yaml"], "DLT831"),
        (["--against", "v1", "empty"], "DLT832"),
        (["--against", "main"], "DLT614"),
    ],
)
def test_a_slip_in_the_call_is_no_good_result(repository, deltac, words, code):
    (repository / "empty").mkdir()
    (repository / "main").mkdir()
    done = deltac("breaking", *words)
    assert (done.code, done.out) == (2, "")
    assert f"error[{code}]" in done.err


def test_a_deleted_file_can_be_named(repository, deltac):
    git("rm", "-q", "a.delta.yaml")
    assert deltac("breaking", "--against", "v1", "a.delta.yaml").code == 1


def test_the_seed_of_a_base_with_weights_matters_at_the_start_alone(folder):
    """The base's weights come from its checkpoint, a saved delta's from its file."""
    values = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
    values |= {"num_attention_heads": 2, "max_position_embeddings": 32, "vocab_size": 31}
    BertModel(BertConfig(**values)).save_pretrained(folder / "base")
    model = SPEC[SPEC.index("model:") : SPEC.index("heads: classifier")]
    source = "model: {source: ./base, class: AutoModelForSequenceClassification}\n"
    before = SPEC.replace(model, source)
    after = before.replace("version: 1", "version: 1\nseed: 5")
    assert classes(folder, before, after) == {"META"}
    built, results = saved(folder, before)
    put_under(built, after)
    shutil.copytree(folder / "base", built / "base")  # a relative source starts from the artifact
    assert torch.equal(logits(package.load(built).model.eval()), results)
    # A tensor that is not trained is drawn again from the seed.
    sides = [file_side(folder / f"{name}.delta.yaml", Call()) for name in ("before", "after")]
    sides[1].manifest["tensors"][0]["trainable"] = False
    assert compare(*sides).classes == {"MATH"}


def test_a_base_in_git_is_that_of_its_time(repository, deltac):
    (repository / "base.yaml").write_text(SPEC)
    (repository / "a.delta.yaml").write_text("version: 1\nextends: base.yaml\n")
    commit("split")
    assert deltac("breaking", "--against", "v1").code == 0
    (repository / "base.yaml").write_text(SPEC.replace("alpha: 4", "alpha: 8"))
    done = deltac("breaking", "--against", "HEAD", "a.delta.yaml")
    assert done.code == 1
    assert "delta low: ~ alpha: 4 -> 8" in done.out
