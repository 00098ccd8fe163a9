"""`deltac diff --against`: the specs that changed, whichever of their files did; and the published forms as JSON."""

import json
from pathlib import Path

import jsonschema
import pytest
from review_support import SPEC, as_hub_spec, change, commit, hub_config

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "review"
EXTENDING = "version: 1\nextends: base.yaml\n"


def test_the_whole_text(changed, deltac, golden):
    done = deltac("diff", "--against", "HEAD")
    assert (done.code, done.err) == (0, "")
    golden(GOLDEN / "changes.txt", done.out)


def test_the_whole_markdown(changed, deltac, golden):
    done = deltac("diff", "--against", "HEAD", "--format", "markdown", "--exit-code")
    assert done.code == 1
    golden(GOLDEN / "changes.md", done.out)


def test_nothing_changed(repository, deltac):
    done = deltac("diff", "--against", "HEAD", "--exit-code")
    assert (done.code, done.out) == (0, "1 spec compared with HEAD: none changed\n")


def test_what_is_the_same_in_git_is_not_planned(changed, deltac, monkeypatch):
    monkeypatch.setattr("deltac.prepare.prepare", None)
    done = deltac("diff", "--against", "HEAD", "same.delta.yaml")
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("spec", "beside", "edit"),
    [
        (EXTENDING, {"base.yaml": SPEC}, ("alpha: 4", "alpha: 8", "base.yaml")),
        (
            "version: 1\nextends: shared/middle.yaml\n",
            {"shared/middle.yaml": "extends: ../base.yaml\n", "base.yaml": SPEC},
            ("alpha: 4", "alpha: 8", "base.yaml"),
        ),
        (
            as_hub_spec(),
            {"bert.json": hub_config()},
            ('"num_hidden_layers": 3', '"num_hidden_layers": 4', "bert.json"),
        ),
    ],
    ids=["a base", "a base of a base", "the config file"],
)
def test_a_change_of_another_file_shows(repository, deltac, spec, beside, edit):
    for name, text in beside.items():
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(text)
    (repository / "b.delta.yaml").write_text(spec)
    commit("two files")
    change(repository, *edit)
    states = {
        row["path"]: row["state"]
        for row in json.loads(deltac("diff", "--against", "HEAD", "--format", "json").out)["specs"]
    }
    assert states == {"a.delta.yaml": "unchanged", "b.delta.yaml": "compared"}
    text = deltac("diff", "--against", "HEAD").out
    assert text.startswith("HEAD:b.delta.yaml -> b.delta.yaml\n\n")
    assert text.endswith("2 specs compared with HEAD: 1 changed\n")


def test_a_spec_at_fault_hides_no_other(changed, deltac):
    change(changed, "self.query", "self.qeury", "new.delta.yaml")
    done = deltac("diff", "--against", "HEAD")
    assert done.code == 1
    assert "error[DLT201]" in done.err
    assert "new.delta.yaml: faulty (CHECKPOINT), it can't be compared: DLT201" in done.out
    assert "  ~ alpha: 4 -> 8\n" in done.out


@pytest.mark.parametrize("words", [["a.delta.yaml"], ["a", "b", "c"], []])
def test_two_specs_or_an_earlier_state(repository, deltac, words):
    done = deltac("diff", *words)
    assert done.code == 2
    assert "--against" in done.err


def published(name):
    schema = json.loads((ROOT / "schemas" / f"deltac-{name}.v1.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def test_changes_as_json_follow_their_schema(changed, deltac):
    change(changed, "self.query", "self.qeury", "same.delta.yaml")
    valid = published("changes")
    for words in (["diff"], ["breaking"], ["breaking", "--fail-on", "META"]):
        data = json.loads(deltac(*words, "--against", "HEAD", "--format", "json").out)
        assert list(valid.iter_errors(data)) == []
        assert {row["state"] for row in data["specs"]} == {"compared", "new", "deleted", "faulty"}
    row = data["specs"][0]
    assert not valid.is_valid({**data, "specs": [{**row, "state": "new"}]})
    assert not valid.is_valid({**data, "specs": [{**row, "state": "other"}]})
    del row["differences"]
    assert not valid.is_valid(data)


def test_a_difference_as_json_follows_its_schema(changed, deltac):
    valid = published("diff")
    text = (changed / "a.delta.yaml").read_text()
    start, end = text.index("model:"), text.index("\nheads:")
    (changed / "far.delta.yaml").write_text(
        text[:start] + "model: {source: ./nowhere}" + text[end:]
    )
    levels = []
    for other in ("a.delta.yaml", "far.delta.yaml"):
        done = deltac("diff", "HEAD:a.delta.yaml", other, "--format", "json")
        data = json.loads(done.out)
        assert list(valid.iter_errors(data)) == []
        assert data["differences"]
        levels.append(data["level"])
    assert levels == ["plan", "text"]
    assert not valid.is_valid({**data, "level": "other"})
    assert not valid.is_valid({**data, "version": 2})
