"""Networks: layers in plain NumPy, compiled with loss, gradients and update to one kernel for a training step.

    network = nn.Network(nn.Dense(100), nn.ReLU(), nn.Dense(10), shape=64, loss=nn.SoftmaxCrossEntropy())
    history = network.fit(x, labels, optimiser=nn.Adam(), epochs=20, validation=(x_test, labels_test))

Nothing in the compiler knows a layer: these are NumPy functions that are traced, and nobody wrote a backward pass.
"""

from gradc.nn.files.network_file import NetworkFile
from gradc.nn.files.recipe import Recipe
from gradc.nn.history import Epoch, History
from gradc.nn.initialisers import Constant, Glorot, He, Lecun, Normal, Ones, Orthogonal, Zeros
from gradc.nn.layer import Context, Initialiser, Layer, Parameter, Regulariser
from gradc.nn.layers.activations import (
    ELU,
    GELU,
    SELU,
    HardTanh,
    LeakyReLU,
    Maxout,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from gradc.nn.layers.attention import Attention
from gradc.nn.layers.convolution import Conv1D, Conv2D
from gradc.nn.layers.dense import Dense
from gradc.nn.layers.dropout import Dropout
from gradc.nn.layers.embedding import Embedding
from gradc.nn.layers.function import Equation, Function
from gradc.nn.layers.normalisation import BatchNorm, LayerNorm
from gradc.nn.layers.pooling import AvgPool, GlobalAvgPool, MaxPool
from gradc.nn.layers.shapes import Add, Concatenate, Flatten, Reshape
from gradc.nn.losses import (
    AbsoluteError,
    Divergence,
    Hinge,
    Huber,
    Logistic,
    Loss,
    Perceptron,
    SoftmaxCrossEntropy,
    SquaredError,
)
from gradc.nn.masked import Masked
from gradc.nn.memory import MemoryPlan
from gradc.nn.network import Network
from gradc.nn.optimisers import AdaGrad, Adam, AdamW, GradientDescent, Momentum, Optimiser, RMSProp
from gradc.nn.pictures.curves import curves
from gradc.nn.pictures.plot import Plot
from gradc.nn.pictures.signals import signal_picture
from gradc.nn.pictures.weights import first_weights
from gradc.nn.regularisers import L1, L2, Elastic
from gradc.nn.schedules import (
    ConstantRate,
    Cosine,
    ExponentialDecay,
    InverseTimeDecay,
    LinearWarmup,
    Schedule,
    StepDecay,
)
from gradc.nn.signals import LayerSignals, Signals
from gradc.nn.step import Step
from gradc.nn.summary import LayerCost, Summary
from gradc.nn.trainer import Training

__all__ = [
    "ELU",
    "GELU",
    "L1",
    "L2",
    "SELU",
    "AbsoluteError",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Add",
    "Attention",
    "AvgPool",
    "BatchNorm",
    "Concatenate",
    "Constant",
    "ConstantRate",
    "Context",
    "Conv1D",
    "Conv2D",
    "Cosine",
    "Dense",
    "Divergence",
    "Dropout",
    "Elastic",
    "Embedding",
    "Epoch",
    "Equation",
    "ExponentialDecay",
    "Flatten",
    "Function",
    "GlobalAvgPool",
    "Glorot",
    "GradientDescent",
    "HardTanh",
    "He",
    "Hinge",
    "History",
    "Huber",
    "Initialiser",
    "InverseTimeDecay",
    "Layer",
    "LayerCost",
    "LayerNorm",
    "LayerSignals",
    "LeakyReLU",
    "Lecun",
    "LinearWarmup",
    "Logistic",
    "Loss",
    "Masked",
    "MaxPool",
    "Maxout",
    "MemoryPlan",
    "Momentum",
    "Network",
    "NetworkFile",
    "Normal",
    "Ones",
    "Optimiser",
    "Orthogonal",
    "PReLU",
    "Parameter",
    "Perceptron",
    "Plot",
    "RMSProp",
    "ReLU",
    "Recipe",
    "Regulariser",
    "Reshape",
    "Schedule",
    "SiLU",
    "Sigmoid",
    "Signals",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "SquaredError",
    "Step",
    "StepDecay",
    "Summary",
    "Tanh",
    "Training",
    "Zeros",
    "curves",
    "first_weights",
    "signal_picture",
]
