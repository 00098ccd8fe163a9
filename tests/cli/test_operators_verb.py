"""`deltac operators` from the outside."""

import json

from cli_support import deltac

from deltac.operators import names


def test_the_list_has_a_line_for_each():
    result = deltac("operators")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines] == names()
    assert "reparameterization" in next(line for line in lines if line.startswith("lora"))


def test_one_operator_with_its_options():
    result = deltac("operators", "lora")
    assert result.code == 0
    assert result.out.startswith("lora: reparameterization, from deltac ")
    assert (
        "\n  rank: integer ≥ 1, ≤ 65,536; default `8`\n    Rank of the product B A.\n" in result.out
    )
    assert "\n  gate: boolean; default `false`\n" in result.out
    assert "bit for bit; nearly with `init: orthogonal`, `init: pissa` or " in result.out
    assert "https://arxiv.org/abs/2106.09685" in result.out


def test_an_unknown_name_suggests_the_nearest():
    result = deltac("operators", "lorra")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error[DLT835] unknown-name: there is no operator 'lorra'")
    assert "did you mean 'lora'?" in result.err
    assert "operators: adalora, " in deltac("operators", "zzz").err


def test_json():
    data = json.loads(deltac("operators", "--format", "json").out)
    assert sorted(data) == names()
    assert data["lora"]["options"]["rank"]["default"] == 8
    assert list(json.loads(deltac("operators", "bitfit", "--format", "json").out)) == ["bitfit"]
