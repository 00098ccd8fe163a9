"""Project settings: where they are found, what they may say, and what they ask of a spec."""

import pytest

from deltac.diagnostics import DeltacError
from deltac.spec import installed, validate
from deltac.spec.settings import find_settings

LORA = "version: 1\ndeltas:\n  - {operator: lora, target: {module: q_proj}, rank: 4}\n"
FULL = """
specs = ["specs", "more/a.delta.yaml"]
plugins = ["theirs"]
require-model = true
select = ["DLT206"]
ignore = ["DLT206"]
[policy]
operators = ["lora", "bitfit"]
max-rank = 16
pinned-revisions = true
budget = {trainable = "2%", bytes = "1MB"}
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "specs").mkdir()
    (tmp_path / ".git").mkdir()
    return tmp_path


def settings_of(project, text, name="deltac.toml"):
    (project / name).write_text(text)
    return find_settings(project / "specs")


def refused(project, text, name="deltac.toml"):
    with pytest.raises(DeltacError) as error:
        settings_of(project, text, name)
    assert error.value.exit_code == 2
    return error.value.diagnostics


def found(project, spec):
    path = project / "specs" / "a.delta.yaml"
    path.write_text(spec)
    return validate(path)


def codes(project, spec):
    return [each.code for each in found(project, spec)]


def test_all_of_them(project):
    settings = settings_of(project, FULL)
    assert settings.specs == ("specs", "more/a.delta.yaml")
    assert settings.limits.operators == ("lora", "bitfit")
    assert settings.limits.max_rank == 16
    assert settings.limits.budget.trainable_percent == 2
    assert settings.limits.budget.bytes == 10**6
    assert (settings.require_model, settings.ignore) == (True, ("DLT206",))


def test_pyproject_and_the_nearest_folder(project):
    text = "[project]\nname = 'x'\n[tool.deltac]\nspecs = ['specs']\n"
    assert settings_of(project, text, "pyproject.toml").specs == ("specs",)
    (project / "specs" / "deltac.toml").write_text("specs = ['.']\n")
    assert find_settings(project / "specs").specs == (".",)
    assert find_settings(project).specs == ("specs",)


def test_other_projects_files_do_not_matter(project):
    assert settings_of(project, "not = [toml", "pyproject.toml") is None
    (project.parent / "deltac.toml").write_text(FULL)
    assert find_settings(project / "specs") is None, "the repository ends the search"
    (project.parent / "deltac.toml").unlink()


def test_two_files_in_one_folder(project):
    (project / "pyproject.toml").write_text("[tool.deltac]\n")
    assert [each.code for each in refused(project, "")] == ["DLT873"]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("not = [toml", "DLT871", "is not TOML"),
        ("spec = []", "DLT872", "did you mean `specs`?"),
        ("[policy]\nmax_rank = 3", "DLT872", "did you mean `max-rank`?"),
        ("specs = 'a'", "DLT874", "expected a list of texts"),
        ("require-model = 1", "DLT874", "expected true or false"),
        ("policy = 3", "DLT874", "expected a table"),
        ("[policy]\nmax-rank = 0", "DLT874", "expected an integer of at least 1"),
        ("[policy]\nmax-rank = true", "DLT874", "expected an integer"),
        ("[policy]\nbudget = {trainable = 'lots'}", "DLT874", "a count or a percentage"),
        ("[policy]\nbudget = {}", "DLT874", "expected a table such as"),
    ],
)
def test_bad_settings(project, text, code, words):
    (diagnostic,) = refused(project, text)
    assert diagnostic.code == code
    assert words in diagnostic.message + (diagnostic.fix or "")
    assert codes(project, LORA) == [code], "a spec there says so too"


def test_the_place_of_a_bad_setting(project):
    (diagnostic,) = refused(project, "\n[policy]\nmax-rank = 0\n")
    assert (diagnostic.span.start.line, diagnostic.span.text) == (3, "max-rank ")


def test_limits(project):
    settings_of(project, FULL)
    assert codes(project, LORA) == []
    other = LORA.replace("lora", "adapter").replace(", rank: 4", "")
    assert codes(project, other) == ["DLT141"]
    assert codes(project, LORA.replace("4", "17")) == ["DLT142"]
    override = "rank: 4, overrides: [{layers: 0, rank: 17}]"
    (diagnostic,) = found(project, LORA.replace("rank: 4", override))
    assert diagnostic.span.text == "17"
    assert "`policy.max-rank` in " in diagnostic.notes[0]
    assert "deltac.toml" in diagnostic.notes[0]


def test_a_default_rank_counts(project):
    settings_of(project, "[policy]\nmax-rank = 2")
    assert codes(project, LORA.replace(", rank: 4", "")) == ["DLT142"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("{source: a/b}", ["DLT143"]),
        ("{source: a/b, revision: main}", ["DLT143"]),
        (f"{{source: a/b, revision: {'a1' * 20}}}", []),
        ("{source: ./b}", []),
        ("{source: package:a/b}", []),
        ("{config: {model_type: bert}}", []),
    ],
)
def test_pinned_revisions(project, model, expected):
    settings_of(project, "[policy]\npinned-revisions = true")
    assert codes(project, LORA + f"model: {model}\n") == expected


def test_plugins_that_are_not_named_are_not_imported(project, monkeypatch):
    class Point:
        name = "theirs"

        class dist:
            name = "their-package"

    monkeypatch.setattr(installed, "entry_points", lambda group: [Point()])
    settings_of(project, "plugins = []")
    path = project / "specs" / "a.delta.yaml"
    path.write_text(LORA.replace("lora", "theirs").replace(", rank: 4", ""))
    asked = []
    fragment = {"description": "Theirs.", "properties": {}, "required": []}
    hook = {"extra_fragment": lambda name: asked.append(name) or fragment}
    assert [each.code for each in validate(path, **hook)] == ["DLT144"]
    assert asked == []
    settings_of(project, 'plugins = ["their-package"]')
    assert validate(path, **hook) == []
    assert asked == ["theirs"]
