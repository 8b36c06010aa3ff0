"""What everything else is made of: the records, the limits of settings, one data check.

    errors    `VaejaxError` and its kinds, and the nearest of the known names
    records   the types: Family, Prior, Model, Bound, Estimator, Objective
    ranges    the values that a setting may have, from its annotation
    build     from a name and its settings, values or text, to one of the records
    checks    `check_data`: what a user hands over, held against what a model takes

It imports nothing of ours.
"""

import lazy_loader

# As in vaejax/__init__.py.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
