"""Networks: layers in plain NumPy, compiled with loss, gradients and update to one kernel for a training step.

    network = nn.Network(nn.Dense(100), nn.ReLU(), nn.Dense(10), shape=64, loss=nn.SoftmaxCrossEntropy())
    history = network.fit(x, labels, optimiser=nn.Adam(), epochs=20, validation=(x_test, labels_test))

Nothing in the compiler knows a layer: these are NumPy functions that are traced, and nobody wrote a backward pass.
"""

from gradc.nn.history import Epoch, History
from gradc.nn.initialisers import Constant, Glorot, He, Lecun, Normal, Ones, Orthogonal, Zeros
from gradc.nn.layer import Context, Initialiser, Layer, Parameter
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
from gradc.nn.network import Network
from gradc.nn.optimisers import AdaGrad, Adam, AdamW, GradientDescent, Momentum, Optimiser, RMSProp
from gradc.nn.regularisers import L1, L2, Elastic, Regulariser
from gradc.nn.schedules import (
    ConstantRate,
    Cosine,
    ExponentialDecay,
    InverseTimeDecay,
    LinearWarmup,
    Schedule,
    StepDecay,
)
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
    "LayerNorm",
    "LeakyReLU",
    "Lecun",
    "LinearWarmup",
    "Logistic",
    "Loss",
    "MaxPool",
    "Maxout",
    "Momentum",
    "Network",
    "Normal",
    "Ones",
    "Optimiser",
    "Orthogonal",
    "PReLU",
    "Parameter",
    "Perceptron",
    "RMSProp",
    "ReLU",
    "Regulariser",
    "Reshape",
    "Schedule",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "SquaredError",
    "StepDecay",
    "Tanh",
    "Training",
    "Zeros",
]
