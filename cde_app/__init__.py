"""Conditional density estimation with latent-variable deep Gaussian processes.

Example:
    import cde_app as cde

    model = cde.train("mine.yaml", out="runs/mine")     # or cde.load("runs/mine"), which needs no TensorFlow
    forecast = model.predict(frame)                     # a pandas.DataFrame
    forecast.log_prob(frame[["y"]]), forecast.interval(0.9), forecast.probability(above=100.0, target="y")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cde_app.encoder_spec import EncoderSpec
    from cde_app.library import CrossValidation, cross_validate, load, train
    from cde_app.predictive.forecast import Forecast
    from cde_app.trained_model import TrainedModel

__version__ = "0.1.0"
__all__ = [
    "CrossValidation",
    "EncoderSpec",
    "Forecast",
    "TrainedModel",
    "__version__",
    "cross_validate",
    "load",
    "train",
]

_MODULES = {
    "EncoderSpec": "cde_app.encoder_spec",
    "CrossValidation": "cde_app.library",
    "cross_validate": "cde_app.library",
    "load": "cde_app.library",
    "train": "cde_app.library",
    "Forecast": "cde_app.predictive.forecast",
    "TrainedModel": "cde_app.trained_model",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import cde_app` costs nothing (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'cde_app' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
