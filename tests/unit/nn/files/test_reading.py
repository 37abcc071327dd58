import os
import stat
import time
from pathlib import Path

import numpy as np
import pytest

from gradc import nn
from gradc.errors import InputRefused
from gradc.nn.files.kinds import FAMILIES, LAYERS, described, keys_of
from gradc.nn.files.network_file import NetworkFile
from gradc.nn.files.recipe import Limits, Recipe

TEXT = """# Handwritten digits
[network]
shape = [1, 8, 8]        # of one example
loss = { type = "SoftmaxCrossEntropy", smoothing = 0.1 }
regulariser = { type = "L2", strength = 1e-4 }
dtype = "float32"
seed = 3

[[layer]]
type = "Conv2D"
channels = 4
kernel = [3, 3]
padding = "same"

[[layer]]
type = "MaxPool"
size = 2

[[layer]]
type = "Flatten"
name = "flat"

[[layer]]
type = "Dropout"
rate = 0.5

[[layer]]
type = "Add"
inputs = ["flat", "dropout_1"]

[[layer]]
type = "Dense"
units = 10
initialiser = { type = "Normal", deviation = 0.02 }

[training]
optimiser = { type = "Momentum", rate = { type = "Cosine", rate = 1e-2, epochs = 30 }, momentum = 0.8 }
epochs = 30
batch = 32
patience = 4
validation = 0.25
"""


def read(folder: Path, text: str | bytes, limits: Limits | None = None) -> NetworkFile:
    path = folder / "net.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return NetworkFile.read(path, *([] if limits is None else [limits]))


def refused(folder: Path, text: str | bytes, limits: Limits | None = None) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        read(folder, text, limits)
    return caught.value


def test_a_file_is_the_network_that_python_makes(tmp_path):
    found = read(tmp_path, TEXT)
    wanted = nn.Network(
        nn.Conv2D(4, (3, 3), padding="same"),
        nn.MaxPool(2),
        nn.Flatten(name="flat"),
        nn.Dropout(0.5),
        nn.Add(inputs=("flat", "dropout_1")),
        nn.Dense(10, initialiser=nn.Normal(0.02)),
        shape=(1, 8, 8),
        loss=nn.SoftmaxCrossEntropy(smoothing=0.1),
        regulariser=nn.L2(1e-4),
        dtype="float32",
        seed=3,
    )
    assert found.network.nodes == wanted.nodes
    assert (found.network.loss, found.network.regulariser) == (wanted.loss, wanted.regulariser)
    assert found.network.dtype == np.float32
    for name, value in wanted.parameters.items():
        assert np.array_equal(found.network.parameters[name], value)
    assert found.training == Recipe(nn.Momentum(nn.Cosine(1e-2, epochs=30), 0.8), 30, 32, 0, 4, 0.25)


def test_little_need_be_said(tmp_path):
    found = read(
        tmp_path, '[network]\nshape = 3\nloss = "SquaredError"\n[[layer]]\ntype = "Dense"\nunits = 2\n'
    )
    assert (found.network.shape, found.network.dtype, found.network.seed) == ((3,), np.float64, 0)
    assert found.training == Recipe()


def test_tables_may_be_written_out(tmp_path):
    text = (
        TEXT.replace('loss = { type = "SoftmaxCrossEntropy", smoothing = 0.1 }\n', "")
        + '[network.loss]\ntype = "Hinge"\nmargin = 2\n'
    )
    assert read(tmp_path, text.replace("\n", "\r\n")).network.loss == nn.Hinge(2)


def test_every_type_can_be_named_and_python_alone_cannot():
    public = {
        name
        for name in nn.__all__
        if isinstance(found := getattr(nn, name), type) and not getattr(found, "_is_protocol", False)
    }
    named = {name for family in FAMILIES.values() for name in family.types}
    python = {"Layer", "Loss", "Optimiser", "Function", "Context", "Parameter", "Network", "NetworkFile"}
    python |= {"Training", "History", "Epoch", "Recipe", "Schedule", "Initialiser", "Regulariser"}
    assert public - named - python <= {
        "Signals",
        "LayerSignals",
        "MemoryPlan",
        "Step",
        "Summary",
        "LayerCost",
        "Plot",
    }
    assert named <= public
    assert "Function" not in LAYERS.types


def test_every_key_says_which_values_it_takes():
    for family in FAMILIES.values():
        for found in family.types.values():
            for key in keys_of(found).values():
                assert described(key.hint)
                assert "typing" not in described(key.hint)


WRONG = [
    ("channels = 4", "chanels = 4", "Conv2D has no key `chanels`", 11, "did you mean channels?"),
    ("channels = 4\n", "", "Conv2D lacks the key `channels`", 9, "a whole number"),
    ("channels = 4", "channels = -1", "channels is not a whole number of at least 1", 11, "channels=1"),
    ("channels = 4", "channels = 0", "channels is not a whole number of at least 1", 11, "channels=1"),
    ("channels = 4", 'channels = "3"', '`channels` of Conv2D is the text "3"', 11, "a whole number"),
    ("channels = 4", "channels = true", "`channels` of Conv2D is true", 11, "a whole number"),
    ("channels = 4", "channels = 1.5", "`channels` of Conv2D is 1.5", 11, "a whole number"),
    ("channels = 4", "channels = 9223372036854775808", "a number is too great", 11, "less"),
    ("kernel = [3, 3]", "kernel = [0, 9223372036854775808]", "an array is too large", 12, "less"),
    ("channels = 4", "channels = 1979-05-27", "`channels` of Conv2D is a date", 11, "a whole number"),
    ("kernel = [3, 3]", "kernel = [3, 3, 3]", "kernel", 12, ""),
    ("kernel = [3, 3]", "kernel = [3, [3]]", "`kernel` of Conv2D is the list", 12, "a list of whole numbers"),
    ("rate = 0.5", "rate = nan", "a number is not finite", 25, "finite"),
    ("rate = 0.5", "rate = inf", "a number is not finite", 25, "finite"),
    ("rate = 0.5", "rate = 1.5", "rate is outside its range", 25, "below 1"),
    ('"Conv2D"', '"os:system"', "there is no layer `os:system`", 10, "choose of Dense, Conv1D"),
    ('"Conv2D"', '"Function"', "there is no layer `Function`", 10, ""),
    ('"Conv2D"', '"Conv3D"', "there is no layer `Conv3D`", 10, "did you mean Conv2D?"),
    ('"Conv2D"', '"\\u001b[2J"', "there is no layer `\\x1b[2J`", 10, "choose of"),
    ('"Conv2D"', "7", "there is no layer `7`", 10, "choose of"),
    ('type = "MaxPool"', 'kind = "MaxPool"', "a layer without a type", 15, 'type = "Dense"'),
    ('"same"', '"big"', '`padding` of Conv2D is the text "big"', 13, '"valid" or "same"'),
    ('["flat"', '["flatt"', "takes 'flatt', which no layer before it is called", 27, "choose of input"),
    ('["flat"', '["dense_1"', "takes 'dense_1', which no layer before it is called", 27, "choose of"),
    ('["flat", "dropout_1"]', '"flat"', "`inputs` of Add is the text", 29, "a list of texts"),
    ('"dropout_1"]', '"flat"]', "no layer takes the output of layer dropout_1", 23, "leave it out"),
    ('name = "flat"', 'name = "max_pool_1"', "'max_pool_1' of layer 3 is taken", 19, "once"),
    ('name = "flat"', 'name = "a b"', "'a b' of layer 3 is no name", 19, "name it like"),
    ("size = 2", "size = 9", "a window that spans 9 x 9 does not fit", 15, "smaller"),
    ("units = 10", "units = 2000000000", "an array is too large", 31, "less"),
    ("shape = [1, 8, 8]", "shape = [1000000, 1000000]", "an array is too large", 3, "less"),
    ("shape = [1, 8, 8]", "shape = []", "this is no shape of an example", 3, "positive"),
    ("shape = [1, 8, 8]", "shape = [1, 8, 0]", "this is no shape of an example", 3, "positive"),
    ("shape = [1, 8, 8]", "shape = [1, 64]", "Conv2D takes (channels, height, width)", 9, "Reshape"),
    ("shape = [1, 8, 8]  ", "", "[network] lacks the key `shape`", 2, "whole number"),
    ('loss = { type = "Soft', 'loss = { type = "Sift', "there is no loss", 4, "SoftmaxCrossEntropy?"),
    ("loss = {", "loss = 3 #", "`loss` of [network] is 3", 4, "a loss (SoftmaxCrossEntropy, "),
    ("smoothing = 0.1", "smoothing = 2", "smoothing", 4, ""),
    ("strength = 1e-4", "strenght = 1e-4", "L2 has no key `strenght`", 5, "did you mean strength?"),
    ('dtype = "float32"', 'dtype = "float16"', '`dtype` of [network] is the text "float16"', 6, "float64"),
    ("seed = 3", "seed = 3\nsede = 4", "[network] has no key `sede`", 8, "did you mean seed?"),
    ("seed = 3", "seed = -3", "seed", 7, ""),
    ("[network]", "[netwrk]", "a network file has no `netwrk`", 2, "did you mean network?"),
    ("epochs = 30\nbatch", "epochs = -30\nbatch", "epochs is -30", 38, "at least 0"),
    ("batch = 32", "batch = 0", "batch is 0", 39, "at least 1"),
    ("patience = 4", "patience = 0", "patience is 0", 40, "at least 1"),
    ("validation = 0.25", "validation = 1", "validation is 1", 41, "below 1"),
    ("momentum = 0.8", "momentum = 1.0", "momentum", 37, ""),
    ('type = "Cosine"', 'type = "Sine"', "there is no schedule `Sine`", 37, "Cosine?"),
    ("units = 10\n", "units = 10\nunits = 11\n", "this is no TOML", 34, "toml.io"),
    ('type = "Dense"', 'type = "Dense', "this is no TOML", 32, "toml.io"),
]


@pytest.mark.parametrize(("old", "new", "what", "line", "do"), WRONG, ids=[case[1][:30] for case in WRONG])
def test_what_is_wrong_is_told_with_its_line(tmp_path, old, new, what, line, do):
    assert TEXT.count(old) >= 1
    error = refused(tmp_path, TEXT.replace(old, new, 1))
    assert what in error.what
    assert error.where.startswith(f"net.toml:{line}")
    assert do in error.do
    assert str(error).isprintable() or "\n" in str(error)
    assert "\x1b" not in str(error)


def test_a_line_is_shown_without_its_comment(tmp_path):
    assert refused(tmp_path, TEXT.replace("[1, 8, 8] ", "[1, -8] ")).where == "net.toml:3: shape = [1, -8]"


def test_a_file_without_layers_or_with_too_many_is_refused(tmp_path):
    head = TEXT[: TEXT.index("[[layer]]")]
    assert "has 0 layers" in refused(tmp_path, head).what
    many = head + '[[layer]]\ntype = "Flatten"\n' * 3
    assert len(read(tmp_path, many, Limits(layers=3)).network.nodes) == 3
    assert "has 3 layers" in refused(tmp_path, many, Limits(layers=2)).what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "there is no table [network]"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "this is no TOML"),
        (TEXT.encode("utf-16"), "no UTF-8"),
        (b"\xff\xfe\x00", "no UTF-8"),
        (b"a = '\x00'", "this is no TOML"),
        (b"a = 1\rb = 2", "this is no TOML"),
        (b"network = 3", "`network` is no table"),
        (b"layer = 3\n[network]\nshape = 1\nloss = 'Hinge'\n", "`layer` is no array of tables"),
        (b"layer = [1]\n[network]\nshape = 1\nloss = 'Hinge'\n", "`layer` is no array of tables"),
        (b"a = " + b"[" * 100_000, "it is nested too deeply"),
        (b"a = " + b"{b = " * 50_000, "it is nested too deeply"),
        (b"a" + b".a" * 200_000 + b" = 1", "too many dots"),
        (b"#\n[" + b"a." * 200_000 + b"a]", "too many dots"),
        (b"".join(b"a%d" % at + b".a" * 64 + b" = 1\n" for at in range(7000)), "a network file has no `a0`"),
        (b"[[layer]]\n" * 100_000, "there is no table [network]"),
        (b"[network]\nshape = 1\nloss = 'Hinge'\n" + b"[[layer]]\n" * 90_000, "has 90 k layers"),
        (b"#" * (2**20 + 1), "cannot be read"),
    ],
    ids=range(17),
)
def test_hostile_files_are_refused_in_short_time(tmp_path, content, what):
    begin = time.process_time()
    assert what in refused(tmp_path, content).what
    assert time.process_time() - begin < 5


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputRefused, match="cannot be read"):
        NetworkFile.read(tmp_path / "missing.toml")
    with pytest.raises(InputRefused, match="no regular file"):
        NetworkFile.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputRefused, match="no regular file"):
        NetworkFile.read(tmp_path / "pipe")


# --- weights ------------------------------------------------------------------------------------------------


def with_weights(folder: Path, name: str) -> NetworkFile:
    return read(folder, TEXT.replace("seed = 3", f'seed = 3\nweights = "{name}"'))


def test_weights_beside_the_file_are_loaded(tmp_path):
    other = read(tmp_path, TEXT.replace("seed = 3", "seed = 4")).network
    (tmp_path / "kept").mkdir()
    other.save(tmp_path / "kept" / "best.safetensors")
    found = with_weights(tmp_path, "kept/best.safetensors").network
    for name, value in other.parameters.items():
        assert np.array_equal(found.parameters[name], value)


@pytest.mark.parametrize(
    "name", ["../w", "/etc/passwd", "a/../../w", "", "..", "C:w", "a\\\\b", "\\u0000", "https://x/w"]
)
def test_weights_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(InputRefused, match="not beside the file"):
        with_weights(tmp_path, name)


def test_weights_behind_links_are_refused(tmp_path):
    folder, outside = tmp_path / "inside", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    read(folder, TEXT).network.save(outside / "w")
    (folder / "link").symlink_to(outside / "w")
    (folder / "folder").symlink_to(outside)
    (folder / "hard").hardlink_to(outside / "w")
    for name in ("link", "folder/w"):
        with pytest.raises(InputRefused, match="cannot be read"):
            with_weights(folder, name)
    with pytest.raises(InputRefused, match="cannot be read"):
        with_weights(folder, "hard")


def test_weights_that_are_no_weights_are_refused(tmp_path):
    (tmp_path / "pickle").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("pickle", "folder", "pipe", "missing"):
        with pytest.raises(InputRefused, match="the weights cannot be used") as caught:
            with_weights(tmp_path, name)
        assert caught.value.where.startswith("net.toml:8")
    assert not (tmp_path / "executed").exists()
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
