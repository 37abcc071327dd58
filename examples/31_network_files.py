# slow
"""Networks as files: summed up, checked, trained, resumed and shipped by the command, on the real digits."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import gradc.nn as nn

HERE = Path(__file__).parent


def gradc(*words: object) -> str:
    """Run the command as a shell would, and return what it prints."""
    print("$ gradc", *words)
    command = [sys.executable, "-m", "gradc", *map(str, words)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(text)
    return text


digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
images, labels = digits.images[order] / 16, digits.target[order]
np.savez("digits.npz", x=images.reshape(-1, 64), y=labels)
np.savez("digit_images.npz", x=images[:, None], y=labels)

for name, data, epochs, least in (
    ("31_dense", "digits.npz", 30, 0.96),
    ("32_convnet", "digit_images.npz", 12, 0.97),
):
    net = HERE / f"{name}.toml"
    gradc("summary", net)
    gradc("train", net, "--data", data, "--out", name, "--epochs", epochs)
    with open(f"{name}/history.csv") as file:
        history = list(csv.DictReader(file))
    assert float(history[-1]["accuracy"]) > least, history[-1]
    assert float(history[-1]["loss"]) < 0.5 * float(history[0]["loss"])
assert "ok: " in gradc("check", HERE / "31_dense.toml")
gradc("train", HERE / "31_dense.toml", "--data", "digits.npz", "--out", "31_dense", "--resume", "--plots")

# What was trained is a file and its weights: Python takes them up, and so does the exporter.
trained = nn.NetworkFile.read("32_convnet/network.toml").network
print(trained, f"{(trained.predict(images[:, None]).argmax(axis=1) == labels).mean():.2%} of all digits")
gradc("compile", "32_convnet/network.toml", "-o", "read_digit")
program = "from read_digit import predict; import numpy as np; print(predict(np.load('image.npy')).argmax())"
np.save("image.npy", images[:1, None])
shipped = subprocess.run(
    [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
).stdout
assert int(shipped) == trained.predict(images[:1, None]).argmax()

# A network that was written in Python can be written to a file, and is the same network when it is read.
python = nn.Network(nn.Dense(32), nn.Tanh(), nn.Dense(10), shape=64, loss=nn.SoftmaxCrossEntropy(), seed=3)
nn.NetworkFile(python, nn.Recipe(nn.Momentum(0.1), epochs=5)).write("python.toml")
read = nn.NetworkFile.read("python.toml").network
assert all(np.array_equal(read.parameters[name], value) for name, value in python.parameters.items())
