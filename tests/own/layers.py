"""Layers that tests register."""

import numpy as np

from fastvae.own import Activation, Layer


class Scaling(Layer):
    """out = gain x + shift, from parameters that start at 1 and 0."""

    NAME, ROW, START = "scaling", "x:B,D gain:D shift:D -> out:B,D", {"gain": 1.0}

    @staticmethod
    def forward(x, gain, shift, out):
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[i, j] = gain[j] * x[i, j] + shift[j]

    @staticmethod
    def backward(x, gain, shift, out, d_out, d_x):
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                d_x[i, j] = gain[j] * d_out[i, j]

    @staticmethod
    def gradient(x, gain, shift, out, d_out, d_gain, d_shift):
        for j in range(x.shape[1]):
            d_gain[j], d_shift[j] = 0.0, 0.0
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                d_gain[j] += d_out[i, j] * x[i, j]
                d_shift[j] += d_out[i, j]


class Product(Layer):
    """out = x @ weight: what a dense layer does, with a weight that is drawn."""

    NAME, ROW = "product", "x:B,D weight:D,H -> out:B,H"
    START = {"weight": lambda rng, shape: rng.normal(size=shape) / np.sqrt(shape[0])}

    @staticmethod
    def forward(x, weight, out):
        for i in range(x.shape[0]):
            for k in range(weight.shape[1]):
                out[i, k] = 0.0
                for j in range(x.shape[1]):
                    out[i, k] += x[i, j] * weight[j, k]

    @staticmethod
    def backward(x, weight, out, d_out, d_x):
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                d_x[i, j] = 0.0
                for k in range(weight.shape[1]):
                    d_x[i, j] += d_out[i, k] * weight[j, k]

    @staticmethod
    def gradient(x, weight, out, d_out, d_weight):
        for j in range(x.shape[1]):
            for k in range(weight.shape[1]):
                d_weight[j, k] = 0.0
                for i in range(x.shape[0]):
                    d_weight[j, k] += x[i, j] * d_out[i, k]


class Dropout(Layer):
    """Units are 0 with probability 1/4 in training, the others larger (Srivastava et al. 2014)."""

    NAME, ROW, TRAINING_ONLY = "dropout", "x:B,D noise:B,D -> out:B,D", True

    @staticmethod
    def forward(x, noise, out):
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[i, j] = x[i, j] / 0.75 if noise[i, j] > 0.25 else 0.0

    @staticmethod
    def backward(x, noise, out, d_out, d_x):
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                d_x[i, j] = d_out[i, j] / 0.75 if noise[i, j] > 0.25 else 0.0


class OwnTanh(Activation):
    """The package's, as a formula."""

    NAME = "own_tanh"

    @staticmethod
    def formula(a):
        return np.tanh(a), 1 - np.tanh(a) ** 2


class Gelu(Activation):
    """a Phi(a), by the approximation of Hendrycks and Gimpel 2016."""

    NAME = "gelu"

    @staticmethod
    def formula(a):
        inner = np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)
        t = np.tanh(inner)
        return a * (1 + t) / 2, (1 + t) / 2 + a * (1 - t**2) / 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * a**2)
