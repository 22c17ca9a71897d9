"""Preflight of this machine for the lab (being written)."""
