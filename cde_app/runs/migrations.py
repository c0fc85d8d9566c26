"""The format of a run, and how a run of an earlier format is brought forward as it is read; its files do not change.

A format has a number. It fixes what `posterior/` and `columns.json` hold, name by name: an earlier cde ignores a part
that it does not know, and would predict something else. Any change there takes the next number, a step of `STEPS` from
the number before, and stored runs (see CONTRIBUTING.md). The manifest and the scores may gain facts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FORMAT_VERSION = 5
"""The format that this cde writes."""


def migrate(name: str, content: Any, *, version: int) -> Any:
    """Return what a JSON file of a run holds in the form of today's format.

    Args:
        name: the file, by its name in the run.
        content: what it holds.
        version: the format of the run, from `OLDEST_VERSION` on.

    Raises:
        AttributeError, IndexError, KeyError, TypeError: the content has not the form of its format.
    """
    for step in range(version, FORMAT_VERSION):
        bring_forward = STEPS[step].get(name)
        content = content if bring_forward is None else bring_forward(content)
    return content


# --- from 4 to 5: the parts of a posterior have kinds ---------------------------------------------------------------


def _predictor_of_4(predictor: dict[str, Any]) -> dict[str, Any]:
    """Bring a predictor forward; the later runs of format 4 have some or all of its parts in the form of format 5."""
    members = [factor if isinstance(factor, list) else factor["members"] for factor in predictor["factors"]]
    return predictor | {"factors": [{"members": [_posterior_of_4(one) for one in factor]} for factor in members]}


def _posterior_of_4(posterior: dict[str, Any]) -> dict[str, Any]:
    rest = {name: part for name, part in posterior.items() if name != "noise_trend"}
    defence = posterior["defence"]
    layers = [
        layer | {"mean": _mean_of_4(layer["mean"]), "compositor": _compositor_of_4(layer["compositor"])}
        for layer in posterior["inner_layers"]
    ]
    return rest | {
        "inner_layers": layers,
        "compositor": _compositor_of_4(posterior["compositor"]),
        "noise": _noise_of_4(posterior["noise"], posterior.get("noise_trend")),
        "defence": None if defence is None else defence | {"mean": _mean_of_4(defence["mean"])},
        "output_mean": _mean_of_4(posterior["output_mean"]),
    }


def _mean_of_4(mean: dict[str, Any]) -> dict[str, Any]:
    """Every kind computes x A + b, and only a training asks which one it is."""
    return mean if "kind" in mean else {"kind": "identity" if mean["slope"] is None else "linear"} | mean


def _compositor_of_4(compositor: dict[str, Any] | None) -> dict[str, Any] | None:
    """A warp was a part of the kind that concatenates, and every kind had a projection."""
    if compositor is None or compositor["kind"] == "warp":
        return compositor
    if compositor["kind"] == "concatenate":
        warp = compositor.get("warp")
        return {"kind": "concatenate"} if warp is None else {"kind": "warp"} | warp
    return {name: part for name, part in compositor.items() if name != "warp"}


def _noise_of_4(noise: dict[str, Any], trend: dict[str, Any] | None) -> dict[str, Any]:
    """Return the noise with its kind; Student's t is normal noise with factors at the nodes, as predicting uses it."""
    if "kind" in noise:
        return noise
    if trend is None:
        return {"kind": "gaussian", "variance": noise}
    return {"kind": "heteroscedastic_gaussian", "variance": noise} | trend


STEPS: dict[int, dict[str, Callable[[Any], Any]]] = {4: {"posterior/spec.json": _predictor_of_4}}
"""Format -> file -> what brings its content forward by one format; a file that stays as it is has no entry.

Formats before 4 read labels and dates differently (2) or have no climatology in the defence (3): those runs are trained
again.
"""
OLDEST_VERSION = min(STEPS, default=FORMAT_VERSION)
"""The oldest format that is read."""
