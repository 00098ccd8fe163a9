"""`deltac lock`, `lock --check` and `--locked`."""

import re
from pathlib import Path

import huggingface_hub.constants
import jsonschema
import pytest
import yaml
from review_support import SPEC, as_hub_spec, hub_config

from deltac.review.lock import lock_path
from deltac.review.lock_schema import schema

GOLDEN = Path(__file__).parent.parent / "golden" / "review"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def locked(folder, deltac):
    """A folder with the tiny spec and its lock."""
    (folder / "a.delta.yaml").write_text(SPEC)
    assert deltac("lock", "a.delta.yaml").out == "a.delta.lock: written\n"
    return folder


def change(folder, old, new, name="a.delta.yaml"):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def masked(text):
    """Without what changes with every release: hashes and versions."""
    text = re.sub(r"[0-9a-f]{64}", "HASH", text)
    return re.sub(r"^(  (?:deltac|transformers): ).*", r"\1VERSION", text, flags=re.MULTILINE)


def test_the_whole_lock(locked, golden):
    text = (locked / "a.delta.lock").read_text()
    golden(GOLDEN / "tiny.delta.lock", masked(text))
    jsonschema.Draft7Validator(schema()).validate(yaml.safe_load(text))


def test_the_same_spec_gives_the_same_bytes(locked, deltac):
    before = (locked / "a.delta.lock").read_bytes()
    assert deltac("lock", ".").out == "a.delta.lock: unchanged\n"
    change(locked, "    rank: 2\n    alpha: 4\n", "    alpha: 4.0   # the same\n    rank: 2\n")
    deltac("lock", ".")
    assert (locked / "a.delta.lock").read_bytes() == before


def test_a_fresh_lock_passes_everywhere(locked, deltac):
    before = {path: path.read_bytes() for path in locked.iterdir()}
    assert deltac("lock", "--check", ".").out == "a.delta.yaml: the lock is fresh\n"
    assert deltac("validate", "--locked", "a.delta.yaml").code == 0
    assert deltac("plan", "--locked", "a.delta.yaml").code == 0
    assert {path: path.read_bytes() for path in locked.iterdir()} == before
    built = deltac("compile", "--locked", "a.delta.yaml")
    assert built.code == 0
    assert "DLT" not in built.err


def test_another_glob_shows_as_changed_lines(locked, deltac):
    change(locked, "module: self.query", "module: [self.query, layer.*.output.dense]")
    done = deltac("lock", "--check", ".")
    assert (done.code, done.out) == (1, "")
    assert "error[DLT602] lock-stale: a.delta.lock differs" in done.err
    line = "bert.encoder.layer.{0-2}.output.dense.weight  A[2, 24] B[16, 2] float32  ×3  240"
    assert f"= note: +    - {line}" in done.err
    assert "= note: -  sites: 3\n" in done.err
    assert "query" not in done.err  # what stays is not shown


@pytest.mark.parametrize("verb", ["validate", "plan", "compile"])
def test_locked_fails_and_writes_nothing(locked, deltac, verb):
    change(locked, "alpha: 4", "alpha: 8")
    before = sorted(locked.rglob("*"))
    done = deltac(verb, "--locked", "a.delta.yaml")
    assert done.code == 1
    assert "error[DLT602]" in done.err
    assert "= note: -      alpha: 4\n" in done.err
    assert sorted(locked.rglob("*")) == before


def test_compile_leaves_a_stale_lock_and_warns(locked, deltac):
    change(locked, "alpha: 4", "alpha: 8")
    before = (locked / "a.delta.lock").read_bytes()
    done = deltac("compile", "a.delta.yaml")
    assert done.code == 0
    assert "warning[DLT605] lock-behind: a.delta.lock differs" in done.err
    assert (locked / "a.delta.lock").read_bytes() == before
    (locked / "a.delta.lock").unlink()
    assert "DLT" not in deltac("compile", "a.delta.yaml").err


def test_a_missing_lock(folder, deltac):
    (folder / "a.delta.yaml").write_text(SPEC)
    done = deltac("lock", "--check", ".")
    assert done.code == 1
    assert done.err.startswith("error[DLT601] lock-missing: there is no a.delta.lock\n")


@pytest.mark.parametrize(
    "text", ["<<<<<<< ours\n", "lock: 2\n", "[1, 2]\n", "a: [\n", "\0", "lock: 1\nname: [x]\n"]
)
def test_a_lock_that_is_none(locked, deltac, text):
    (locked / "a.delta.lock").write_text(text)
    done = deltac("lock", "--check", ".")
    assert done.code == 1
    assert "error[DLT604] lock-unreadable" in done.err
    assert deltac("lock", ".").out == "a.delta.lock: written\n"
    assert deltac("lock", "--check", ".").code == 0


def test_line_endings_and_versions_make_no_lock_stale(locked, deltac):
    text = (locked / "a.delta.lock").read_text()
    text = re.sub("transformers: .*", "transformers: 5.0.0", text)
    (locked / "a.delta.lock").write_bytes(text.replace("\n", "\r\n").encode())
    assert deltac("lock", "--check", ".").code == 0
    change(locked, "seed: 0", "seed: 1", "a.delta.lock")
    done = deltac("lock", "--check", ".")
    assert "= note: -seed: 1\n  = note: +seed: 0\n" in done.err.replace(" = note", "  = note")
    assert "the lock was made with deltac 0.1.0, transformers 5.0.0; this is" in done.err


def test_a_faulty_spec_writes_no_lock(folder, deltac):
    (folder / "a.delta.yaml").write_text(SPEC.replace("self.query", "self.qeury"))
    (folder / "b.delta.yaml").write_text(SPEC)
    done = deltac("lock", ".")
    assert (done.code, done.out) == (1, "b.delta.lock: written\n")
    assert "error[DLT201]" in done.err
    assert not (folder / "a.delta.lock").exists()


@pytest.fixture
def hub(folder, monkeypatch):
    """A spec on a hub id, and a cache that knows its branch."""
    (folder / "bert.json").write_text(hub_config())
    (folder / "a.delta.yaml").write_text(as_hub_spec())
    repo = folder / "hub" / "models--tiny--bert"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(hub_config())
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    return repo


def test_a_branch_is_resolved_to_a_commit(hub, folder, deltac):
    deltac("lock", ".")
    assert f"  commit: {COMMIT}\n" in (folder / "a.delta.lock").read_text()
    assert deltac("lock", "--check", ".").code == 0
    # Where the cache knows nothing, the lock's commit stands; a write does not take it out.
    moved = hub.rename(hub.with_name("elsewhere"))
    assert deltac("lock", "--check", ".").code == 0
    assert deltac("lock", ".").out == "a.delta.lock: unchanged\n"
    moved.rename(hub)
    # The branch moves: what was locked is not what a build would take.
    other = COMMIT[::-1]
    (hub / "snapshots" / COMMIT).rename(hub / "snapshots" / other)
    (hub / "refs" / "main").write_text(other)
    done = deltac("lock", "--check", ".")
    assert done.code == 1
    assert f"= note: +  commit: {other}" in done.err


def test_an_unpinned_source_is_refused(hub, folder, deltac):
    (hub / "refs" / "main").unlink()
    done = deltac("lock", ".")
    assert done.code == 0
    assert "warning[DLT606] lock-unpinned" in done.err
    for words in (["lock", "--check"], ["validate", "--locked"], ["plan", "--locked"]):
        done = deltac(*words, "a.delta.yaml")
        assert done.code == 1
        assert "error[DLT603] source-unpinned" in done.err
    (folder / "a.delta.yaml").write_text(as_hub_spec(f", revision: {COMMIT}"))
    assert deltac("lock", ".").err == ""
    assert deltac("lock", "--check", ".").code == 0


def test_where_the_lock_lies():
    names = {"a.delta.yaml": "a.delta.lock", "b.yml": "b.delta.lock", "c": "c.delta.lock"}
    for spec, lock in names.items():
        assert lock_path(Path("x", spec)) == Path("x", lock)


def test_standard_input_has_no_lock(deltac):
    assert deltac("lock", "-").code == 2


def test_a_lock_holds_the_variables_it_was_made_with(folder, deltac):
    text = SPEC.replace("alpha: 4", "alpha: ${alpha}")
    text += "vars: {alpha: null, unit: null}\ndescription: ${unit}\n"
    (folder / "a.delta.yaml").write_text(text)
    values = ["--set", "alpha=4", "--set", "unit=a"]
    assert deltac("lock", "a.delta.yaml").code == 1  # nobody sets them
    assert not (folder / "a.delta.lock").exists()
    assert deltac("lock", "a.delta.yaml", *values).out == "a.delta.lock: written\n"
    lock = yaml.safe_load((folder / "a.delta.lock").read_text())
    assert lock["variables"] == {"alpha": 4, "unit": "a"}
    jsonschema.Draft7Validator(schema()).validate(lock)
    assert deltac("lock", "--check", "a.delta.yaml", *values).code == 0
    for verb in ("validate", "plan", "compile"):
        assert deltac(verb, "--locked", "a.delta.yaml", *values).code == 0
    for words in (["lock", "--check"], ["validate", "--locked"], ["plan", "--locked"]):
        done = deltac(*words, "a.delta.yaml", "--set", "alpha=8", "--set", "unit=a")
        assert done.code == 1
        assert "error[DLT602]" in done.err
        assert "= note: -  alpha: 4\n = note: +  alpha: 8\n" in done.err


def test_a_lock_under_another_root(folder, deltac):
    (folder / "base.yaml").write_text(SPEC)
    (folder / "deep").mkdir()
    (folder / "deep" / "a.delta.yaml").write_text("version: 1\nextends: ../base.yaml\n")
    assert "error[DLT132]" in deltac("lock", "deep").err
    assert deltac("lock", "deep", "--root", ".").out == "deep/a.delta.lock: written\n"
    for words in (["lock", "--check"], ["validate", "--locked"], ["plan", "--locked"]):
        assert deltac(*words, "deep/a.delta.yaml", "--root", ".").code == 0
        assert "error[DLT132]" in deltac(*words, "deep/a.delta.yaml").err


def test_a_lock_whose_spec_is_gone(locked, deltac):
    (locked / "deep").mkdir()
    for name in ("b.delta.lock", "deep/c.delta.lock", "deep/d.delta.lock"):
        (locked / name).write_bytes((locked / "a.delta.lock").read_bytes())
    (locked / "deep" / "d.yml").write_text(SPEC)  # no `.delta.yaml`, and still a spec by its name
    done = deltac("lock", "--check", ".")
    assert (done.code, done.out) == (1, "a.delta.yaml: the lock is fresh\n")
    assert done.err.count("error[DLT607] lock-without-spec: ") == 2
    assert ": b.delta.lock is the lock of no spec" in done.err
    assert ": deep/c.delta.lock is the lock of no spec" in done.err
    assert deltac("lock", "--check", "a.delta.yaml").code == 0
    # The last spec of a folder: no spec is left, and the lock is named all the same.
    (locked / "a.delta.yaml").unlink()
    done = deltac("lock", "--check", ".")
    assert "error[DLT832]" in done.err
    assert ": a.delta.lock is the lock of no spec" in done.err
    assert deltac("lock", ".").err.count("DLT607") == 0


def test_the_layers_of_places_inside_of_a_block(folder, deltac):
    base = SPEC[: SPEC.index("  - name: low")]
    delta = "  - {operator: pals, target: {role: block}, width: 4, heads: 2}\n"
    (folder / "a.delta.yaml").write_text(base + delta)
    assert deltac("lock", "a.delta.yaml").code == 0
    lock = yaml.safe_load((folder / "a.delta.lock").read_text())
    assert lock["deltas"][0]["layers"] == ["bert.encoder.layer  3 of 3"]
