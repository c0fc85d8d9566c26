"""Check that the model of the configuration fits the features of the table."""

from __future__ import annotations

from cde_app import config
from cde_app.data.encoding import ColumnContract
from cde_app.errors import DataError, SettingError


def check_model(model: config.ModelSettings, contract: ColumnContract, *, source: str) -> None:
    """Check the model against the features.

    Args:
        model: the configuration's `model` block.
        contract: fitted on the training rows.
        source: the table, as errors name it.

    Raises:
        DataError: a kernel acts on a constant column.
        SettingError: the widths of an identity mean differ.
    """
    constant = {column.name for column in contract.inputs if not column.features}
    faults = [
        f"{source}: column {name!r} ({key}) must vary over the training rows; got a constant. Leave it out there."
        for place in config.kernel_places(model)
        for key in [".".join(map(str, (*place.path, "columns")))]
        for name in place.kernel.columns
        if name in constant
    ]
    if faults:
        raise DataError(*dict.fromkeys(faults))
    num_features, num_targets = model.widest_factor(len(contract.feature_names), len(contract.targets))
    num_inputs = _width_of_output(model, num_features)
    if model.output.mean.keeps_columns and not num_features == num_inputs == num_targets:
        raise SettingError(
            ("model", "output", "mean"),
            "identity needs as many features (neighbours and earlier targets of a chain included) and inputs of the "
            f"output layer as a model has targets; got {num_features}, {num_inputs} and {num_targets} with {source}. "
            "Choose kind: linear.",
        )


def unchecked_settings(model: config.ModelSettings) -> tuple[str, ...]:
    """Report what only the training can check, because only TensorFlow Probability knows its families."""
    prior = model.latent.prior
    if not model.latent.dim or prior.kind != "tfp":
        return ()
    return (f"model.latent.prior: `cde train` will check the family {prior.family!r} and its parameters.",)


def _width_of_output(model: config.ModelSettings, num_features: int) -> int:
    """Return the number of features that the output layer sees."""
    if model.input_projection is not None:
        num_features = min(model.input_projection.dim, num_features)
    for layer in model.layers:
        num_features = num_features if layer.mean.keeps_columns else min(layer.num_gps, num_features)
    return num_features
