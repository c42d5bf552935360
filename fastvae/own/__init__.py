"""What is one's own: a likelihood, a layer, an activation, an op; written in Python, checked, compiled at run time.

    from fastvae.own import Activation, Layer, Likelihood, check_gradients, op, register

    @register
    class Laplace(Likelihood): ...            VAE(likelihood="laplace"): formulas of one number
    @register
    class LayerNorm(Layer): ...               VAE(hidden=(64, "layer_norm", 64)): functions over arrays
    @register
    class Gelu(Activation): ...               VAE(activation="gelu"): a formula of one number
    @op("x:B,D -> out:B,D")
    def centred(x, out): ...                  p.add("centred", x, out), in a network of one's own

Each becomes a row of the table of ops, compiled by itself and called as all others: nothing else is compiled again,
and results do not depend on the number of threads. `help` of each says what it must bring; whatever is wrong is said
when it is registered, with its place.

A model's file says what it was made with, by name and module, and nothing of it is ever imported by that: import the
module that registers it, then load; a command is told so by python -c "import mine; from fastvae.evaluate import main;
main()" and its arguments. Where a formula has changed since, loading warns. Pickles import the module themselves. All
of it works on the CPU; on a GPU it is refused.

A loop of one's own needs none of this: `initialize(X)`, `loss_and_gradients(X)` and `parameters()` of an estimator,
whose arrays are the model's own; then `save`, and whatever a model does.
"""

from typing import Any, TypeVar

from fastvae.own.differences import check_gradients as check_gradients
from fastvae.own.layer import Activation as Activation
from fastvae.own.layer import Layer as Layer
from fastvae.own.layer import register_layer, unregister_layer
from fastvae.own.likelihood import Likelihood as Likelihood
from fastvae.own.ops import op as op
from fastvae.own.ops import remove_op
from fastvae.own.registering import register_likelihood, unregister_likelihood

Kind = TypeVar("Kind", bound=type)


def register(kind: Kind) -> Kind:
    """Register a class of one's own under its NAME: a decorator of subclasses of `Likelihood`, `Layer`, `Activation`.

    The same name again, from the same place in the same module, replaces what was there, as where a cell of a notebook
    runs again: models that are there compute by the new one from then on.

    Raises
    ------
    TypeError, ValueError
        Something is missing, of another kind, or wrong: the message names what, where, and what was found. The name is
        taken.
    """
    if isinstance(kind, type) and issubclass(kind, Likelihood) and kind is not Likelihood:
        register_likelihood(kind)
    elif isinstance(kind, type) and issubclass(kind, Layer) and kind not in (Layer, Activation):
        register_layer(kind)
    else:
        raise TypeError(f"register: {kind!r} is no subclass of fastvae.own.Likelihood, Layer or Activation")
    return kind


def unregister(what: Any) -> None:
    """Take a class that was registered, or an op by its name, away again."""
    if isinstance(what, str):
        remove_op(what)
    elif issubclass(what, Likelihood):
        unregister_likelihood(what.NAME)
    else:
        unregister_layer(what.NAME)
