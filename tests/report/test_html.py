from __future__ import annotations

import copy
import functools
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from cde_app.evaluation.baselines import fit_climatology, fit_linear_gaussian
from cde_app.evaluation.scores import score_rows, skill, summarise
from cde_app.report.html import format_score, render_report

PNG = b"\x89PNG\r\n\x1a\n"
VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """Collects tags and checks that they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def make_metrics(num_targets: int, *, names: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Metrics of a linear Gaussian model, which is the truth, beside the climatology."""
    return copy.deepcopy(_make_metrics(num_targets, names))


@functools.cache
def _make_metrics(num_targets: int, names: tuple[str, ...] | None) -> dict[str, Any]:
    num_rows = 120
    random = np.random.default_rng(0)
    X = random.normal(size=(20 * num_rows, 1))
    targets = 3 * X + random.normal(size=(20 * num_rows, num_targets))
    train, test = slice(num_rows, None), slice(0, num_rows)
    scales = targets[train].std(axis=0)
    model = score_rows(
        fit_linear_gaussian(X[train], targets[train]).predict(X[test]), targets[test], scales=scales, seed=0
    )
    baseline = score_rows(fit_climatology(targets[train]).predict(num_rows), targets[test], scales=scales, seed=0)
    return {
        **summarise(model, target_names=names),
        "baselines": {"climatology": summarise(baseline, target_names=names)},
        "skill": {"climatology": skill(model, baseline)},
    }


def render(metrics: dict[str, Any], **changes: Any) -> str:
    arguments: dict[str, Any] = {
        "title": "motorcycle",
        "metrics": metrics,
        "pictures": {"pit": PNG, "density_times": PNG},
        "config_yaml": "schema_version: 1\n",
        "manifest": {"format_version": 1, "packages": {"numpy": "1.26"}, "argv": ["cde", "train"]},
        "warnings": [],
        "history": [],
    }
    return render_report(**{**arguments, **changes})


def test_the_page_opens_with_the_verdict_and_shows_scores_pictures_and_provenance():
    metrics = make_metrics(1)
    page = render(metrics)
    assert "Yes: on the rows held out, these densities can be trusted." in page
    assert page.index("these densities can be trusted") < page.index("<table")
    assert format_score(metrics["nlpd"]) in page
    assert format_score(metrics["baselines"]["climatology"]["crps"]) in page
    assert "Judged on 120 held-out rows." in page
    assert "schema_version: 1" in page
    assert "packages.numpy" in page


def test_the_page_is_well_formed_self_contained_and_accessible():
    page = render(make_metrics(2, names=("height", "weight")))
    parsed = Page(page)
    assert parsed.open == []
    tags = [tag for tag, _ in parsed.tags]
    assert "script" not in tags
    assert "link" not in tags
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert tags.count("h1") == 1
    assert tags.count("main") == 1
    for tag, attributes in parsed.tags:
        if tag == "img":
            assert attributes["alt"]
            assert (attributes["src"] or "").startswith("data:image/png;base64,")
        if tag == "html":
            assert attributes["lang"] == "en"
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
        assert not any(name.startswith("on") for name in attributes)
    assert "prefers-color-scheme: dark" in page


def test_names_that_look_like_markup_are_escaped():
    evil = "<script>alert(1)</script>"
    page = render(
        make_metrics(2, names=(evil, "b")),
        title=evil,
        warnings=[evil],
        config_yaml=evil,
        manifest={evil: evil},
        pictures={f'"><{evil}': PNG},
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6
    assert Page(page).open == []


def test_several_targets_have_a_table_of_their_own():
    page = render(make_metrics(2, names=("height", "weight")))
    assert "Each target" in page
    assert "Energy score" in page
    assert "Each target" not in render(make_metrics(1))


def test_an_untrusted_model_says_so_first_and_warnings_follow():
    metrics = make_metrics(1)
    metrics["coverage"]["0.9"]["per_target"]["0"]["value"] = 0.6
    page = render(metrics, warnings=["Column 'y' is rounded to 0.5."])
    assert "No: do not take these densities at face value." in page
    assert page.index("No: do not") < page.index("is rounded to 0.5")


@pytest.mark.parametrize("metrics", [{}, {"num_rows": 0}])
def test_a_run_without_held_out_rows_gets_a_report_all_the_same(metrics: dict[str, Any]):
    page = render(metrics, pictures={}, manifest={})
    assert "no rows were held out" in page
    assert Page(page).open == []


def test_a_run_with_one_held_out_row_gets_a_report():
    metrics = make_metrics(1)
    one = {**metrics, "num_rows": 1, "nlpd": {"value": 1.0, "se": None}, "baselines": {}, "skill": {}}
    assert "Too few held-out rows" in render(one)


def test_the_same_report_is_the_same_text():
    assert render(make_metrics(1)) == render(make_metrics(1))


def test_pictures_go_from_calibration_to_densities_to_the_model():
    page = render(make_metrics(1), pictures=dict.fromkeys(["history", "mine", "heatmap", "coverage", "pit"], PNG))
    alts = [attributes["alt"] or "" for tag, attributes in Page(page).tags if tag == "img"]
    assert [alt.split("(")[-1].rstrip(")") for alt in alts] == ["pit", "coverage", "heatmap", "history", "mine"]


def test_svg_pictures_are_inlined_as_svg():
    assert "data:image/svg+xml;base64," in render(make_metrics(1), pictures={"pit": b"<?xml version='1.0'?><svg/>"})


@pytest.mark.parametrize(
    ("entry", "percent", "text"),
    [
        ({"value": 1.23456, "se": 0.0123}, False, "1.235 ± 0.012"),
        ({"value": -0.5, "se": 0.25}, False, "\N{MINUS SIGN}0.50 ± 0.25"),
        ({"value": 123456.0, "se": 789.0}, False, "123,456 ± 789"),
        ({"value": 0.9123, "se": 0.0091}, True, "91.23 ± 0.91%"),
        ({"value": 0.5, "se": None}, False, "0.5"),
        ({"value": 1e-9, "se": 1e-10}, False, "1e\N{MINUS SIGN}09 ± 1e\N{MINUS SIGN}10"),
        ({"value": None, "se": None, "num_infinite": 2}, False, "not finite"),
        ({"value": None, "se": None}, False, "unknown"),
        (None, False, "unknown"),
    ],
)
def test_a_score_is_written_to_the_second_digit_of_its_error(entry: dict[str, Any] | None, percent: bool, text: str):
    assert format_score(entry, percent=percent) == text


def test_the_page_says_where_each_training_ended_under_the_names_of_its_history() -> None:
    entry = {"step": 25, "bound": -1.5, "causes_local_kl": 0.12345, "validation_score": None, "elapsed_seconds": 1.0}
    history = [{"training": 0, **entry}, {"training": 0, **entry, "step": 1050}, {"training": 1, **entry}]
    page = render(make_metrics(1), history=history)
    table = page[page.index(">Training</h2>") :]
    assert re.findall(r'class="number">([^<]*)<', table) == [
        *("step", "bound", "causes_local_kl"),
        *("1,050", "\N{MINUS SIGN}1.5", "0.1235"),
        *("25", "\N{MINUS SIGN}1.5", "0.1235"),
    ]
    assert "validation_score" not in table
