"""A stranger's spec costs little, imports nothing, reaches no network and writes nowhere.

Each runs as a process of its own, whose memory and time are limited generously: the point is that
neither grows with what the spec asks for.
"""

import math
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 10  # 2 on an idle machine, with room for a slow one
MEBIBYTES = 300

_WATCH = """
import sys
def watch(event, arguments):
    if event.startswith("socket.") and event != "socket.__new__":
        raise RuntimeError("network: " + event)
    if event == "import" and arguments[0].split(".")[0] in {"evil", "torch", "transformers", "pickle5"}:
        raise RuntimeError("import: " + arguments[0])
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        raise RuntimeError("write: " + str(arguments[0]))
    if event in ("os.mkdir", "os.rename", "os.remove", "subprocess.Popen", "os.system"):
        raise RuntimeError(event)
sys.addaudithook(watch)
sys.dont_write_bytecode = True
from deltac.cli.main import main
try:
    main(sys.argv[1:])
finally:
    # Not the system's ru_maxrss: that starts with the memory of the process that was forked.
    with open("/proc/self/status") as status:
        print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""

LORA = "version: 1\ndeltas:\n  - {operator: lora, target: {module: q_proj}}\n"


def lora(options):
    return LORA.replace("q_proj}}", "q_proj}, " + options + "}")


def bomb(wide):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for at in range(1, 30):
        lines.append(f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * wide)}]")
    return "\n".join(lines)


SPECS = {
    "alias bomb": (bomb(10), "DLT006"),
    "alias ladder": (bomb(2), "DLT006"),
    "alias of itself": ("a: &a [*a]\n", "DLT013"),
    "bomb under x-": ("x-a:\n" + re.sub("^", "  ", bomb(10), flags=re.M), "DLT006"),
    "a line of 10 MB": ("version: " + "1" * 10_000_000, "DLT004"),
    "a line of 1 MB": ("name: " + "a" * 1_000_000, "DLT110"),
    "a key of 1 MB": ("a" * 1_000_000 + ": 1\n", "DLT0"),
    "a number of 1 MB": ("seed: " + "9" * 1_000_000, "DLT108"),
    "a million lines": ("\n" * 1_000_000 + "a", "DLT103"),
    "brackets": ("[" * 500_000, "DLT005"),
    "braces": ("{a: " * 100_000, "DLT005"),
    "dashes": ("- " * 200_000, "DLT005"),
    "deep blocks": ("\n".join(" " * at + "a:" for at in range(1000)), "DLT005"),
    "quotes": ("'" * 999_999, "DLT0"),
    "stars": ("*" * 500_000, "DLT0"),
    "anchors": ("&a " * 200_000, "DLT0"),
    "tabs": ("\t" * 500_000, "DLT0"),
    "slips": ("[" + "*a, " * 100_000 + "]", "DLT015"),
    "variables in braces": ("{a: " + "${x} " * 100_000 + "}", "DLT0"),
    "NUL": (LORA + "name: a\0b\n", "DLT003"),
    "not UTF-8": (LORA.encode() + b"name: \xff\xfe\n", "DLT002"),
    "UTF-16": (LORA.encode("utf-16"), "DLT002"),
    "surrogates": (LORA.encode() + b"name: \xed\xa0\x80\n", "DLT002"),
    "text direction": (LORA + "name: a\u202eb\n", "DLT110"),
    "a tag of Python": (LORA + "name: !!python/object/apply:evil.run [x]\n", "DLT012"),
    "huge rank": (lora("rank: 99999999999999999999999999"), "DLT104"),
    "rank of 4301 digits": (lora("rank: " + "9" * 4301), "DLT108"),
    "inf": (lora("alpha: .inf"), "DLT108"),
    "nan": (lora("alpha: .nan"), "DLT108"),
    "overflow": (lora("alpha: 1e999999"), "DLT108"),
    "huge layers": (LORA.replace("q_proj", "q_proj, layers: 0-999999999999"), "DLT114"),
    "name of a folder above": (LORA + "name: ../../x\n", "DLT110"),
    "absolute name": (LORA + "name: /tmp/x\n", "DLT110"),
    "delta with a path": (lora("name: ../x"), "DLT110"),
    "source above": (LORA + "model: {source: ../../../../etc}\n", "DLT138"),
    "config above": (LORA + "model: {config_file: ../../etc/passwd}\n", "DLT138"),
    "absolute config": (LORA + "model: {config_file: /etc/passwd}\n", "DLT138"),
    "extends above": (LORA + "extends: ../../../etc/passwd\n", "DLT132"),
    "extends itself": (LORA + "extends: a.delta.yaml\n", "DLT134"),
    "extends a device": (LORA + "extends: zero\n", "DLT132"),
    "extends a folder": (LORA + "extends: .\n", "DLT133"),
    "extends a URL": (LORA + "extends: http://example.org/a.yaml\n", "DLT131"),
    "a large base": (LORA + "extends: large.yaml\n", "DLT135"),
    "variables that multiply": (
        f"version: 1\nvars: {{a: {'a' * 5000}}}\ndescription: {'${a}' * 5000}\ndeltas: []\n",
        "DLT127",
    ),
    "nested repetition": (LORA.replace("q_proj", r"'re:(a+)+\1'"), "DLT113"),
    "a large repetition": (LORA.replace("q_proj", "'re:a{99999999999}'"), "DLT113"),
    "lookalikes": (LORA.replace("lora", "l\u043era"), "DLT107"),
    "an operator that is a module": (LORA.replace("lora", "evil"), "DLT107"),
    "many unknown keys": (LORA + "".join(f"k{at}: 1\n" for at in range(4000)), "DLT101"),
    "many deltas": ("version: 1\ndeltas:\n" + "- {operator: lroa}\n" * 2500, "DLT107"),
}


@pytest.mark.parametrize("case", SPECS)
def test_a_hostile_spec(case, tmp_path):
    content, code = SPECS[case]
    path = tmp_path / "a.delta.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "large.yaml").write_text("#" * 5_000_000)
    (tmp_path / "evil.py").write_text("raise SystemExit(99)\n")
    (tmp_path / "run.py").write_text(_WATCH)
    before = sorted(tmp_path.rglob("*"))
    status, peak, errors = run(tmp_path, "run.py", "validate", "a.delta.yaml")
    assert status == 1, errors[-2000:]
    assert f"error[{code}" in errors, errors[:2000]
    assert "Traceback" not in errors
    assert peak < MEBIBYTES, f"{peak} MiB"
    assert sorted(tmp_path.rglob("*")) == before


def run(folder: Path, *arguments: str):
    """Exit status, peak memory in MiB and standard error of a Python process with limits."""

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))

    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(folder)]),
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        preexec_fn=limit,
        check=False,
    )
    # The last line is the peak in KiB; there is none where a limit ended the process.
    peak = int(done.stdout.splitlines()[-1]) / 1024 if done.stdout else math.inf
    return done.returncode, peak, done.stderr.decode("utf-8", "replace")
