from __future__ import annotations

import base64
import copy
import functools
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from cde_app.evaluation.baselines import fit_climatology, fit_linear_gaussian
from cde_app.evaluation.scores import score_rows, skill, summarise
from cde_app.report.html import Report, embedded_json, format_score, make_report, render_card, render_page, report_json

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


COLUMNS = [
    {"name": "times", "role": "input", "kind": "numeric", "unit": "", "range": "3.2 to 55.4"},
    {"name": "accel", "role": "target", "kind": "numeric", "unit": "g", "range": ""},
]


def reported(metrics: dict[str, Any], **changes: Any) -> Report:
    arguments: dict[str, Any] = {
        "title": "motorcycle",
        "metrics": metrics,
        "config_yaml": "schema_version: 1\n",
        "manifest": {
            "format_version": 1,
            "packages": {"numpy": "1.26"},
            "argv": ["cde", "train"],
            "inputs": {"m.csv": "93d0"},
            "rows": {"train": 1200},
        },
        "warnings": [],
        "history": [],
        "columns": COLUMNS,
    }
    return make_report(**{**arguments, **changes})


def render(metrics: dict[str, Any], pictures: dict[str, bytes] | None = None, explorer: Any = None, **more: Any) -> str:
    shown = {"pit": PNG, "density_times": PNG} if pictures is None else pictures
    return render_page(reported(metrics, **more), shown, explorer)


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


def test_the_policy_allows_the_explorers_script_and_the_style_by_their_hashes_and_nothing_else():
    def policy_of(page: str) -> dict[str, str]:
        metas = [attributes for tag, attributes in Page(page).tags if tag == "meta"]
        policy = next(one["content"] or "" for one in metas if one.get("http-equiv") == "Content-Security-Policy")
        return dict(directive.split(" ", 1) for directive in policy.split("; "))

    def hash_of(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    def between(page: str, start: str, end: str) -> str:
        return page.split(start)[1].split(end)[0]

    page = render(make_metrics(1), explorer={"live": False})
    policy = policy_of(page)
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == hash_of(between(page, "<script>", "</script>"))
    assert policy["style-src"] == hash_of(between(page, "<style>", "</style>"))
    assert "connect-src" not in policy
    assert policy_of(render(make_metrics(1), explorer={"live": True}))["connect-src"] == "'self'"
    assert "script-src" not in policy_of(render(make_metrics(1)))


def test_data_in_the_page_ends_no_script_and_is_read_back():
    value = {"name": "</script><!--&\u2028", "numbers": [1.5, float("nan")]}
    text = embedded_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": value["name"], "numbers": [1.5, None]}


def test_the_first_screen_answers_what_whether_where_not_and_worth_it():
    metrics = make_metrics(1) | {
        "local": {
            "sentences": ["For times above 40 the 90 % interval holds 71 % of 120 rows."],
            "p_value": 0.001,
            "level": 0.05,
        }
    }
    page = render(metrics)
    order = [
        "The distribution of accel [g].",
        "Given times.",
        "Learned from 1,200 rows.",
        "With reservations: on average",
    ]
    order += ["For times above 40", "better than a forecast that ignores the inputs", "<table"]
    places = [page.index(text) for text in order]
    assert places == sorted(places)
    assert "In parts of the table" not in render(make_metrics(1))


def test_the_json_and_the_model_card_have_the_content_of_the_page():
    report = reported(make_metrics(1), warnings=["Column 'y' is rounded to 0.5."])
    content, card = json.loads(report_json(report)), render_card(report)
    page = render(make_metrics(1), warnings=["Column 'y' is rounded to 0.5."])
    for key in ("learned", "trust", "worth", "warnings", "use", "limits"):
        assert content[key]
        for sentence in content[key]:
            assert str(escape(sentence)) in page
            assert sentence.replace("[", r"\[").replace("]", r"\]") in card
    assert content["data"] == {"m.csv": "93d0"}
    assert content["metrics"]["nlpd"]["value"] == make_metrics(1)["nlpd"]["value"]
    assert "SHA-256 93d0" in card
    assert "| accel | target | numeric | g |" in card
    assert "| times | input | numeric | not stated | 3.2 to 55.4 |" in card


def test_a_model_card_shows_markup_as_text():
    evil = "a|b](x) <script>*\n# heading"
    card = render_card(reported(make_metrics(1), title=evil, columns=[{**COLUMNS[0], "name": evil}]))
    assert "<script" not in re.sub(r"\\<", "", card)
    assert "\n# heading" not in card
    assert r"| a\|b\]\(x\) " not in card, "round brackets alone mean nothing"
    assert r"| a\|b\](x) \<script\>\* \# heading | input |" in card


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
