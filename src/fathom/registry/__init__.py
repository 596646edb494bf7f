"""Spec strings, the scan for plug-ins, and the registry of query methods, datasets, regimes and paradigms."""
