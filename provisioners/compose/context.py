"""What all workloads of one conversion share."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from provisioners.compose.aliases import Aliases
from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioners.compose.fit import Fit
    from provisioners.compose.losses import Ledger
    from provisioners.compose.peers import Peers
    from provisioners.compose.storage import Storage
    from provisioners.tiers import Tiers


@dataclass(frozen=True, slots=True)
class Context:
    """Where the objects go, how they are fitted, and who keeps account.

    `names` are the legal names of the services by key, `renamed` those of services and aliases that are
    new; `ports` are
    the TCP ports that each service has in the end; `secrets` are values that no text may show.
    """

    namespace: str
    project: str
    fit: Fit
    ledger: Ledger
    storage: Storage
    renamed: Mapping[str, str]
    tiers: Tiers
    names: Mapping[str, str]
    peers: Peers
    ports: Mapping[str, tuple[int, ...]]
    secrets: frozenset[str] = frozenset()
    aliases: Aliases = field(default_factory=Aliases)
