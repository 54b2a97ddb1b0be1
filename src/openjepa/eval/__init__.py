"""Measurements: probes, collapse, success, conformance."""
