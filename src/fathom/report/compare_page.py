"""The section of a page that holds a study beside the published numbers."""

from typing import Any

from fathom.published import tables
from fathom.published.claims import claims
from fathom.published.compare import compare
from fathom.published.evidence import published_evidence, study_evidence
from fathom.report.builder import Pieces
from fathom.report.compare_tables import cells_table, claims_table, refused_table, summary


def beside_published(pieces: Pieces) -> dict[str, Any] | None:
    """Cells, claims, and what is not comparable; None where no data set is one of the published study."""
    reading = pieces.reading
    found = compare(reading)
    if found.empty:
        return None
    tested, said = claims(study_evidence(reading)), claims(published_evidence())
    return {
        "summary": summary(found),
        "reference": tables.reference(),
        "cells": pieces.kept(cells_table(reading, found)),
        "refused": pieces.kept(refused_table(reading, found)),
        "claims": pieces.kept(claims_table(tested, said)),
        "verdicts": [(own.text, own.verdict, its.verdict) for own, its in zip(tested, said, strict=True)],
        "foreign": [reading.names.dataset.get(name, name) for name in found.foreign],
        "shortened": sorted(reading.shortened),
    }
