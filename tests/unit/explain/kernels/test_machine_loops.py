"""Loops of assembly: found in the flow of control, judged by their instructions."""

import pytest

from gradc.explain.kernels.assembly import annotated, called_elsewhere, placed, short, source_loops
from gradc.explain.kernels.assembly_lines import transferred
from gradc.explain.kernels.instructions import functions_of, locations_in, machine_of
from gradc.explain.kernels.machine_loops import AssemblyLoop, loops_of


def function(body: str, name: str = "f") -> str:
    lines = [line if line.endswith(":") else f"\t{line}" for line in body.strip().splitlines()]
    return "\n".join(
        (f"\t.type\t{name},@function", f"{name}:", *(line.replace("\t ", "\t") for line in lines), "")
    )


def loop(instructions: str, close: str = "jne .LBB0_1") -> str:
    lines = [line.strip() for line in instructions.strip().splitlines()]
    return function("\n".join((".LBB0_1:", *lines, close, "retq")))


def only(asm: str) -> AssemblyLoop:
    (found,) = loops_of(asm)
    return found


AVX512 = loop(
    """
    vmovupd (%rdi,%rax,8), %zmm0
    vaddpd 64(%rdi,%rax,8), %zmm1, %zmm1
    vfmadd213pd %zmm3, %zmm1, %zmm9
    addq $16, %rax
    """
)
AVX2 = loop("vmulps (%rdi,%rax,4), %ymm1, %ymm1\nvmulps 32(%rdi,%rax,4), %ymm2, %ymm2\naddq $16, %rax")
SCALAR = loop("vaddsd (%rdi,%rax,8), %xmm0, %xmm0\nvmovapd %xmm0, %xmm1\nincq %rax")
MIXED = loop("vaddpd (%rdi,%rax,8), %ymm0, %ymm0\nvaddsd %xmm1, %xmm2, %xmm2\naddq $4, %rax")
COPY = loop(
    "vmovups (%rdi,%rax,8), %zmm0\nvmovups %zmm0, (%rsi,%rax,8)\nvxorps %xmm1, %xmm1, %xmm1\naddq $8, %rax"
)


def test_avx512_with_the_step_of_its_index():
    found = only(AVX512)
    assert (found.packed, found.scalar, found.bits, found.element) == (2, 0, 512, "f64")
    assert (found.vectorised, found.lanes, found.unrolled, found.label) == (True, 8, 2, ".LBB0_1")
    assert str(found) == "vectorised: 8 x f64, unrolled 2 (2 packed, 0 scalar)"


def test_avx2_in_float32():
    found = only(AVX2)
    assert (found.vectorised, found.lanes, found.element, found.unrolled) == (True, 8, "f32", 2)


def test_scalar_arithmetic_is_not_vectorised_though_registers_are_moved_whole():
    found = only(SCALAR)
    assert (found.vectorised, found.packed, found.scalar) == (False, 0, 1)
    assert str(found) == "scalar f64 (0 packed, 1 scalar)"


def test_a_loop_with_both_is_mixed():
    assert not only(MIXED).vectorised
    assert str(only(MIXED)).startswith("mixed: 4 x f64")


def test_a_copy_has_no_arithmetic_and_is_not_vectorised():
    assert (only(COPY).packed, only(COPY).vectorised) == (0, False)
    assert str(only(COPY)) == "no floating-point arithmetic"


def test_signs_in_wide_registers_count():
    assert only(loop("vxorpd (%rdi,%rax,8), %zmm0, %zmm1\naddq $8, %rax")).vectorised


def test_bytes_that_a_pointer_goes_on_are_elements():
    assert only(loop("vaddpd (%rdi), %ymm0, %ymm0\naddq $64, %rdi")).unrolled == 2


def test_two_steps_that_disagree_say_nothing():
    found = only(
        loop("vaddpd (%rdi,%rax,8), %ymm0, %ymm0\nvaddpd (%rsi), %ymm1, %ymm1\naddq $4, %rax\naddq $64, %rsi")
    )
    assert (found.step, found.unrolled) == (0, 0)


def test_a_loop_around_another_is_told_apart():
    outer, inner = loops_of(
        function(
            """
.LBB0_1:
vmulsd %xmm0, %xmm1, %xmm1
.LBB0_2:
vaddpd (%rdi,%rax,8), %ymm0, %ymm0
addq $4, %rax
jne .LBB0_2
decq %rcx
jne .LBB0_1
retq
"""
        )
    )
    assert (outer.innermost, outer.scalar, outer.packed, outer.vectorised) == (False, 1, 0, False)
    assert (inner.innermost, inner.vectorised, inner.label) == (True, True, ".LBB0_2")


def test_packed_arithmetic_beside_an_inner_loop_makes_no_vectorised_loop():
    body = ".LBB0_1:\nvaddpd %ymm0, %ymm1, %ymm1\n.LBB0_2:\nincq %rax\njne .LBB0_2\njne .LBB0_1\nretq"
    outer, inner = loops_of(function(body))
    assert (outer.packed, outer.vectorised, inner.packed) == (1, False, 0)


def test_a_loop_whose_parts_stand_elsewhere_is_whole():
    found = only(
        function(
            """
jmp .LBB0_2
.LBB0_1:
vaddsd %xmm0, %xmm1, %xmm1
jmp .LBB0_3
.LBB0_2:
vmulsd (%rdi,%rax,8), %xmm0, %xmm0
ja .LBB0_1
.LBB0_3:
incq %rax
jne .LBB0_2
retq
"""
        )
    )
    assert (found.scalar, found.label) == (2, ".LBB0_2")


def test_a_jump_back_behind_a_return_is_no_loop():
    assert loops_of(function(".LBB0_1:\nvaddsd %xmm0, %xmm1, %xmm1\nretq\n.LBB0_2:\njmp .LBB0_1")) == ()


def test_an_instruction_that_jumps_to_itself_is_a_loop():
    assert only(function("incq %rax\n.LBB0_1:\njmp .LBB0_1")).label == ".LBB0_1"


def test_other_elements_than_those_of_vectors_do_not_count_as_steps():
    assert (
        only(loop("movl (%rdx,%rax,4), %ecx\nvaddpd (%rdi,%rax,8), %ymm0, %ymm0\naddq $8, %rax")).unrolled
        == 2
    )


def test_a_loop_that_calls_functions_says_so():
    found = only(loop("callq *%rbx\nvaddsd %xmm0, %xmm1, %xmm1"))
    assert found.calls
    assert "with calls" in str(found)


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("fmla v0.2d, v1.2d, v2.2d", (1, 0, 128, "f64")),
        ("fadd.4s v0, v1, v2", (1, 0, 128, "f32")),
        ("fmul v0.2s, v1.2s, v2.2s", (1, 0, 64, "f32")),
        ("fmadd d0, d1, d2, d3", (0, 1, 0, "f64")),
        ("fadd s0, s1, s2", (0, 1, 0, "f32")),
        ("fmla z0.d, p0/m, z1.d, z2.d", (1, 0, 0, "f64")),
    ],
)
def test_aarch64(instruction: str, expected: tuple[int, int, int, str]):
    found = only(loop(f"ldr x9, [x1]\n{instruction}\nsubs x8, x8, #1", "b.ne .LBB0_1").replace("retq", "ret"))
    assert (found.packed, found.scalar, found.bits, found.element) == expected
    assert found.unrolled == 0


def test_aarch64_branches_on_bits_and_immediates_are_read():
    asm = function(".LBB0_1:\nfadd d0, d1, d2\nsub x8, x8, #1\ntbz w8, #0, .LBB0_1\nret")
    assert only(asm).scalar == 1


def test_another_machine_is_unknown_rather_than_wrong():
    asm = function(".LBB0_1:\nfadd.d fa0, fa1, fa2\naddi a0, a0, -1\nbnez a0, .LBB0_1\nret")
    assert machine_of(asm) == "unknown"
    assert not any(found.vectorised for found in loops_of(asm))
    assert annotated(asm, "").startswith("# Loops: unknown.")


def test_functions_have_their_own_loops():
    text = loop("vaddsd (%rdi), %xmm0, %xmm0") + AVX2.replace("f,@", "g,@").replace("f:", "g:").replace(
        "LBB0", "LBB1"
    )
    assert [(found.function, found.vectorised) for found in loops_of(text)] == [("f", False), ("g", True)]
    assert [found.name for found in functions_of(text)] == ["f", "g"]


# --- lines of the source ------------------------------------------------------------------------------------

SOURCE = "def f(x, n):\n    s = 0.0\n    for i in range(n):\n        s = s + x[i]\n    return s\n"
LOCATED = (
    SCALAR.replace("\tvaddsd", "\t.loc\t1 4 1\n\tvaddsd")
    .replace("\tincq", "\t.loc\t2 99 0\n\tincq")
    .replace("\tjne", "\t.loc\t1 3 1\n\tjne")
)


def test_lines_of_inlined_files_and_line_0_are_not_the_functions():
    lines = LOCATED.splitlines()
    found = {lines[number].split()[0]: line for number, line in locations_in(LOCATED).items()}
    assert found == {"vaddsd": 4, "vmovapd": 4, "incq": 4, "jne": 3, "retq": 3}


def test_annotated_assembly_lists_loops_and_has_their_lines():
    text = annotated(LOCATED, SOURCE)
    head = text.splitlines()[:4]
    assert "line 3: for i in range(n):" in head[2]
    assert "# ---- scalar f64 (0 packed, 1 scalar); line 3: for i in range(n):\n.LBB0_1:\n" in text
    assert "\t# 4: s = s + x[i]\n\tvaddsd" in text
    stripped = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert stripped == LOCATED.splitlines()


def test_lines_go_to_loops_with_the_same_instructions_of_the_same_function():
    assert sorted(transferred(SCALAR, [LOCATED]).values()) == [3, 4, 4, 4]
    assert transferred(AVX2, [LOCATED]) == {}
    other = LOCATED.replace("f,@", "g,@").replace("f:", "g:")
    assert transferred(SCALAR, [other]) == {}


def test_loops_that_look_alike_have_no_lines_if_there_are_not_as_many():
    twice = SCALAR.replace("\tretq", "").replace("jne .LBB0_1", "jne .LBB0_1\n.LBB0_2:\n") + "".join(
        line + "\n" for line in SCALAR.replace(".LBB0_1", ".LBB0_2").splitlines()[3:]
    )
    assert len(loops_of(twice)) == 2
    assert transferred(twice, [LOCATED]) == {}


def test_without_lines_the_only_loop_of_a_function_is_known_by_its_name():
    assert "line 3: for i in range(n):" in annotated(SCALAR, SOURCE)


def test_two_loops_of_a_function_are_not_guessed():
    two = (
        "def f(x, n):\n    for i in range(n):\n        x[i] = 0\n    for i in range(n):\n        x[i] += 1\n"
    )
    assert "from an unknown line" in annotated(SCALAR, two)
    assert [found.innermost for found in source_loops(two)] == [True, True]


def test_a_loop_around_another_comes_from_a_loop_around_another():
    source = "def f(x, n):\n    for i in range(n):\n        for j in range(n):\n            x[i] += 1\n"
    body = """
.LBB0_1:
.loc 1 4 1
vmulsd %xmm0, %xmm1, %xmm1
.LBB0_2:
vaddpd (%rdi,%rax,8), %ymm0, %ymm0
jne .LBB0_2
jne .LBB0_1
retq
"""
    found = {loop.innermost: origin for loop, origin in placed(function(body), source)}
    assert {inner: origin.first for inner, origin in found.items() if origin} == {True: 3, False: 2}


def test_what_is_called_by_name_is_elsewhere():
    asm = loop("movabsq $gradc_contract_64, %rax\ncallq *%rax\nmovabsq $gradc_kernel_ab, %rcx")
    assert called_elsewhere(asm) == ("gradc_contract_64",)


def test_a_mangled_name_is_shortened():
    assert short("cfunc._ZN3abc4loopB2v1") == "cfunc.loop"
