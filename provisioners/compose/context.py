"""What all workloads of one conversion share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioners.compose.fit import Fit
    from provisioners.compose.losses import Ledger
    from provisioners.compose.storage import Storage


@dataclass(frozen=True, slots=True)
class Context:
    """Where the objects go, how they are fitted, and who keeps account; `renamed` maps old service names."""

    namespace: str
    project: str
    fit: Fit
    ledger: Ledger
    storage: Storage
    renamed: Mapping[str, str]
