"""`deltac validate` with options that make it stricter or quieter than it may be."""

from cli_support import GOOD, deltac


def test_an_error_can_not_be_ignored(tmp_path):
    (tmp_path / "good.delta.yaml").write_text(GOOD)
    result = deltac("validate", "--ignore", "DLT201", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error[DLT841] not-a-warning: DLT201 no-match is an error")


def test_a_model_that_can_not_be_checked_fails_where_it_must_be(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    file = tmp_path / "far.delta.yaml"
    file.write_text(
        "version: 1\nmodel: {source: no/such}\ndeltas:\n  - {operator: lora, target: {module: q}}\n"
    )
    assert deltac("validate", file).code == 0
    result = deltac("validate", "--require-model", file)
    assert result.code == 2
    assert "error[DLT842] model-not-checked: " in result.err
