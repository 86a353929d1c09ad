"""What `fit` returns: one record per epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]


@dataclass
class History:
    """Records of the epochs in order, each a dictionary of numbers (see `fit`); `history[key]` is one column.

    `best_epoch` is the epoch whose weights the model has: the best on the validation rows with early stopping,
    otherwise the last.
    """

    records: list[Record] = field(default_factory=list)
    best_epoch: int = 0

    def __getitem__(self, key: str) -> list[Any]:
        return [record[key] for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)
