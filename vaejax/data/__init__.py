"""Data sets as arrays, with their splits and binarization protocols.

`load("mnist", "test")` reads every data set; `render_sprites` draws sprites of given
factors. Only this package imports tensorflow_datasets, when prepared data is read or
written. No part imports TensorFlow.
"""

import lazy_loader

# Lazy imports, as in vaejax/__init__.py.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
