"""The records, the limits of settings and the data check that other modules use.

    errors    `VaejaxError` and its kinds, and the nearest of the known names
    values    arrays in NamedTuples, `Example`, `Batch` and `Params`; and `record`
    family    the records of a distribution
    model     the records of a model, its prior and its regularizers
    objective the records of what is trained: Bound, Estimator, KLWeight, Objective
    ranges    the values that a setting may have, from its annotation
    build     a record from a name and its settings, given as values or text
    own_code  a factory of the user's, in a file or module, and whether it may be run
    checks    `check_data`: the user's data, checked against what a model takes
    arrays    the user's arrays: types, lengths, finiteness
    labels    the labels of examples

It imports no other part of vaejax.
"""

import lazy_loader

# Lazy imports, as in vaejax/__init__.py.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
