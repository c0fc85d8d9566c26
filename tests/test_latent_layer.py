"""The latent layer from the command line: other priors, encoders and compositors train, resume and predict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cde_app.config import Config
from tests.conftest import LINE_CONFIG, with_one
from tests.training.test_session import assert_same_bytes, reread, run, small_config, small_data

Cde = Callable[..., Any]
LAPLACE = "prior: {kind: tfp, family: Laplace, parameters: {loc: 0, scale: 1}}"
VARIANTS = {
    "Laplace": (LAPLACE, ""),
    "per row": ("encoder: {kind: per_row}", ", batch_size: full"),
    "GPflux's notebooks": (
        (
            "encoder: {kind: per_row}, compositor: {kind: concatenate}, prior: {kind: tfp, "
            "family: MultivariateNormalDiag, parameters: {loc: 0, scale_diag: 1}}"
        ),
        (
            ", batch_size: full, loop: gpflux, objective: {kind: elbo}, natural_gradient: {enabled: false}, "
            "inducing_rate: 1"
        ),
    ),
    "concatenate": ("compositor: {kind: concatenate}", ""),
    "warp": ("dim: 2, compositor: {kind: warp, num_steps: 3}", ""),
    "add": ("dim: 2, compositor: {kind: add}", ""),
}


def write(folder: Path, latent: str, training: str = "") -> Path:
    """Write a small table and its configuration; return the configuration."""
    rng = np.random.default_rng(2)
    t = rng.uniform(0, 10, 60)
    y = 50 + 10 * np.sin(t) + (1 + t) * rng.normal(size=60)
    (folder / "table.csv").write_text("\n".join(["t,y", *(f"{a},{b}" for a, b in zip(t, y, strict=True))]) + "\n")
    text = with_one(LINE_CONFIG, "  layers: []", f"  latent: {{{latent}}}\n  layers: []")
    text = with_one(text, "max_steps: 100,", "max_steps: 50,")
    text = with_one(text, "warm_start: {max_steps: 10}}", f"warm_start: {{max_steps: 10}}{training}}}")
    config = folder / "config.yaml"
    config.write_text(text)
    return config


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["Laplace", "GPflux's notebooks", "per row", "concatenate", "warp", "add"])
def test_a_variant_of_the_latent_layer_trains_and_predicts_from_the_command_line(
    variant: str, tmp_path: Path, cde: Cde
) -> None:
    latent, training = VARIANTS[variant]
    config = write(tmp_path, f"name: causes, {latent}", training)
    checked = cde("check", config)
    note = "note: model.latent.prior: `cde train` will check the family 'Laplace' and its parameters."
    assert (checked.code, note in checked.out.splitlines()) == (0, variant == "Laplace")
    trained = cde("train", config, "--out", tmp_path / "run", "--verbose")
    assert trained.code == 0, trained.err
    history = [json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    for entry in history:
        told = f"step {entry['step']}/50  bound {entry['bound']:.4f}  causes_local_kl {entry['causes_local_kl']:.4f}"
        assert told in trained.err
    assert cde("report", tmp_path / "run").code == 0
    assert '<th scope="col" class="number">causes_local_kl</th>' in (tmp_path / "run/report.html").read_text()
    assert (tmp_path / "run/plots/latent.png").exists() or (tmp_path / "run/plots/latent_1.png").exists()
    outcome = cde("predict", tmp_path / "run", tmp_path / "table.csv", "--out", tmp_path / "out", "--quiet")
    assert outcome.code == 0, outcome.err
    summary = np.genfromtxt(tmp_path / "out/summary.csv", delimiter=",", names=True)
    assert np.isfinite(summary["log_density"]).all()


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        (
            "prior: {kind: tfp, family: Laplase, parameters: {loc: 0}}",
            (
                "model.latent.prior.family: expected a family of TensorFlow Probability; got 'Laplase'. "
                "Did you mean 'Laplace'?"
            ),
        ),
        (
            "prior: {kind: tfp, family: Laplace, parameters: {loc: 0, scale: -1}}",
            (
                "model.latent.prior.parameters.scale: expected a value in the parameter's domain; got -1.0. "
                "Correct the value."
            ),
        ),
    ],
)
def test_training_refuses_a_family_that_cannot_be_a_prior(latent: str, message: str, tmp_path: Path, cde: Cde) -> None:
    config = write(tmp_path, latent)
    key = message.partition(":")[0].rpartition(".")[2]
    lines = config.read_text().splitlines()
    (place,) = [f"{n}:{line.index(key + ':') + 1}" for n, line in enumerate(lines, 1) if "tfp" in line]
    outcome = cde("train", config, "--out", tmp_path / "run", "--quiet")
    assert (outcome.code, outcome.err) == (2, f"error: {config}:{place}: {message}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("latent", "training", "message"),
    [
        (
            "encoder: {kind: per_row}",
            "",
            (
                "training.batch_size: expected 'full', as model.latent.encoder 'per_row' has parameters for all rows "
                "in their order; got 'auto'. Set it to full, or choose the encoder 'mlp'."
            ),
        ),
        (
            f"encoder: {{kind: per_row}}, {LAPLACE}",
            ", batch_size: full",
            (
                "model.latent.prior: expected 'normal' or the family 'MultivariateNormalDiag', the only priors for "
                "which the encoder 'per_row' has parameters; got 'Laplace'. Choose one of them, or the encoder 'mlp'."
            ),
        ),
    ],
)
def test_a_per_row_encoder_is_refused_where_it_cannot_work(
    latent: str, training: str, message: str, tmp_path: Path, cde: Cde
) -> None:
    outcome = cde("check", write(tmp_path, latent, training))
    assert outcome.code == 2
    assert outcome.err.rstrip().endswith(message)


def test_a_training_with_a_per_row_encoder_resumes_to_the_same_bytes() -> None:
    plain = small_config(batch_size="full").model_dump()
    latent = plain["model"]["latent"] | {"encoder": {"kind": "per_row"}}
    config = Config.model_validate(plain | {"model": plain["model"] | {"latent": latent}})
    whole, checkpoints, _ = run(config, small_data())
    resumed, _, _ = run(config, small_data(), checkpoint=reread(checkpoints[1]))
    assert_same_bytes(whole.predictor, resumed.predictor)
