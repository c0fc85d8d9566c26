"""The kinds of transforms, and what is looked up by their settings."""

from __future__ import annotations

from numpy.typing import ArrayLike

from cde_app import config
from cde_app.targets.arcsinh import Arcsinh
from cde_app.targets.identity import Identity
from cde_app.targets.log import Log
from cde_app.targets.logit import Logit
from cde_app.targets.transform import Domain, TargetTransform, UnsuitedError
from cde_app.targets.yeo_johnson import YeoJohnson

KINDS: dict[type[config.Section], type[TargetTransform]] = {
    config.IdentityTransform: Identity,
    config.LogTransform: Log,
    config.YeoJohnsonTransform: YeoJohnson,
    config.LogitTransform: Logit,
    config.ArcsinhTransform: Arcsinh,
}
"""The transform of each class of settings; `auto` tries them in this order, and takes the first if no other gains."""


def fit_transform(settings: config.Section, y: ArrayLike, *, label: str) -> TargetTransform:
    """Fit the transform of some settings; see `TargetTransform.fit`.

    Args:
        settings: the settings of one transform, not `auto`.
        y: [N], training targets [units of the target].
        label: how an error names the target.
    """
    return KINDS[type(settings)].fit(y, label=label, **_options(settings))


def candidate_transforms(y: ArrayLike, *, label: str = "the target") -> list[TargetTransform]:
    """Fit every transform that `auto` chooses from, the identity first; leave out those that do not suit y.

    Args:
        y: [N], training targets [units of the target].
        label: how an error names the target.

    Raises:
        DataError: y has a gap or an infinity, or is constant.
    """
    candidates = []
    for settings, transform in KINDS.items():
        if transform.auto_may_choose:
            try:
                candidates.append(fit_transform(settings(), y, label=label))
            except UnsuitedError:
                continue
    return candidates


def domain_of(settings: config.Section) -> Domain:
    """Return where a target may lie; with `auto` anywhere, because the identity suits every target."""
    return KINDS.get(type(settings), Identity).domain(**_options(settings))


def _options(settings: config.Section) -> dict[str, float]:
    """Return the settings other than the kind."""
    return settings.model_dump(exclude={"kind"})
