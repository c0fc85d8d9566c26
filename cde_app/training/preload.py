"""What a process loads whose forks will train: everything that trainings use, as quickly as that can be done.

Importing this module changes settings of libraries. Only the processes of `execution.processes` import it.
"""

from __future__ import annotations

import gc
import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # GPflux's layers are Keras 2; Keras 3 would load scikit-learn
gc.disable()  # nearly all that an import makes is there to stay: a quarter of its time is looking for what is not

from check_shapes import DocstringFormat, set_rewrite_docstrings  # noqa: E402

set_rewrite_docstrings(DocstringFormat.NONE)  # GPflow's, which takes a second

import scipy.stats  # noqa: E402, F401  # for the export, late in a training

from cde_app.training import member  # noqa: E402, F401

gc.enable()
gc.freeze()  # forks share what is never looked at
