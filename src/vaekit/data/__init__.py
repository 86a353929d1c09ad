"""Sources to tensors: readers, schema, splits and batches."""

from vaekit.data.dataset import Batch, Dataset, Split, as_split
from vaekit.data.schema import Schema
from vaekit.data.sources import load
from vaekit.data.standard import BUILT_IN

__all__ = ["BUILT_IN", "Batch", "Dataset", "Schema", "Split", "as_split", "load"]
