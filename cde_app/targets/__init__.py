"""The monotone map from a target to the standardised scale the model sees, with its log-Jacobian.

z = (T(y) - location) / scale. A kind of T is a class in a module of its own, and an entry in `kinds`, which maps its
settings to it; all properties of a transform are in its class.
NumPy and SciPy only: prediction imports this package without pandas.
"""

from __future__ import annotations

from cde_app.targets.identity import Identity
from cde_app.targets.kinds import KINDS, candidate_transforms, domain_of, fit_transform
from cde_app.targets.transform import Domain, TargetTransform

__all__ = [
    "KINDS",
    "Domain",
    "Identity",
    "TargetTransform",
    "candidate_transforms",
    "domain_of",
    "fit_transform",
]
