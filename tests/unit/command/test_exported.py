"""``gradc check`` on a kernel in a folder of its own."""

import json
from pathlib import Path

from tests.unit.command.support import gradc


def compile_to(out: Path, *words: str) -> None:
    assert gradc("compile", *words, "-o", str(out)).code == 0


def test_a_right_kernel_passes_and_a_changed_one_does_not(tmp_path: Path):
    out = tmp_path / "kernel"
    compile_to(out, "--expr", "log(x1) + x1*x2 - sin(x2)")
    ran = gradc("check", str(out), "--at", "x1=2", "x2=5")
    assert (ran.code, ran.err) == (0, "")
    assert "ok: 2 PASS" in ran.out
    found = gradc("check", str(out), "--seed", "3", "--json").json
    assert found["ok"]
    assert len(found["drawn"]["arguments"]) == 2
    source = out / "expression_value_and_grad.py"
    assert "cos(x2)" in source.read_text()
    source.write_text(source.read_text().replace("cos(x2)", "sin(x2)"))
    ran = gradc("check", str(out), "--at", "x1=2", "x2=5")
    assert ran.code == 1
    assert [line.split()[:2] for line in ran.out.splitlines()[1:3]] == [["WRONG", "x2"], ["PASS", "x1"]]


def test_arrays_are_drawn_in_shapes_that_fit(tmp_path: Path):
    (tmp_path / "model.py").write_text(
        "import numpy as np\ndef loss(w, b, x, n: int):\n    return n * np.mean((x @ w + b) ** 2)\n"
    )
    out = tmp_path / "kernel"
    shapes = ("--shape", "w=3,2", "b=2", "x=4,3", "--at", "n=2")
    compile_to(out, f"{tmp_path / 'model.py'}:loss", *shapes)
    ran = gradc("check", str(out), "--at", "n=3", "--shape", "x=2,6")
    assert ran.code == 0, ran.out + ran.err
    assert "w f64[6, " in ran.out
    assert "b f64[" in ran.out


def test_the_value_may_be_undefined_at_the_point(tmp_path: Path):
    compile_to(tmp_path / "kernel", "--expr", "log(x)")
    ran = gradc("check", str(tmp_path / "kernel"), "--at", "x=-1")
    assert ran.code == 3
    assert "the value is nan there" in ran.out


def test_a_kernel_without_a_value_is_refused(tmp_path: Path):
    compile_to(tmp_path / "kernel", "--expr", "x**2", "--of", "grad")
    ran = gradc("check", str(tmp_path / "kernel"), "--at", "x=1")
    assert ran.code == 2
    assert "holds the derivation grad" in ran.err
    assert "--of value_and_grad" in ran.err


def test_a_damaged_contract_is_refused(tmp_path: Path):
    compile_to(tmp_path / "kernel", "--expr", "x**2")
    contract = tmp_path / "kernel" / "gradc.json"
    whole = json.loads(contract.read_text())
    del whole["wrt"]
    for damaged in (json.dumps(whole), "{", "[]", "\x00"):
        contract.write_text(damaged)
        ran = gradc("check", str(tmp_path / "kernel"), "--at", "x=1")
        assert ran.code == 2
        assert "does not say what the kernel takes" in ran.err
        assert "write the kernel again" in ran.err
