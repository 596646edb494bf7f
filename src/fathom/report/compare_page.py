"""The section of a page that holds a study beside the published numbers."""

from typing import Any

from fathom.published import tables
from fathom.published.claims import claims
from fathom.published.compare import compare_study
from fathom.published.evidence import published_evidence, study_evidence
from fathom.report.builder import PageBuilder
from fathom.report.compare_tables import cells_table, claims_table, compare_summary, refused_table


def beside_published(pieces: PageBuilder) -> dict[str, Any] | None:
    """Cells, claims, and what is not comparable; None where no data set is one of the published study."""
    reading = pieces.reading
    found = compare_study(reading)
    if found.empty:
        return None
    tested, said = claims(study_evidence(reading)), claims(published_evidence())
    return {
        "summary": compare_summary(found),
        "reference": tables.reference(),
        "cells": pieces.add_table(cells_table(reading, found)),
        "refused": pieces.add_table(refused_table(reading, found)),
        "claims": pieces.add_table(claims_table(tested, said)),
        "verdicts": [(own.text, own.verdict, its.verdict) for own, its in zip(tested, said, strict=True)],
        "foreign": [reading.names.dataset.get(name, name) for name in found.foreign],
        "shortened": sorted(reading.shortened),
    }
