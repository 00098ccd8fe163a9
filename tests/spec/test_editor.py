"""What someone without deltac gets from the schema: check-jsonschema, and editors by the modeline."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from deltac.spec import load_schema, validate
from deltac.spec.schema import operator_names

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "schemas" / "deltac-spec.v1.schema.json"
SPECS = sorted((ROOT / "specs").rglob("*.delta.yaml"))
LORA = "version: 1\ndeltas:\n  - {operator: lora, target: {module: q_proj}}\n"
BAD = {
    "no version": LORA.removeprefix("version: 1\n"),
    "no deltas": "version: 1\n",
    "no operator": LORA.replace("operator: lora, ", ""),
    "unknown operator": LORA.replace("lora", "lroa"),
    "unknown option": LORA.replace("q_proj}}", "q_proj}, rnak: 8}"),
    "unknown key": LORA + "sede: 1\n",
    "rank 0": LORA.replace("q_proj}}", "q_proj}, rank: 0}"),
    "a list as variable": LORA + "vars: {a: [1]}\n",
    "an absolute base": LORA + "extends: /etc/base.yaml\n",
    "a number in text": LORA.replace("q_proj}}", "q_proj}, rank: '8'}"),
    "text around a number's variable": LORA.replace("q_proj}}", 'q_proj}, rank: "1${a}"}'),
    "no variable's name": LORA.replace("q_proj}}", 'q_proj}, rank: "${8}"}'),
    "text for a flag": LORA.replace("q_proj}}", "q_proj}, overlap: yes}"),
    "text as seed": LORA + "seed: a\n",
    "a false removal": "version: 1\nextends: a.yaml\ndeltas: [{name: a, remove: false}]\n",
}
GOOD = {
    "a base": "extends: base.yaml\ndeltas: [{name: lora, rank: 4}, {name: a, remove: true}]\n",
    "anchors": "x-a: &a {module: q}\n" + LORA.replace("{module: q_proj}", "*a"),
    "variables as whole values": """
version: 1
vars: {rank: 4, alpha: 8.0, overlap: true, kind: lora, side: q, last: 3, dtype: float32, sites: 2, seed: 1}
model: {source: a/b, dtype: "${dtype}"}
seed: ${seed}
budget: {trainable: "${rank}%", bytes: "${rank}"}
heads: ["${side}"]
deltas:
  - operator: ${kind}
    name: ${side}x
    dtype: ${dtype}
    overlap: ${overlap}
    target: {module: "${side}_proj", layers: ["${last}", "0-${last}"], expect: "${sites}"}
    rank: ${rank}
    alpha: ${alpha}
    scaling: ${kind}
    overrides: [{layers: "${last}", rank: "${rank}"}]
  - {operator: adapter, bottleneck: "d/${rank}", target: {class: "${kind}"}}
""",
    "a variable in text": LORA.replace("q_proj", '"${side}_proj"') + "vars: {side: q}\n",
}


def check(*files):
    """What check-jsonschema says of files; its exit code is 0 for valid ones, else 1."""
    command = [sys.executable, "-m", "check_jsonschema", "--output-format", "json"]
    result = subprocess.run(
        [*command, "--schemafile", str(SCHEMA), *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in (0, 1), result.stderr
    return result.returncode, json.loads(result.stdout)


def test_every_spec_here_is_valid():
    assert SPECS
    assert check(*SPECS)[0] == 0


def test_what_is_bad_is_refused_and_what_is_good_is_not(tmp_path):
    for name, text in (BAD | GOOD).items():
        (tmp_path / f"{name}.delta.yaml").write_text(text)
    status, found = check(*sorted(tmp_path.iterdir()))
    assert status == 1
    refused = {Path(each["filename"]).name.removesuffix(".delta.yaml") for each in found["errors"]}
    assert refused == set(BAD)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_the_modeline_leads_to_the_schema(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    start = "# yaml-language-server: $schema="
    assert first.startswith(start)
    assert (path.parent / first.removeprefix(start)).resolve() == SCHEMA


def test_operators_end_with_the_address_of_their_paper():
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for name in operator_names(load_schema()):
        last = schema["definitions"][name]["description"].split()[-1]
        assert last.startswith("https://"), name


def test_every_property_is_described():
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))

    def visit(part, path):
        for key in ("properties", "patternProperties"):
            for name, each in part.get(key, {}).items():
                # In the rules for specs without a base, only what is required stands there.
                if "else" not in path and "if" not in path:
                    assert each.get("description") or "$ref" in each, (*path, name)
        for key, value in part.items():
            if isinstance(value, dict):
                visit(value, (*path, key))

    visit(schema, ())


def test_what_variables_stand_for_is_checked_by_deltac():
    good = GOOD["variables as whole values"].replace("scaling: ${kind}", "scaling: standard")
    assert validate(good) == []
    found = {each.code for each in validate(good.replace("rank: 4", "rank: 0"))}
    assert found == {"DLT104", "DLT115", "DLT121"}


def test_the_two_schemas_differ_in_variables_alone():
    """What holds no `${` is refused and accepted by both alike."""
    strict, loose = load_schema(), json.loads(SCHEMA.read_text(encoding="utf-8"))
    for schema in (strict, loose):
        validator = Draft7Validator(schema)
        for name, text in (BAD | GOOD).items():
            data = yaml.safe_load(text)
            if "${" not in text and name != "text for a flag":  # YAML 1.1 reads a flag there
                assert validator.is_valid(data) == (name in GOOD), name
