"""Sections of the report page, one file each: what a template needs."""
