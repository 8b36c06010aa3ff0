"""Data sets as arrays, with their splits and binarization protocols.

`load("mnist", "test")` is the one function; `render_sprites` draws what factors say.
tensorflow_datasets is imported only here, when prepared data is read or written, and
TensorFlow never.
"""

import lazy_loader

# As in vaejax/__init__.py.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
