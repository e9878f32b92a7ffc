"""Space-to-Batch in NumPy alone: the geometry, the definition, and the CPU path.

>>> import numpy as np
>>> from spacebatch import reference
>>> reference.space_to_batch(np.arange(4).reshape(1, 1, 2, 2), 2).shape
(4, 1, 1, 1)
"""

from . import definition
from .functions import batch_to_space, space_to_batch
from .geometry import BlockGeometry
from .required_paddings import required_paddings

__all__ = ["BlockGeometry", "batch_to_space", "definition", "required_paddings", "space_to_batch"]
