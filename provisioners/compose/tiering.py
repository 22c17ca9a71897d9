"""The tier of a service: as the tiers file says, else what its image shows it to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.tiers import BACKEND, EXTRA

if TYPE_CHECKING:
    from provisioners.compose.model import Service
    from provisioners.tiers import Tiers

MONITORING = "monitoring"
_STORE_NAMES = """
cassandra chroma clickhouse clickhouse-server cockroach couchdb dragonfly elasticsearch etcd influxdb kafka
keydb mariadb memcached milvus minio mongo mongodb mysql nats neo4j opensearch percona pgvector postgis
postgres postgresql qdrant rabbitmq redis redis-stack redis-stack-server timescaledb valkey weaviate zookeeper
"""
_WATCHER_NAMES = """
alertmanager blackbox-exporter cadvisor grafana jaeger loki node-exporter postgres_exporter prometheus
promtail redis_exporter tempo thanos victoria-metrics
"""
_STORES = frozenset(_STORE_NAMES.split())
_WATCHERS = frozenset(_WATCHER_NAMES.split())


def tier_for(service: Service, tiers: Tiers) -> str:
    """Return the tier of a service; data stores and monitoring are known by their images.

    Where the core platform has a table of its own, others beside the servers are extras.
    """
    if tiers.row(service.name) is not None:
        return tiers.tier_of(service.name)
    image = service.image.value if service.image else ""
    program = image.partition("@")[0].rpartition("/")[2].partition(":")[0].lower()
    if program in _STORES:
        return BACKEND
    if program in _WATCHERS:
        return MONITORING
    return EXTRA if tiers.core is not None else tiers.tier_of(service.name)
