"""`deltac validate` against the model: what is reached offline, what is said where it isn't, what is remembered."""

import importlib.util
import json
import os
import socket
import subprocess
import sys

import pytest
from cli_support import BAD, GOOD, deltac

import deltac.cli._check_model as level_2
from deltac.cli._cache import Cache, cache_folder, key_of

BERT = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 67,
}
ON_BERT = "version: 1\nmodel: {MODEL}\ndeltas:\n  - {operator: lora, target: {module: query}}\n"
WHOLE = "checked: schema and model"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty folder to work in, a cache of its own, and no network."""

    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def write(place, text, name="a.delta.yaml"):
    (place / name).write_text(text)
    return name


def on_bert(model):
    return ON_BERT.replace("{MODEL}", model)


def kept(tmp_path):
    return sorted((tmp_path / "cache" / "deltac" / "validate").glob("*"))


def test_a_config_in_the_spec(place):
    assert deltac("validate", write(place, GOOD)) == (0, f"a.delta.yaml: ok ({WHOLE})\n", "")


def test_a_fault_that_only_the_model_shows(place):
    result = deltac("validate", write(place, BAD))
    assert (result.code, result.out) == (1, f"a.delta.yaml: 1 error ({WHOLE})\n")
    assert result.err.startswith("error[DLT201] no-match: ")
    assert " --> a.delta.yaml:" in result.err


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("{source: ./base}", "base/config.json"),
        ("{source: org/unheard-of, config_file: bert.json}", "bert.json"),
        ("{source: ./elsewhere, config_file: bert.json}", "bert.json"),
        ("{source: package:no-such-package/model, config_file: bert.json}", "bert.json"),
    ],
)
def test_a_config_beside_the_spec(place, model, file):
    (place / "base").mkdir()
    (place / file).write_text(json.dumps(BERT))
    result = deltac("validate", "--require-model", write(place, on_bert(model)))
    assert (result.code, result.out) == (0, f"a.delta.yaml: ok ({WHOLE})\n")


def test_a_config_for_bitsandbytes_needs_neither_it_nor_a_gpu(place):
    quantized = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (place / "bert.json").write_text(json.dumps({**BERT, "quantization_config": quantized}))
    spec = write(place, on_bert("{source: org/unheard-of, config_file: bert.json}"))
    assert WHOLE in deltac("validate", spec).out


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("num_hidden_layers: 1000000", "'num_hidden_layers' is 1,000,000: at most 4,096"),
        ("num_hidden_layers: 4097", "'num_hidden_layers' is 4,097: at most 4,096"),
    ],
)
def test_a_model_too_deep_to_build_is_refused_at_once(place, setting, found):
    result = deltac("validate", write(place, GOOD.replace("num_hidden_layers: 2", setting)))
    assert result.code == 1
    assert f"error[DLT253] bad-setting: {found} can be built\n --> a.delta.yaml:5:" in result.err


NOT_REACHED = {
    "{source: org/unheard-of}": "the config of 'org/unheard-of' is not in the hub's cache",
    "{source: org/unheard-of, revision: v2}": "at revision 'v2' is not in the hub's cache",
    "{source: package:no-such-package/model}": "the package 'no-such-package' is not installed",
    "{source: ./elsewhere}": "there is no folder './elsewhere'",
    "{source: ./empty}": "'./empty' holds no config.json",
    "{source: ./own, class: AutoModel}": "the model needs code from the hub, which is not run here",
}


@pytest.mark.parametrize("model", NOT_REACHED)
def test_a_model_that_is_not_here_is_the_reason(place, model):
    (place / "empty").mkdir()
    (place / "own").mkdir()
    auto = {"AutoConfig": "code.OwnConfig", "AutoModel": "code.OwnModel"}
    own = {**BERT, "model_type": "own-bert", "auto_map": auto}
    (place / "own" / "config.json").write_text(json.dumps(own))
    (place / "own" / "code.py").write_text("raise AssertionError('code of the model ran')")
    name = write(place, on_bert(model))
    result = deltac("validate", name)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("a.delta.yaml: ok (checked: schema; ")
    assert NOT_REACHED[model] in result.out
    required = deltac("validate", "--require-model", name)
    assert required.code == 2
    assert "error[DLT842] model-not-checked: a.delta.yaml was checked against the" in required.err
    assert NOT_REACHED[model] in required.err


def test_a_spec_without_a_model_under_require_model(place):
    name = write(place, on_bert("").replace("model: \n", ""))
    assert deltac("validate", name).code == 0
    assert deltac("validate", "--require-model", name).code == 2


def test_require_model_says_nothing_of_a_spec_with_faults(place):
    result = deltac("validate", "--require-model", write(place, GOOD.replace("lora", "lroa")))
    assert (result.code, "DLT842" in result.err) == (1, False)


def test_without_torch_the_schema_is_checked(place, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        level_2.importlib.util, "find_spec", lambda name: None if name == "torch" else found(name)
    )
    reason = "torch is not installed: pip install 'deltac[model]'"
    line = f"a.delta.yaml: ok (checked: schema; {reason})\n"
    assert deltac("validate", write(place, GOOD)) == (0, line, "")


def test_the_hub_cache_is_read_and_an_answer_that_is_kept_imports_no_torch(place, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--tiny--bert"
    (repo / "snapshots" / commit).mkdir(parents=True)
    (repo / "snapshots" / commit / "config.json").write_text(json.dumps(BERT))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    name = write(place, on_bert("{source: tiny/bert}").replace("query", "qeury"))
    code = (
        "import socket, sys\n"
        "def refuse(*a): raise AssertionError('the network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from deltac.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('torch' in sys.modules)\n"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub")}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-c", code, "validate", name]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        for _ in range(2)
    )
    assert first.stdout == f"a.delta.yaml: 1 error ({WHOLE})\nTrue\n"
    assert second.stdout == f"a.delta.yaml: 1 error ({WHOLE})\nFalse\n"
    assert first.stderr == second.stderr
    assert first.stderr.startswith("error[DLT201] no-match: ")


def counted(monkeypatch):
    """The specs that were checked against their model, not looked up."""
    calls, check = [], level_2._check
    monkeypatch.setattr(level_2, "_check", lambda *words: calls.append(words) or check(*words))
    return calls


def test_a_result_is_kept_until_something_it_depends_on_changes(place, monkeypatch, tmp_path):
    calls = counted(monkeypatch)
    (place / "bert.json").write_text(json.dumps(BERT))
    name = write(place, on_bert("{config_file: bert.json}"))
    results = [deltac("validate", name) for _ in range(2)]
    assert (len(calls), results[0]) == (1, results[1])
    assert len(kept(tmp_path)) == 1
    (place / "bert.json").write_text(json.dumps({**BERT, "num_hidden_layers": 3}))
    deltac("validate", name)
    assert len(calls) == 2
    write(place, on_bert("{config_file: bert.json}") + "seed: 1\n")
    deltac("validate", name)
    assert len(calls) == 3
    monkeypatch.setattr(level_2, "version", lambda _: "another")
    deltac("validate", name)
    assert len(calls) == 4
    monkeypatch.setattr(level_2, "_own_sources", lambda: "changed")
    deltac("validate", name)
    assert len(calls) == 5


def test_no_cache_neither_reads_nor_writes(place, monkeypatch, tmp_path):
    calls = counted(monkeypatch)
    for _ in range(2):
        deltac("validate", "--no-cache", write(place, GOOD))
    assert (len(calls), kept(tmp_path)) == (2, [])


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"key": "other", "value": {"diagnostics": [], "reason": null}}']
)
def test_a_damaged_entry_is_ignored(place, monkeypatch, tmp_path, content):
    before = deltac("validate", write(place, BAD))
    (entry,) = kept(tmp_path)
    entry.write_text(content)
    calls = counted(monkeypatch)
    assert deltac("validate", "a.delta.yaml") == before
    assert len(calls) == 1


@pytest.mark.parametrize(
    "rows", [[["DLT999", "x", None, [], None]], [["DLT201", "x", [7, 0, 1], [], None]], 3]
)
def test_an_entry_of_another_form_is_ignored(place, monkeypatch, tmp_path, rows):
    before = deltac("validate", write(place, BAD))
    (entry,) = kept(tmp_path)
    Cache(entry.parent).put(entry.stem, {"diagnostics": rows, "reason": None})
    calls = counted(monkeypatch)
    assert deltac("validate", "a.delta.yaml") == before
    assert len(calls) == 1


def test_what_is_no_fault_of_the_spec_is_not_kept(place, tmp_path):
    (place / "bert.json").write_text("{")
    result = deltac("validate", write(place, on_bert("{config_file: bert.json}")))
    assert result.code == 2
    assert "error[DLT807]" in result.err
    assert kept(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_no_fault(place, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert deltac("validate", write(place, GOOD)).code == 0


def test_the_folder_of_the_cache(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache" / "deltac"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / ".cache" / "deltac"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "deltac"


def test_a_key_knows_where_one_text_ends():
    assert key_of(["ab", "c"]) != key_of(["a", "bc"])


@pytest.mark.parametrize("form", ["full", "json"])
def test_a_failure_at_one_file_does_not_stop_the_others(place, monkeypatch, form):
    names = [write(place, GOOD.replace("tiny", name), f"{name}.delta.yaml") for name in "abc"]
    real = level_2._check

    def fails_at_b(spec, base):
        if spec.name == "b":
            raise RuntimeError("boom in a library")
        return real(spec, base)

    monkeypatch.setattr(level_2, "_check", fails_at_b)
    for _ in range(2):  # it isn't kept
        result = deltac("validate", "--exit-zero", "--output-format", form, *names)
        assert result.code == 3
        if form == "json":
            data = json.loads(result.out)
            assert [each["code"] for each in data["diagnostics"]] == ["DLT901"]
            continue
        assert (
            "error[DLT901] internal-error: deltac itself is at fault at b.delta.yaml" in result.err
        )
        assert "boom in a library" in result.err
        assert result.out.splitlines() == [
            f"a.delta.yaml: ok ({WHOLE})",
            "b.delta.yaml: 1 error (checked: schema; the check against the model failed)",
            f"c.delta.yaml: ok ({WHOLE})",
        ]


def test_the_cache_forgets_what_was_not_used_for_longest(tmp_path, monkeypatch):
    monkeypatch.setattr("deltac.cli._cache.MOST", 10)
    cache = Cache(tmp_path / "kept")
    for number in range(10):
        cache.put(f"key{number}", number)
        os.utime(tmp_path / "kept" / f"key{number}.json", (number, number))
    (tmp_path / "kept" / "broken-off.part").write_text("{")
    os.utime(tmp_path / "kept" / "broken-off.part", (0, 0))
    assert cache.get("key1") == 1  # so that it is the newest but one
    cache.put("last", "last")
    left = {file.name for file in (tmp_path / "kept").iterdir()}
    assert left == {f"key{number}.json" for number in (1, 3, 4, 5, 6, 7, 8, 9)} | {"last.json"}
    for number in range(100):
        cache.put(f"more{number}", number)
        assert len(list((tmp_path / "kept").iterdir())) <= 10
