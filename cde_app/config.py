"""The configuration tree: every setting, its default and its meaning, and nothing that reads a file.

Each field's docstring becomes its comment in the file that `cde init` writes. Defaults live here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

ColumnName = Annotated[str, StringConstraints(min_length=1)]
FilePath = Annotated[str, StringConstraints(min_length=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A frozen block of the configuration that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


# --- data ---------------------------------------------------------------------------------------------------------


class NumericColumn(Section):
    """A column of numbers, standardised by its mean and standard deviation over the training rows."""

    column: ColumnName
    kind: Literal["numeric"] = "numeric"


class CategoricalColumn(Section):
    """A column of labels: one feature per label seen in the training rows, and one for every other label."""

    column: ColumnName
    kind: Literal["categorical"] = "categorical"


class CyclicColumn(Section):
    """A column of numbers that wraps around, such as the hour of the day: a sine and a cosine."""

    column: ColumnName
    kind: Literal["cyclic"] = "cyclic"
    period: PositiveFloat
    """The length of one turn [units of the column]."""


class DatetimeColumn(Section):
    """A column of dates: the time itself and the turns of the day, the week and the year."""

    column: ColumnName
    kind: Literal["datetime"] = "datetime"


InputColumn = Annotated[NumericColumn | CategoricalColumn | CyclicColumn | DatetimeColumn, Field(discriminator="kind")]


class AutoTransform(Section):
    """Choose among identity, log and Yeo-Johnson by the held-out density of the warm start, Jacobian included."""

    kind: Literal["auto"] = "auto"


class IdentityTransform(Section):
    """Standardise only."""

    kind: Literal["identity"] = "identity"


class LogTransform(Section):
    """log(y + shift), for positive targets with a long right tail."""

    kind: Literal["log"] = "log"
    shift: float = 0.0
    """Added before the logarithm [units of the target]."""


class YeoJohnsonTransform(Section):
    """The Yeo-Johnson power transform, its exponent fitted on the training rows; any real target."""

    kind: Literal["yeo_johnson"] = "yeo_johnson"


class LogitTransform(Section):
    """log((y - lower) / (upper - y)), for targets strictly between two bounds; no density lies outside them."""

    kind: Literal["logit"] = "logit"
    lower: float = 0.0
    """Lower bound [units of the target]."""
    upper: float = 1.0
    """Upper bound [units of the target]."""

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> LogitTransform:
        if self.lower >= self.upper:
            raise ValueError(f"upper must be above lower; got {self.upper:g} and {self.lower:g}. Exchange them.")
        return self


Transform = Annotated[
    AutoTransform | IdentityTransform | LogTransform | YeoJohnsonTransform | LogitTransform,
    Field(discriminator="kind"),
]


class TargetColumn(Section):
    """A column whose distribution is learned."""

    column: ColumnName
    """Name of the column."""
    transform: Transform = AutoTransform()
    """The model sees the transformed target; every density is reported in the user's units."""
    unit: str = ""
    """Shown on the plots' axes."""
    rounding: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """Step to which the target is rounded: the noise keeps at least its variance; auto looks for one, 0 = none."""


class RandomSplit(Section):
    """Rows are dealt at random."""

    kind: Literal["random"] = "random"
    validation: Fraction | Literal["auto"] = "auto"
    """Share of the rows that choose the best training step; auto = 0.1 from 2000 rows on, else 0 [fraction]."""
    test: Fraction = 0.1
    """Share of the rows held out for the scores [fraction]."""


class ColumnSplit(Section):
    """A column of the table says which rows are which: train, validation or test."""

    kind: Literal["column"] = "column"
    column: ColumnName
    """Name of the column; its labels are train, validation and test."""


class GroupSplit(Section):
    """Rows that share a label stay together, as the storms of one year do."""

    kind: Literal["group"] = "group"
    column: ColumnName
    """Name of the column."""
    validation: Fraction | Literal["auto"] = "auto"
    """As in the random split, of the groups [fraction]."""
    test: Fraction = 0.1
    """Share of the groups held out for the scores [fraction]."""


class TimeSplit(Section):
    """The last rows in time are held out."""

    kind: Literal["time"] = "time"
    column: ColumnName
    """Name of the column, of numbers or dates."""
    validation: Fraction | Literal["auto"] = "auto"
    """As in the random split; these rows come just before the test rows [fraction]."""
    test: Fraction = 0.1
    """Share of the rows, the latest, held out for the scores [fraction]."""


Split = Annotated[RandomSplit | ColumnSplit | GroupSplit | TimeSplit, Field(discriminator="kind")]


class MissingPolicy(Section):
    """What to do with a row that has an empty cell in an input column."""

    kind: Literal["error", "drop", "impute_with_indicator"] = "error"


class Data(Section):
    """Which table, which columns, which rows."""

    path: FilePath
    """CSV or Parquet file, or a glob of them as one table that may exceed memory, relative to this file."""
    inputs: tuple[InputColumn, ...] = Field(min_length=1)
    """The columns x; a bare name is a numeric column."""
    targets: tuple[TargetColumn, ...] = Field(min_length=1)
    """The columns y; a bare name takes every default."""
    split: Split = RandomSplit()
    """Which rows train, which choose the best step, which are held out for the scores."""
    missing: MissingPolicy = MissingPolicy()
    """What to do with gaps."""
    predict: tuple[FilePath, ...] = ()
    """Tables for which `make predictions` predicts with this run, relative to this file."""

    @field_validator("inputs", mode="before")
    @classmethod
    def _bare_inputs(cls, value: Any) -> Any:
        return _expand_bare_names(value, kind="numeric")

    @field_validator("targets", mode="before")
    @classmethod
    def _bare_targets(cls, value: Any) -> Any:
        return _expand_bare_names(value)

    @model_validator(mode="after")
    def _columns_differ(self) -> Data:
        names = [column.column for column in (*self.inputs, *self.targets)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                f"a column may be used once among inputs and targets; got {repeated} more than once. Leave one out."
            )
        return self


def _expand_bare_names(value: Any, **defaults: str) -> Any:
    """Turn `a` into `{column: a}`, and give mappings the default kind."""
    if not isinstance(value, list | tuple):
        return value
    expanded = [{"column": item} if isinstance(item, str) else item for item in value]
    return [{**defaults, **item} if isinstance(item, dict) else item for item in expanded]


# --- model --------------------------------------------------------------------------------------------------------


LATENT_COLUMN = "latent"
"""The name of the latent variables among a kernel's columns."""
NEIGHBOURS_COLUMN = "neighbours"
"""The name of the features from the nearest rows there."""


class SquaredExponential(Section):
    """Infinitely smooth functions, one lengthscale per input."""

    kind: Literal["squared_exponential"] = "squared_exponential"
    columns: tuple[ColumnName, ...] = ()
    """Inputs that the kernel acts on: columns, targets before it in a chain, neighbours, latent (w); [] = all."""


class Matern(Section):
    """Rougher functions, one lengthscale per input."""

    kind: Literal["matern12", "matern32", "matern52"]
    columns: tuple[ColumnName, ...] = ()
    """Inputs that the kernel acts on: columns, targets before it in a chain, neighbours, latent (w); [] = all."""


class RationalQuadratic(Section):
    """Smooth functions that vary on long and short scales, one lengthscale per input."""

    kind: Literal["rational_quadratic"] = "rational_quadratic"
    alpha: PositiveFloat = 1.0
    """Where the exponent starts; the larger, the nearer to squared_exponential."""
    columns: tuple[ColumnName, ...] = ()
    """Inputs that the kernel acts on: columns, targets before it in a chain, neighbours, latent (w); [] = all."""


class Periodic(Section):
    """Functions that repeat themselves for ever, smooth within a period; of numeric columns."""

    kind: Literal["periodic"] = "periodic"
    period: PositiveFloat
    """Where the period starts [units of the column; standard deviations of what is no column of data.inputs]."""
    columns: tuple[ColumnName, ...] = ()
    """Inputs that the kernel acts on: columns, targets before it in a chain, neighbours, latent (w); [] = all."""


class Linear(Section):
    """Planes through the origin, one variance per input; they go on beyond the training rows."""

    kind: Literal["linear"] = "linear"
    columns: tuple[ColumnName, ...] = ()
    """Inputs that the kernel acts on: columns, targets before it in a chain, neighbours, latent (w); [] = all."""


class ConstantKernel(Section):
    """One unknown level for all rows."""

    kind: Literal["constant"] = "constant"


class SumKernel(Section):
    """The sum of several kernels: a sum of functions."""

    kind: Literal["sum"] = "sum"
    kernels: tuple[Kernel, ...] = Field(min_length=2)
    """The summands, of any kind."""


class ProductKernel(Section):
    """The product of several kernels: a function that needs all of them to be near."""

    kind: Literal["product"] = "product"
    kernels: tuple[Kernel, ...] = Field(min_length=2)
    """The factors, of any kind."""


Kernel = Annotated[
    SquaredExponential | Matern | RationalQuadratic | Periodic | Linear | ConstantKernel | SumKernel | ProductKernel,
    Field(discriminator="kind"),
]
SumKernel.model_rebuild()
ProductKernel.model_rebuild()


class Inducing(Section):
    """Where the inducing inputs start: at centres of clusters, or where the GP varies most given those before."""

    kind: Literal["kmeans", "greedy_variance"] = "kmeans"


class NormalPrior(Section):
    """w ~ N(0, I)."""

    kind: Literal["normal"] = "normal"


class TFPPrior(Section):
    """Every w_j from a family of TensorFlow Probability; q(w | x, y) is of the same family."""

    kind: Literal["tfp"] = "tfp"
    family: Annotated[str, StringConstraints(min_length=1)]
    """Its name there, such as Laplace, Logistic, StudentT, Gumbel, Gamma, LogNormal, Beta or Kumaraswamy."""
    parameters: dict[str, float | list[float]]
    """Its parameters by name, such as {loc: 0, scale: 1}: a number, or a list with one for each latent variable."""


class MLPEncoder(Section):
    """q(w | x, y) from a small neural network."""

    kind: Literal["mlp"] = "mlp"
    hidden_units: tuple[PositiveInt, ...] = (20, 20)
    """Units of each hidden layer."""
    activation: Literal["tanh", "relu", "elu", "softplus"] = "tanh"
    """Of the hidden layers."""
    residual: bool = True
    """Show the network the warm start's standardised residual in place of y, and start q(w) from it."""
    skip_connections: bool = False
    """Show every later layer the network's inputs too."""
    dropout: Fraction = 0.0
    """Share of the hidden units that are dropped in a training step [fraction]."""
    initial_width: PositiveFloat | None = None
    """Width of q(w) before training; null = the warm start's posterior [scale of the prior]."""


class PerRowEncoder(Section):
    """q(w | x, y) with a mean and a width of its own for each training row; normal prior and full batches only."""

    kind: Literal["per_row"] = "per_row"
    initial_width: PositiveFloat | None = None
    """Width of q(w) before training; null = the warm start's posterior [scale of the prior]."""


class ConcatenateCompositor(Section):
    """The GPs that see w see [x, w]."""

    kind: Literal["concatenate"] = "concatenate"


class AddCompositor(Section):
    """The GPs that see w see x + w B; B is learned, and left out where w is as wide as x."""

    kind: Literal["add"] = "add"


class MultiplyCompositor(Section):
    """The GPs that see w see x * (w B), element by element; B is learned, and left out where w is as wide as x."""

    kind: Literal["multiply"] = "multiply"


class Latent(Section):
    """GPflux's LatentVariableLayer, the first layer."""

    dim: Annotated[int, Field(ge=0)] = 1
    """Latent variables per row; 0 leaves the layer out: a plain (deep) GP."""
    prior: NormalPrior | TFPPrior = Field(default=NormalPrior(), discriminator="kind")
    """p(w)."""
    encoder: MLPEncoder | PerRowEncoder = Field(default=MLPEncoder(), discriminator="kind")
    """q(w | x, y)."""
    compositor: ConcatenateCompositor | AddCompositor | MultiplyCompositor = Field(
        default=ConcatenateCompositor(), discriminator="kind"
    )
    """How x and w are joined where a GP sees both."""
    name: str = "latent"
    """Name of the layer and of its KL metric."""

    @model_validator(mode="after")
    def _per_row_is_normal(self) -> Latent:
        if self.encoder.kind == "per_row" and self.prior.kind != "normal":
            raise ValueError(
                "the encoder 'per_row' needs the prior 'normal', the only one for which it has parameters; "
                f"got {self.prior.kind!r}. Choose the encoder 'mlp'."
            )
        return self


class ZeroMean(Section):
    """m(x) = 0."""

    kind: Literal["zero"] = "zero"


class IdentityMean(Section):
    """m(x) = x."""

    kind: Literal["identity"] = "identity"


class PCAMean(Section):
    """m(x) = x A, A the leading principal directions of the training inputs."""

    kind: Literal["pca"] = "pca"


class ConstantMean(Section):
    """m(x) = b, trained."""

    kind: Literal["constant"] = "constant"


class LinearMean(Section):
    """m(x) = x A + b, trained; starts as pca or, in an output layer, as the least-squares plane."""

    kind: Literal["linear"] = "linear"


InnerMean = ZeroMean | IdentityMean | PCAMean | ConstantMean | LinearMean
OutputMean = ZeroMean | IdentityMean | ConstantMean | LinearMean


class InnerLayer(Section):
    """An inner GP layer: x <- m(x) + P f(x), f made of independent GPs."""

    num_gps: PositiveInt = 5
    """Independent GPs (at most as many as there are features)."""
    num_inducing: PositiveInt = 64
    """Inducing inputs."""
    inducing: Inducing = Inducing()
    """Where the inducing inputs start."""
    kernel: Kernel = SquaredExponential()
    """Kernel of f."""
    mean: InnerMean = Field(default=IdentityMean(), discriminator="kind")
    """identity keeps the width and adds the GPs along the leading principal directions; others narrow to num_gps."""
    sees_latent: bool = False
    """False: f sees x and its draw is shared by all latent draws of a row. True: f sees [x, w]."""


class InputProjection(Section):
    """Every GP sees x A in place of x, A [D, dim] learned; it starts at the leading principal directions."""

    dim: PositiveInt
    """Width of x A (at most that of x)."""


class OutputMixing(Section):
    """y = f P + e: each term has num_latent_gps GPs in place of one per target, and a learned P mixes them."""

    num_latent_gps: PositiveInt
    """Independent GPs of each term (at most as many as there are targets)."""


class AdditiveOutput(Section):
    """y = g(x) + h(x, w): two sparse GPs, each with inducing inputs of its own."""

    structure: Literal["additive"] = "additive"
    num_inducing: PositiveInt = 128
    """Inducing inputs of g."""
    num_inducing_latent: PositiveInt = 64
    """Inducing inputs of h."""
    inducing: Inducing = Inducing()
    """Where the inducing inputs start."""
    kernel: Kernel = SumKernel(kernels=(SquaredExponential(), Matern(kind="matern32")))
    """Kernel of g."""
    kernel_latent: Kernel = SquaredExponential()
    """Kernel of h."""
    mixing: OutputMixing | None = None
    """null = a GP per target; {num_latent_gps: 2} = GPs that the targets share, so that they depend on each other."""
    mean: OutputMean = Field(default=ZeroMean(), discriminator="kind")
    """Added to g(x) + h(x, w)."""


class JointOutput(Section):
    """y = f(x, w): one sparse GP on [x, w], as in the papers."""

    structure: Literal["joint"] = "joint"
    num_inducing: PositiveInt = 128
    """Inducing inputs."""
    inducing: Inducing = Inducing()
    """Where the inducing inputs start."""
    kernel: Kernel = SquaredExponential()
    """Kernel of f."""
    mean: OutputMean = Field(default=ZeroMean(), discriminator="kind")
    """Added to f(x, w)."""
    mixing: OutputMixing | None = None
    """null = a GP per target; {num_latent_gps: 2} = GPs that the targets share, so that they depend on each other."""


Output = AdditiveOutput | JointOutput


class GaussianLikelihood(Section):
    """y = f + e, e normal, one variance per target."""

    kind: Literal["gaussian"] = "gaussian"
    variance_floor: PositiveFloat = 1e-5
    """Smallest noise variance [variance of the standardised target]."""


class HeteroscedasticGaussianLikelihood(Section):
    """y = f + e, e normal, its variance a function of x: log s^2(x) = b + a(x), one a per target."""

    kind: Literal["heteroscedastic_gaussian"] = "heteroscedastic_gaussian"
    variance_floor: PositiveFloat = 1e-5
    """Smallest noise variance [variance of the standardised target]."""
    num_inducing: PositiveInt = 32
    """Inducing inputs of a."""
    inducing: Inducing = Inducing()
    """Where the inducing inputs start."""
    kernel: Kernel = SquaredExponential()
    """Kernel of a."""


class StudentTLikelihood(Section):
    """y = f + e, e from Student's t, one scale per target: single rows may lie far off."""

    kind: Literal["student_t"] = "student_t"
    variance_floor: PositiveFloat = 1e-5
    """Smallest squared scale [variance of the standardised target]."""
    degrees_of_freedom: Annotated[float, Field(gt=2)] = 4.0
    """Few: heavy tails; many: the normal distribution."""


Likelihood = GaussianLikelihood | HeteroscedasticGaussianLikelihood | StudentTLikelihood


class Neighbours(Section):
    """Features from the training rows nearest to a row: the weighted mean of each target there, and the distance."""

    enabled: bool | Literal["auto"] = "auto"
    """auto = where they raise the warm start's held-out density: three features or more, no split by group or time."""
    count: PositiveInt = 8
    """Neighbours per row."""


class Model(Section):
    """The latent-variable deep GP."""

    targets_model: Literal["joint", "chain"] = "chain"
    """Several targets: chain = p(y1 | x) p(y2 | x, y1) ..., a model each; joint = one model with shared kernels."""
    chain_order: tuple[ColumnName, ...] = ()
    """The targets in the order of the chain; [] = by the held-out density of the warm start (three at most)."""
    neighbours: Neighbours = Neighbours()
    latent: Latent = Latent()
    input_projection: InputProjection | None = None
    """null = the GPs see x; {dim: 3} = they see three learned directions of it (the encoder sees x)."""
    layers: tuple[InnerLayer, ...] = (InnerLayer(),)
    """Inner GP layers; [] is the single-layer GP-CDE."""
    output: Output = Field(default=AdditiveOutput(), discriminator="structure")
    """The last GP layer."""
    likelihood: Likelihood = Field(default=GaussianLikelihood(), discriminator="kind")
    """The noise around it."""
    defensive_weight: Fraction = 0.02
    """Weight of two wide copies of the warm start in every density, so that no row is lost to a tail [fraction]."""

    @model_validator(mode="after")
    def _mixing_has_normal_noise(self) -> Model:
        if self.output.mixing is not None and self.likelihood.kind == "student_t":
            raise ValueError(
                "output.mixing needs normal noise, with which the mixed targets are normal together; got the "
                "likelihood 'student_t'. Choose 'gaussian' or 'heteroscedastic_gaussian', or set output.mixing to null."
            )
        return self


LeafKernel = SquaredExponential | Matern | RationalQuadratic | Periodic | Linear


class KernelPlace(NamedTuple):
    """A kernel that may name columns, and where it stands."""

    path: tuple[str | int, ...]
    kernel: LeafKernel
    sees_latent: bool
    """Whether w is among its inputs, which it is not where it is added to x or multiplies it."""
    mixed_by: tuple[str | int, ...] | None
    """The projection or the mean function before it after which the inputs are no columns any more."""


def kernel_places(model: Model) -> Iterator[KernelPlace]:
    """Yield every kernel of every layer that may name columns."""
    has_latent = model.latent.dim > 0
    mixed_by: tuple[str | int, ...] | None = None if model.input_projection is None else ("model", "input_projection")
    has_axes = has_latent and model.latent.compositor.kind == "concatenate"
    for index, layer in enumerate(model.layers):
        here: tuple[str | int, ...] = ("model", "layers", index)
        for path, kernel in _leaf_kernels(layer.kernel, (*here, "kernel")):
            yield KernelPlace(path, kernel, layer.sees_latent and has_axes, mixed_by)
        if mixed_by is None and layer.mean.kind != "identity":
            mixed_by = (*here, "mean")
    output = model.output
    sees_latent = has_axes and output.structure == "joint"
    for path, kernel in _leaf_kernels(output.kernel, ("model", "output", "kernel")):
        yield KernelPlace(path, kernel, sees_latent, mixed_by)
    if output.structure == "additive" and has_latent:
        for path, kernel in _leaf_kernels(output.kernel_latent, ("model", "output", "kernel_latent")):
            yield KernelPlace(path, kernel, has_axes, mixed_by)
    if model.likelihood.kind == "heteroscedastic_gaussian":
        for path, kernel in _leaf_kernels(model.likelihood.kernel, ("model", "likelihood", "kernel")):
            yield KernelPlace(path, kernel, False, None)


def _leaf_kernels(kernel: Kernel, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], LeafKernel]]:
    if isinstance(kernel, SumKernel | ProductKernel):
        for index, part in enumerate(kernel.kernels):
            yield from _leaf_kernels(part, (*path, "kernels", index))
    elif not isinstance(kernel, ConstantKernel):
        yield path, kernel


# --- training -----------------------------------------------------------------------------------------------------


class PredictiveObjective(Section):
    """The log predictive density under q, GP variance inside the density. Not a bound on log p(y | x)."""

    kind: Literal["predictive"] = "predictive"
    num_samples: PositiveInt = 5
    """Latent draws K per row."""
    kl_weight: PositiveFloat | Literal["auto"] = "auto"
    """Weight of KL[q(u) || p(u)]; auto = 0.3, or 1 below 500 rows with warm noise above 0.15."""


class ImportanceWeightedObjective(Section):
    """The importance-weighted bound (Salimbeni et al. 2019)."""

    kind: Literal["importance_weighted"] = "importance_weighted"
    num_samples: PositiveInt = 5
    """Importance samples K per row."""
    kl_weight: PositiveFloat = 1.0
    """Weight of KL[q(u) || p(u)]; 1 is the bound."""
    encoder_gradient: Literal["plain", "doubly_reparameterised"] = "plain"
    """Gradient of the encoder (Rudner et al. 2021)."""


class ELBOObjective(Section):
    """The evidence lower bound (Dutordoir et al. 2018)."""

    kind: Literal["elbo"] = "elbo"
    num_samples: PositiveInt = 1
    """Latent draws per row."""
    kl_weight: PositiveFloat = 1.0
    """Weight of KL[q(u) || p(u)]; 1 is the bound."""


Objective = PredictiveObjective | ImportanceWeightedObjective | ELBOObjective


class WarmStart(Section):
    """A sparse GP regression, fitted first, from which every layer starts."""

    enabled: bool = True
    """False starts from k-means inducing inputs and unit hyperparameters."""
    max_steps: PositiveInt = 100
    """L-BFGS iterations."""
    max_rows: PositiveInt = 2000
    """Rows that fit the hyperparameters; q(u) sees them all."""
    latent_share: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Share of the warm start's noise variance that is handed to w [fraction]."""


class NaturalGradient(Section):
    """Natural gradient steps for the output layer's q(u)."""

    enabled: bool = True
    """False: Adam for q(u) too."""
    step_size: PositiveFloat | Literal["auto"] = "auto"
    """Step size after 20 steps of warm-up; auto = 0.05 times the share of the rows in a batch."""
    trust_radius: PositiveFloat = 3.0
    """Largest relative change of the precision in one step."""


class EarlyStopping(Section):
    """Keep the state with the best validation log density of the exact mixture."""

    enabled: bool = True
    """Needs validation rows; without them the last state is kept."""
    every: PositiveInt = 100
    """Steps between two validation scores."""
    patience: PositiveInt = 1000
    """Stop after so many steps without a better score."""


class Training(Section):
    """How the model is fitted."""

    objective: Objective = Field(default=PredictiveObjective(), discriminator="kind")
    """What training maximises."""
    max_steps: PositiveInt | Literal["auto"] = "auto"
    """Steps; auto = 300 below 500 rows, 1000 below 5000, else 2000."""
    batch_size: PositiveInt | Literal["auto", "full"] = "auto"
    """Rows per step; auto = 256 below 2000 rows, else 512."""
    learning_rate: PositiveFloat = 0.02
    """Adam's step size after 50 steps of warm-up; falls to zero along a cosine."""
    clip_norm: PositiveFloat = 10.0
    """Largest global norm of Adam's gradient."""
    ensemble: PositiveInt | Literal["auto"] = "auto"
    """Trainings with seeds of their own whose densities are averaged; auto = 4 below 2000 rows, else 1."""
    warm_start: WarmStart = WarmStart()
    natural_gradient: NaturalGradient = NaturalGradient()
    early_stopping: EarlyStopping = EarlyStopping()
    checkpoint_every: PositiveInt = 200
    """Steps between two checkpoints."""

    def resolved_max_steps(self, num_rows: int) -> int:
        """Return the steps for so many training rows."""
        if self.max_steps == "auto":
            return 300 if num_rows < 500 else 1000 if num_rows < 5000 else 2000
        return self.max_steps

    def resolved_batch_size(self, num_rows: int) -> int:
        """Return the rows per step, at most all of them."""
        match self.batch_size:
            case "auto":
                return min(256 if num_rows < 2000 else 512, num_rows)
            case "full":
                return num_rows
            case size:
                return min(size, num_rows)

    def resolved_ensemble(self, num_rows: int) -> int:
        """Return the number of trainings."""
        if self.ensemble == "auto":
            return 4 if num_rows < 2000 else 1
        return self.ensemble


# --- predict ------------------------------------------------------------------------------------------------------


class Predict(Section):
    """What prediction computes unless the command line says otherwise."""

    num_components: PositiveInt = 256
    """Components per row, shared by an ensemble's members: Sobol nodes over w and the inner layers' noise."""
    samples: PositiveInt = 100
    """Draws per row in samples.csv."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    """Quantile columns in summary.csv [fraction]."""
    chunk_rows: PositiveInt = 1024
    """Rows held in memory at once."""


class Config(Section):
    """The whole configuration."""

    schema_version: Literal[1]
    """Version of this file's format."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of every random draw."""
    data: Data
    model: Model = Model()
    training: Training = Training()
    predict: Predict = Predict()

    @model_validator(mode="after")
    def _chain_has_every_target(self) -> Config:
        order, names = self.model.chain_order, [target.column for target in self.data.targets]
        if order and sorted(order) != sorted(names):
            raise ValueError(f"model.chain_order must name each target once, {names}; got {list(order)}. Correct it.")
        return self

    @model_validator(mode="after")
    def _mixing_has_targets_to_mix(self) -> Config:
        model, num_targets = self.model, len(self.data.targets)
        if model.output.mixing is not None and model.targets_model == "chain" and num_targets > 1:
            raise ValueError(
                "model.output.mixing: expected null in a chain, each model of which has a target of its own; got "
                f"{{num_latent_gps: {model.output.mixing.num_latent_gps}}} and {num_targets} targets. "
                "Set model.targets_model to joint."
            )
        return self

    @model_validator(mode="after")
    def _per_row_sees_every_row(self) -> Config:
        latent, batch_size = self.model.latent, self.training.batch_size
        if latent.dim and latent.encoder.kind == "per_row" and batch_size != "full":
            raise ValueError(
                "training.batch_size: expected 'full', as model.latent.encoder 'per_row' has parameters for all rows "
                f"in their order; got {batch_size!r}. Set it to full, or choose the encoder 'mlp'."
            )
        return self
