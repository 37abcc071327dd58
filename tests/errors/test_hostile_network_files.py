"""Hostile network files: data, never code.

All are read in one child process with limits on processor time and memory.  An audit hook there records every event by
which Python could run code that a file names, start a program, or open a file other than the one that is read.
"""

import json
import subprocess
import sys
from pathlib import Path

HEAD = '[network]\nshape = 4\nloss = "SquaredError"\n'
LAYER = '[[layer]]\ntype = "Dense"\nunits = 2\n'

REFUSED = {
    "a module's function as type": HEAD + '[[layer]]\ntype = "os:system"\n',
    "a dotted type": HEAD + '[[layer]]\ntype = "gradc.nn.layers.function.Function"\n',
    "a dunder type": HEAD + '[[layer]]\ntype = "__import__"\n',
    "a function": HEAD + '[[layer]]\ntype = "Function"\nfunction = "os.system"\n',
    "a dunder key": HEAD + LAYER + '__class__ = "x"\n',
    "a method as key": HEAD + LAYER + 'apply = "x"\n',
    "a dunder table": HEAD + LAYER + "[layer.__init__]\nx = 1\n",
    "a class as initialiser": HEAD + LAYER + 'initialiser = { type = "Popen", args = "touch executed" }\n',
    "a network as layer": HEAD + '[[layer]]\ntype = "Network"\n',
    "code as name": HEAD + LAYER + "name = \"x']; import os; os.system('touch executed') #\"\n",
    "a line break in a name": HEAD + LAYER + 'name = "a\\nimport os"\n',
    "a format string as name": HEAD + LAYER + 'name = "{0.__class__}"\n',
    "code as equation": HEAD
    + '[[layer]]\ntype = "Equation"\ntext = "__import__(\'os\').system(\'touch executed\')"\n',
    "code inside an equation": HEAD
    + '[[layer]]\ntype = "Equation"\ntext = "y[n,i] = exec(\'import os\') * x[n,i]"\n',
    "an attribute in an equation": HEAD
    + '[[layer]]\ntype = "Equation"\ntext = "y[n,i] = x.__class__[n,i]"\n',
    "a huge tensor in an equation": HEAD
    + '[[layer]]\ntype = "Equation"\ntext = "y[n,o] = sum[i] w[o,i]*x[n,i]"\nlearned = { w = [2000000000, 4] }\n',
    "code as key of a table": HEAD
    + '[[layer]]\ntype = "Equation"\ntext = "y[n,o] = sum[i] w[o,i]*x[n,i]"\n'
    + "learned = { \"w'); import os #\" = [2, 4] }\n",
    "weights above": HEAD.replace("shape", 'weights = "../secret"\nshape') + LAYER,
    "weights anywhere": HEAD.replace("shape", 'weights = "/etc/passwd"\nshape') + LAYER,
    "weights that are a pickle": HEAD.replace("shape", 'weights = "pickle"\nshape') + LAYER,
    "weights from a network": HEAD.replace("shape", 'weights = "https://example.org/w"\nshape') + LAYER,
    "a million units": HEAD + LAYER.replace("2", "2000000000"),
    "many large layers": HEAD + LAYER.replace("2", "40000") * 400,
    "a huge image": HEAD.replace("4", "[1, 40000, 40000]") + '[[layer]]\ntype = "Conv2D"\nchannels = 9\nkernel = 1\n',
    "huge padding": HEAD.replace("4", "[1, 4, 4]")
    + '[[layer]]\ntype = "Conv2D"\nchannels = 9\nkernel = 1\npadding = 100000\n',
    "a huge exponent": HEAD + LAYER + "seed = 1e999999999\n",
    "many digits": HEAD + LAYER.replace("2", "1" * 100_000),
    "a tower of schedules": HEAD + LAYER + "[training]\noptimiser = { type = 'Adam', rate = "
    + "{ type = 'LinearWarmup', epochs = 1, rate = " * 900 + "1" + " }" * 901 + "\n",
    "the same layer's output twice a thousand times": HEAD
    + LAYER.replace("2", "4")
    + "".join(
        f'[[layer]]\ntype = "Concatenate"\nname = "c{at}"\ninputs = ["{"dense_1" if not at else f"c{at - 1}"}"'
        f', "{"dense_1" if not at else f"c{at - 1}"}"]\n'
        for at in range(40)
    ),
}  # fmt: skip

ACCEPTED = {  # harmless as data: nothing is computed when they are read
    "a huge power in an equation": HEAD
    + '[[layer]]\ntype = "Equation"\ntext = "y[n,i] = x[n,i]**9**9**9**9"\n',
    "a thousand layers": HEAD + LAYER * 1000,
}

CHILD = """
import json, resource, sys, time
from pathlib import Path
from gradc import nn
from gradc.errors import GradcError
from gradc.nn.files.kinds import FAMILIES, keys_of

resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (120,) * 2)
warm = Path("warm.toml")
layer = '[[layer]]\\ntype = "Equation"\\ntext = "y[n,i] = x[n,i] * x[n,i]"\\n'
warm.write_text('[network]\\nshape = 4\\nloss = "SquaredError"\\n' + layer)
nn.NetworkFile.read(warm)  # what is imported late is there now
for family in FAMILIES.values():
    for kind in family.types.values():
        keys_of(kind)  # Python compiles the annotations of our own classes
events, on = [], False
READ = ("net.toml", "pickle", "/proc/", "/sys/fs/cgroup/")  # the latter say how much memory there is
REPORTED = ("import", "subprocess.Popen", "os.system", "os.exec", "ctypes.dlopen", "pickle.find_class", "socket")

def hook(name, arguments):
    if not on:
        return
    if name in ("exec", "compile"):
        events.append(name + ": " + str(getattr(arguments[0], "co_filename", arguments[-1])))
    elif name in REPORTED:
        events.append(name + ": " + str(arguments[0]))
    elif name == "open" and isinstance(arguments[0], str) and not arguments[0].startswith(READ):
        events.append("open: " + str(arguments[0]))

sys.addaudithook(hook)
found = {}
for title, text in json.loads(Path("corpus.json").read_text()).items():
    Path("net.toml").write_text(text)
    begin = time.process_time()
    on = True
    try:
        nn.NetworkFile.read("net.toml")
        said = ""
    except GradcError as error:
        said = str(error)
    on = False
    found[title] = [said, time.process_time() - begin, events[:5]]
    events.clear()
print(json.dumps(found))
"""


def test_hostile_network_files_are_data(environment: dict[str, str], tmp_path: Path):
    (tmp_path / "corpus.json").write_text(json.dumps({**REFUSED, **ACCEPTED}))
    (tmp_path / "pickle").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    run = subprocess.run(
        [sys.executable, "-c", CHILD],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found.keys() == {*REFUSED, *ACCEPTED}
    for title, (said, seconds, events) in found.items():
        assert bool(said) == (title in REFUSED), f"{title}: {said or 'accepted'}"
        assert not said or "where: net.toml:" in said, f"{title}: {said}"
        assert seconds < 5, f"{title} took {seconds} s"
        assert not events, f"{title}: {events}"
    assert not (tmp_path / "executed").exists()
