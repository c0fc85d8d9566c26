from __future__ import annotations

import numpy as np
import pytest

from cde_app.errors import UsageError
from cde_app.explanation.curves import axis_of
from cde_app.explanation.explain import Explanation, explain
from cde_app.explanation.inputs import grouped, players
from cde_app.explanation.sizes import Sizes
from tests.explanation.simulators import inputs, shared, table


def explained(*, with_targets: bool = True, num_rows: int = 300) -> tuple[Explanation, list[tuple[float, float]]]:
    X, y = table(num_rows, seed=5)
    costs: list[tuple[float, float]] = []
    own = inputs()
    axes = [axis_of(one, X[:, i], (), lambda v: v[:, None], is_date=False) for i, one in enumerate(own)]
    found = explain(
        shared,
        X,
        y if with_targets else None,
        own,
        grouped(own, {"both": ["a", "d"]}, option="groups"),
        axes,
        rows=np.arange(num_rows) + 7,
        units={"y": 1.5},
        thresholds=(),
        sizes=Sizes(repeats=2, shares=4),
        seed=0,
        on_cost=lambda done, total: costs.append((done, total)),
    )
    return found, costs


def test_the_sentences_say_what_moves_the_mean_and_what_the_spread() -> None:
    first, dearest, idle, *replaced = explained()[0].sentences
    assert "its mean moves with 'd'" in first or "its mean moves with 'a'" in first
    assert "the width of its 90 % interval moves with 'b'" in first
    assert "'c'" not in first
    assert dearest.startswith("Taken from another row, 'b' (")
    assert idle.startswith("'c' moves nothing")
    assert [sentence[:9] for sentence in replaced] == ["'a' costs", "'d' costs"]


def test_without_targets_everything_but_the_costs_is_there() -> None:
    scored, unscored = explained()[0], explained(with_targets=False)[0]
    assert {one.measure for one in unscored.importance} == {"share", "change"}
    assert [one for one in scored.importance if one.measure != "cost"] == list(unscored.importance)
    assert any(sentence.startswith("'c' moves nothing") for sentence in unscored.sentences)


def test_a_group_costs_what_its_members_say_together() -> None:
    found, _ = explained()
    costs = {(one.input, one.donors): one for one in found.importance if one.quantity == "nlpd"}
    assert (costs["both", "any"].value or 0) > 2 * (costs["a", "any"].value or 0)
    assert (costs["both", "alike"].value or 0) > 10 * abs(costs["a", "alike"].value or 0)
    assert [one.name for one in found.players] == ["b", "c", "both"]


def test_the_cost_that_is_announced_is_the_cost() -> None:
    for with_targets in (True, False):
        _, costs = explained(with_targets=with_targets, num_rows=40)
        assert {total for _, total in costs} == {costs[-1][0]}
        assert [done for done, _ in costs] == sorted(done for done, _ in costs)


def test_the_shares_add_up_for_every_quantity() -> None:
    found = explained()[0]
    shares = found.shares
    assert shares is not None
    assert found.quantities == (("y", "mean"), ("y", "log_sd"))
    np.testing.assert_allclose(shares.base + shares.shares.sum(1), shares.values, atol=1e-13)
    assert len(found.share_columns()["row"]) == 4 * 2 * 3
    assert set(found.share_columns()["row"]) <= set(range(8, 308)), "positions in the table, counted from 1"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"g": ["a", "bb"]}, "expected inputs of the run, 'a', 'b', 'c', 'd'; got 'bb'. Did you mean 'b'?"),
        ({"a": ["b", "c"]}, "expected a name that no input has; got 'a'"),
        ({"g": ["a"]}, "expected at least two inputs in the group 'g'; got 1"),
        ({"g": ["a", "b"], "h": ["b", "c"]}, "expected each input in one group; got 'b' in 'g' and 'h'"),
    ],
)
def test_a_group_that_is_none_is_refused(groups: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        grouped(inputs(), groups, option="--group")
    assert f"--group: {message}" in str(caught.value)


def test_every_feature_belongs_to_one_player() -> None:
    own = inputs()
    playing = players(own, grouped(own, {"g": ["b", "d"]}, option="--group"))
    assert sorted(feature for one in playing for feature in one.features) == [0, 1, 2, 3]
