"""One transform of each kind, for the tests that every kind passes."""

from __future__ import annotations

from cde_app.targets import Identity, TargetTransform
from cde_app.targets.arcsinh import Arcsinh
from cde_app.targets.log import Log
from cde_app.targets.logit import Logit
from cde_app.targets.yeo_johnson import YeoJohnson

EXAMPLES: dict[str, TargetTransform] = {
    "identity": Identity(location=3.0, scale=2.5),
    "log": Log(location=0.3, scale=0.7, shift=1.5),
    "logit": Logit(location=-0.4, scale=0.9, lower=-2.0, upper=60.0),
    "yeo_johnson": YeoJohnson(location=0.2, scale=1.3, exponent=0.3, centre=4.0, spread=0.5),
    "arcsinh": Arcsinh(location=0.2, scale=0.9, centre=4.0, width=1.5),
}
"""Defined from -1.4 to 50 at least."""
