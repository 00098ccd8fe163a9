"""Warnings: comments that silence them, and the options that select, ignore and promote them."""

import json
from pathlib import Path

import pytest
from cli_support import deltac

ALBERT = (
    "{model_type: albert, hidden_size: 32, embedding_size: 16, intermediate_size: 48, "
    "num_hidden_layers: 3, num_attention_heads: 4, vocab_size: 67}"
)
HEAD = f"version: 1\nname: shared\nmodel:\n  class: AutoModel\n  config: {ALBERT}\ndeltas:\n"
DELTA = "  - operator: lora\n    target: {module: query}COMMENT\n"
#: One DLT206 runs-several-times, on line 8.
SPEC = HEAD + DELTA
IGNORE = "# deltac: ignore[DLT206] ALBERT shares its layers"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def codes(verb, text, *options):
    """Exit code, and the code and severity of each diagnostic of a spec."""
    Path("a.delta.yaml").write_text(text)
    result = deltac(verb, "a.delta.yaml", "--output-format", "json", *options)
    text = result.out if verb == "validate" else result.err
    return result.code, [
        (each["code"], each["severity"]) for each in json.loads(text)["diagnostics"]
    ]


WARNING = [("DLT206", "warning")]
ERROR = [("DLT206", "error")]


@pytest.mark.parametrize("verb", ["validate", "plan", "compile"])
def test_a_warning_fails_nothing(verb):
    assert codes(verb, SPEC.replace("COMMENT", "")) == (0, WARNING)


@pytest.mark.parametrize("verb", ["validate", "plan", "compile"])
@pytest.mark.parametrize(
    "spec",
    [
        SPEC.replace("COMMENT", f"  {IGNORE}"),
        SPEC.replace("    target", f"    {IGNORE}\n    target").replace("COMMENT", ""),
        SPEC.replace("    target", f"\n{IGNORE}\n# more\n\n    target").replace("COMMENT", ""),
        SPEC.replace("COMMENT", "  # deltac: ignore[runs-several-times] shared on purpose"),
    ],
)
def test_a_comment_silences_it(verb, spec):
    assert codes(verb, spec) == (0, [])


def test_a_comment_elsewhere_silences_nothing():
    spec = SPEC.replace("COMMENT", "").replace("name: shared", f"name: shared  {IGNORE}")
    assert codes("validate", spec) == (0, [("DLT154", "warning"), *WARNING])


def test_what_no_model_was_asked_about_is_not_called_unused():
    spec = SPEC.replace("query}COMMENT", f"query}} {IGNORE}").replace(
        ALBERT, "{model_type: albert}"
    )
    spec = spec.replace("  config: {model_type: albert}", "  source: org/unheard-of")
    assert codes("validate", spec) == (0, [])


def test_an_error_is_not_silenced():
    spec = SPEC.replace("query}COMMENT", "qeury}  # deltac: ignore[DLT201] never mind")
    assert codes("validate", spec) == (1, [("DLT153", "error")])
    spec = SPEC.replace("query}COMMENT", f"[query, qeury]}}  {IGNORE}")
    assert codes("validate", spec) == (1, [("DLT201", "error")])


@pytest.mark.parametrize(
    ("options", "code", "found"),
    [
        (["--ignore", "DLT206"], 0, []),
        (["--ignore", "DLT209,runs-several-times"], 0, []),
        (["--ignore", "DLT209", "--ignore", "DLT206"], 0, []),
        (["--ignore", "DLT209"], 0, WARNING),
        (["--select", "DLT209"], 0, []),
        (["--select", "DLT209,DLT206"], 0, WARNING),
        (["--warn-as-error"], 1, ERROR),
        (["--warn-as-error", "--ignore", "DLT206"], 0, []),
        (["--warn-as-error", "--exit-zero"], 0, ERROR),
        (["--ignore", "DLT201"], 2, [("DLT841", "error")]),
        (["--ignore", "DLT206,nonsense"], 2, [("DLT835", "error")]),
        (["--select", "nonsense", "--exit-zero"], 2, [("DLT835", "error")]),
    ],
)
def test_options(options, code, found):
    if code == 2:  # the call is wrong: no verb runs, so stdout is empty
        result = deltac("validate", "x", *options)
        assert (result.code, result.out) == (2, "")
        assert f"error[{found[0][0]}]" in result.err
    else:
        assert codes("validate", SPEC.replace("COMMENT", ""), *options) == (code, found)


def test_exit_zero_and_select_leave_errors_as_they_are():
    spec = SPEC.replace("query}COMMENT", "qeury}")
    assert codes("validate", spec, "--select", "DLT206") == (1, [("DLT201", "error")])
    assert codes("validate", spec, "--exit-zero") == (0, [("DLT201", "error")])
    assert deltac("validate", "nowhere.yaml", "--exit-zero").code == 2


def test_a_build_with_promoted_warnings_writes_nothing(place):
    spec = SPEC.replace("COMMENT", "")
    assert codes("compile", spec, "--warn-as-error", "-o", "out") == (1, ERROR)
    assert not (place / "out").exists()
    assert codes("compile", spec, "-o", "out") == (0, WARNING)
    assert (place / "out").exists()


@pytest.mark.parametrize("form", ["concise", "github", "sarif", "junit"])
def test_other_formats_are_the_result_and_the_lines_per_file_go_beside(form):
    Path("a.delta.yaml").write_text(SPEC.replace("COMMENT", ""))
    result = deltac("validate", "--output-format", form, "a.delta.yaml", "a.delta.yaml")
    assert result.err == "a.delta.yaml: 1 warning (checked: schema and model)\n" * 2
    starts = {"concise": "a.delta.yaml:8:", "github": "::warning ", "sarif": "{", "junit": "<?xml"}
    assert result.out.startswith(starts[form])
    assert result.out.count("<?xml") + result.out.count('"$schema"') <= 1
