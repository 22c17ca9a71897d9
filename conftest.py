"""One list: the pytest plugins, each a file of fixtures/ that owns its own options."""

pytest_plugins = [
    "fixtures.record",
    "fixtures.target",
    "fixtures.quiet",
    "fixtures.node",
    "fixtures.kubeconfig",
    "fixtures.inside",
    "fixtures.web",
    "fixtures.mcp",
    "fixtures.limit",
    "fixtures.load",
    "fixtures.latency",
    "fixtures.fault",
    "fixtures.runbooks",
    "fixtures.metrics",
    "fixtures.monitors",
    "fixtures.alerts",
    "fixtures.scaling",
    "fixtures.backup_drill",
    "fixtures.backup_s3",
    "fixtures.backup_velero",
]
