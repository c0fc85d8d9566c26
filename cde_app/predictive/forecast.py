"""The forecast of every row: one mixture of all targets, or a chain of mixtures. Both have the same methods."""

from cde_app.predictive.chain import Chain
from cde_app.predictive.mixture import Mixture

Forecast = Mixture | Chain
