"""A layer of every type, a loss of every type and an optimiser of every type, small, for kernels of a GPU."""

from __future__ import annotations

import numpy as np

from gradc import nn

LAYERS: tuple[tuple[nn.Layer, tuple[tuple[int, ...], ...]], ...] = (
    (nn.Dense(4), ((3,),)),
    (nn.Conv1D(3, 3), ((2, 6),)),
    (nn.Conv2D(3, (3, 3), padding="same"), ((2, 5, 4),)),
    (nn.Conv2D(4, (3, 3), stride=2, padding=1, groups=2), ((2, 5, 5),)),
    (nn.MaxPool(2), ((2, 4, 4),)),
    (nn.MaxPool(3, stride=2), ((2, 5, 5),)),
    (nn.AvgPool(2), ((2, 4, 4),)),
    (nn.GlobalAvgPool(), ((3, 4, 4),)),
    (nn.BatchNorm(), ((3, 4, 4),)),
    (nn.LayerNorm(), ((5,),)),
    (nn.Dropout(0.5), ((6,),)),
    (nn.Flatten(), ((2, 3),)),
    (nn.Reshape((3, 2)), ((6,),)),
    (nn.Concatenate(inputs=("a", "b")), ((3,), (2,))),
    (nn.Add(inputs=("a", "b")), ((3,), (3,))),
    (nn.Attention(2), ((4, 6),)),
    (nn.Sigmoid(), ((5,),)),
    (nn.Tanh(), ((5,),)),
    (nn.ReLU(), ((5,),)),
    (nn.LeakyReLU(), ((5,),)),
    (nn.PReLU(), ((5,),)),
    (nn.ELU(), ((5,),)),
    (nn.SELU(), ((5,),)),
    (nn.GELU(), ((5,),)),
    (nn.SiLU(), ((5,),)),
    (nn.Softplus(), ((5,),)),
    (nn.HardTanh(), ((5,),)),
    (nn.Maxout(2), ((6,),)),
    (nn.Softmax(), ((5,),)),
    (nn.Equation("y[n,o] = sum[i] w[o,i] * x[n,i]", {"w": (4, 3)}), ((3,),)),
)
LOSSES: tuple[nn.Loss, ...] = (
    nn.SoftmaxCrossEntropy(),
    nn.Logistic(),
    nn.Hinge(),
    nn.Perceptron(),
    nn.SquaredError(),
    nn.AbsoluteError(),
    nn.Huber(),
    nn.Divergence(),
    nn.Masked(nn.SoftmaxCrossEntropy()),
)
OPTIMISERS: tuple[nn.Optimiser, ...] = (
    nn.GradientDescent(0.1),
    nn.Momentum(0.1),
    nn.AdaGrad(0.1),
    nn.RMSProp(0.1),
    nn.Adam(0.1),
    nn.AdamW(0.1),
)


def inputs_of(shapes: tuple[tuple[int, ...], ...], batch: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.normal(size=(batch, *shape)) for shape in shapes]
