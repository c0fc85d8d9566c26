"""What an explanation says, from numbers written by hand."""

import pytest

from cde_app.explanation.importance import Importance
from cde_app.explanation.inputs import Input
from cde_app.explanation.sentences import sentences


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"a": (0.4, 0.01), "b": (0.2, 0.01), "c": (0.04, 0.05)}, "moves with 'a' (40 %) and 'b' (20 %)"),
        ({"a": (0.4, 0.01), "b": (0.35, 0.2)}, "moves with 'a' (40 %), and perhaps with 'b' (35 ± 20 %)"),
        (
            {"a": (0.4, 0.01), "b": (0.3, 0.01), "c": (0.2, 0.01), "d": (0.1, 0.05)},
            "moves with 'a' (40 %), 'b' (30 %) and 'c' (20 %)",
        ),
        (
            {"a": (0.4, 0.01), "b": (0.5, 0.3), "c": (0.04, 0.05)},
            "moves with 'a' (40 %), and perhaps with 'b' (50 ± 30 %)",
        ),
        ({"a": (0.02, 0.001), "b": (0.5, 0.3), "c": (0.01, 0.05)}, "perhaps moves with 'b' (50 ± 30 %)"),
        ({"a": (0.01, 0.01), "b": (0.0, 0.0)}, "moves with no input by itself"),
        ({"a": (None, None), "b": (None, None)}, "is the same in all rows"),
    ],
)
def test_a_large_share_that_is_uncertain_is_not_passed_over(
    shares: dict[str, tuple[float | None, float | None]], expected: str
) -> None:
    importance = [Importance("y", name, "any", "mean", "share", *share) for name, share in shares.items()]
    first, *_ = sentences(importance, [Input(name, (i,)) for i, name in enumerate(shares)], {})
    assert first == f"y: its mean {expected}."
