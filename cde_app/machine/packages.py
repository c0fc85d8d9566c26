"""Which packages are installed, found without importing them; a machine that only predicts has none for training."""

from __future__ import annotations

from importlib.util import find_spec

from cde_app.errors import InstallError

FOR_TRAINING = ("tensorflow", "tensorflow-probability", "tf-keras", "gpflow", "gpflux")
"""The packages that only `model/` and `training/` import; their modules have the same names, with underscores."""


def missing_for_training() -> list[str]:
    """Return those of `FOR_TRAINING` that are not installed."""
    return [name for name in FOR_TRAINING if find_spec(name.replace("-", "_")) is None]


def require_optuna() -> None:
    """Check that Optuna is installed, which a sweep needs.

    Raises:
        InstallError: it is not.
    """
    if find_spec("optuna") is None:
        raise InstallError(
            "sweep: expected Optuna to be installed; got no 'optuna'. Install it with: pip install 'cde-app[sweep]'"
        )


def require_training() -> None:
    """Check that everything is installed that a training needs.

    Raises:
        InstallError: a package is missing.
    """
    missing = missing_for_training()
    if missing:
        raise InstallError(
            f"training: expected TensorFlow and GPflux to be installed; got no {', '.join(map(repr, missing))}. "
            "This install only predicts: train where `pip install cde-app` has installed everything (Python 3.11 or "
            "3.12)."
        )


def require_dask() -> None:
    """Check that Dask is installed.

    Raises:
        InstallError: it is not.
    """
    if find_spec("distributed") is None:
        raise InstallError(
            "--executor dask: expected Dask to be installed; got no 'distributed'. Install it with: pip install "
            "'cde-app[dask]'"
        )
