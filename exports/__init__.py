"""Exported bundles, installed as `vaekit.exports`."""
