"""The HTML page of a report: its sections and the content of each."""

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from itertools import groupby, product
from typing import Any

from markupsafe import Markup

from fathom.audit.audit import audit_results
from fathom.audit.rules import VERDICTS, Finding
from fathom.core.durations import duration
from fathom.core.records import PROTOCOL, Setting
from fathom.core.text import joined, number_ranges, plural
from fathom.core.version import __version__
from fathom.design.study_text import study_text
from fathom.published import tables as published_tables
from fathom.published.claims import claims
from fathom.published.compare import compare_study
from fathom.published.evidence import published_evidence, study_evidence
from fathom.report import figures
from fathom.report.across_datasets import across_table
from fathom.report.builder import TEMPLATES, PageBuilder, PageFigure, page_template
from fathom.report.compare_tables import cells_table, claims_table, compare_summary, gains_table, refused_table
from fathom.report.drawing import Drawing
from fathom.report.explore.section import explore_section
from fathom.report.head.answer import answers
from fathom.report.head.verdict_table import verdict_tables
from fathom.report.head.verdict_text import span
from fathom.report.numbers import DASH, thousands
from fathom.report.panels import MOST_LINES, Panel, panel_figure
from fathom.report.sections.methods import citations, methods_paragraphs
from fathom.report.sections.paradigms import paradigms, training
from fathom.report.sections.ranks import ranks
from fathom.report.setting_tables import hparam_table, paid_table, savings_table, setting_table
from fathom.report.style import styles_of
from fathom.report.summary import classifier_note, penalty_words, setting_facts, warnings
from fathom.report.tables import environment_table, penalty_table, pending_table, stated_claims_table, times_table
from fathom.report.training_tables import preparation_table
from fathom.results.class_recalls import pool_shares
from fathom.results.environments import common, plugin_code
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.results.roles import by_role, roles
from fathom.stats import curves


class Page(PageBuilder):
    """HTML page of a study's results."""

    def html(self) -> str:
        """Build the whole page; its figures and tables are in `drawings` and `tables` afterwards."""
        r = self.results
        settings, stems = by_role(r), r.names.stems(s for s, _ in by_role(r))
        script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
        head = [self.add_table(table) for table in verdict_tables(r)]
        sections = [self._section(n, stems[s], s, heading) for n, (s, heading) in enumerate(settings)]
        html = page_template("report.html.j2").render(
            study=r.store.study,
            answers=[(role, list(own)) for role, own in groupby(answers(r), lambda answer: answer.role)],
            verdict_tables=head,
            warnings=warnings(r),
            stated_claims=self.add_table(stated_claims_table(r)),
            key_figures=_key_figures(r),
            method_styles=styles_of(r).values(),
            finished=str(r.frame["finished"].max())[:10] if len(r.frame) else "",
            across=[table for role in roles(r) if (table := self.add_table(across_table(r, role)))],
            sections=sections,
            explore=explore_section(r, zip((s for s, _ in settings), sections, strict=True)),
            paradigms=paradigms(self),
            training=training(self),
            ranks=ranks(self),
            penalty=self._penalty(),
            published=self._published(),
            times=self.add_table(times_table(r)),
            preparation_times=self.add_table(preparation_table(r)),
            classifier_note=classifier_note(r),
            **self._closing(),
            version=__version__,
            protocol=PROTOCOL,
            results="results.csv",
            written={table.name for table in self.tables},
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
        return re.sub(r"(\d) %", "\\1\u00a0%", html)  # no line break between a number and its unit

    def _closing(self) -> dict[str, Any]:
        """Audit, failures, methods, and what is needed to run the study again."""
        r = self.results
        findings = audit_results(r)
        return {
            "audit": {"summary": audit_summary(findings), "findings": findings},
            "pending": pending_table(r),
            "failures": r.failures,
            "retries": [(r.names.title(s), records) for s, records in r.retries.items()],
            "quarantine": r.quarantine,
            "damage": r.damage,
            "notes": r.notes,
            "methods": methods_paragraphs(r),
            "citations": citations(),
            "environments": self.add_table(environment_table(r.environments)),
            "common": [*common(r.environments), *plugin_code(r.codes)],
            "seeds": number_ranges(run.spec.seed for run in r.runs),
            "study_text": study_text(r.store.study),
        }

    # ------------------------------------------------------------------------------------------------- settings

    def _section(self, number: int, stem: str, setting: Setting, heading: str) -> dict[str, Any]:
        """Section of one setting.

        Args:
            number: Its place on the page.
            stem: Beginning of its file names.
            setting: The setting.
            heading: The role where the setting is the first of its role, else empty.
        """
        r = self.results
        record, facts = r.hparams.get(setting, {}), r.facts.get(setting.dataset, {})
        names = zip(setting, r.names.parts(setting), strict=True)
        return {
            "id": f"s{number}",
            "heading": heading,
            "title": r.names.title(setting),
            "spec_strings": [full for full, short in names if full != short],
            "short": r.names.brief(setting),
            "facts": setting_facts(r, setting),
            "figures": list(self._curves(stem, setting)),
            "table": self.add_setting_table(setting_table(r, setting, stem), setting),
            "savings": self.add_table(savings_table(r, setting, f"{stem}-savings")),
            "paid": self.add_setting_table(paid_table(r, setting, f"{stem}-paid"), setting),
            "queried": self._queried(stem, setting),
            "hparams": self.add_table(hparam_table(r, setting, f"{stem}-hparams")),
            "recipe": record.get("recipe", "study"),
            **{key: facts.get(key, "") for key in ("source", "revision", "role")},
            "notes": facts.get("notes", []),
        }

    def _curves(self, stem: str, setting: Setting) -> Iterator[PageFigure]:
        r = self.results
        frame = r.rows(setting)
        if frame.empty:
            return
        metric, scores = r.metric(setting), r.full_data(setting)
        notes = joined(self.test_size(setting), r.caption_note([setting]))
        means = curves.budget_curves(frame)
        text = f"Mean over {_count(means)}; {_band(means)}.{_extra(frame)}"
        text += " Dashed: trained on all labels" if scores else ""
        text += f" ({plural(len(scores), 'seed')})." if scores else ""
        figure = self._curve_figure(f"{stem}-curves", means, metric, r.full_data_score(setting))
        yield self.add_figure(figure, joined(text, notes))
        points = curves.seed_gains(frame, r.baseline, r.references)
        if not points.empty:
            differences = curves.budget_curves(points)
            several = bool((differences["n"] > 1).any())
            text = f"Gain over {label(r.baseline)} at each budget, paired by seed, {_count(differences)}; "
            intervals = "bars: 95 % t-interval, not corrected, clipped at the panel edge. Pale points: single seeds."
            text += intervals if several else "no interval."
            figure = figures.gain_figure(f"{stem}-gains", differences, styles_of(r), r.baseline, metric, points)
            yield self.add_figure(figure, joined(text, notes))

    def _curve_figure(self, name: str, means: Any, metric: str, full_data: float | None) -> Drawing:
        """One panel, or one per query method where the curves of one panel could not be told apart."""
        styles, baseline = styles_of(self.results), self.results.baseline
        own = dict(list(means.groupby("query", sort=False)))
        if len(own) <= MOST_LINES or baseline not in own:
            return figures.curve_figure(name, means, styles, metric, full_data)
        panels = [Panel(styles[query].label, rows, full_data) for query, rows in own.items() if query != baseline]
        return panel_figure(name, panels, own[baseline], styles[baseline].label, styles, metric)

    def _queried(self, stem: str, setting: Setting) -> PageFigure | None:
        queried, facts = self.results.queried_classes(setting), self.results.facts.get(setting.dataset)
        if not queried or not facts:
            return None
        names, pool = facts["class_names"], pool_shares(facts)
        drawing = figures.queried_figure(f"{stem}-classes", pool, queried, names, styles_of(self.results))
        nominal = " (nominal long tail)" if facts.get("long_tail") else ""
        text = f"Bars: classes of the queried labels, all rounds and seeds. Line: classes of the pool{nominal}."
        return self.add_figure(drawing, text)

    # --------------------------------------------------------------------------------------------------- penalty

    def _penalty(self) -> dict[str, Any] | None:
        r = self.results
        if len(r.queries) < 2 or r.frame.empty:
            return None
        p = r.penalty
        refused = [f"{r.names.title(setting)}: {reason}" for setting, reason in p.refused]
        found: dict[str, Any] = {"text": penalty_words(p), "figure": None, "table": None, "refused": refused}
        if len(p.queries) >= 2:
            caption = "Row beats column; last line: overall penalty of the column (lower is better)."
            if p.partial.any():
                caption += f" * compared in fewer than {len(p.seeds)} settings; {DASH} never compared."
            pairs = product(p.queries, repeat=2)
            crossed = {(a, b) for a, b in pairs if any(c.crossed(a, b) for c in r.classifiers.values())}
            caption = f"{caption} {r.caption_note(r.store.study.settings)}".strip()
            found["figure"] = self.add_figure(figures.penalty_figure("penalty", p, styles_of(r), crossed), caption)
            found["table"] = self.add_table(penalty_table(r))
        return found

    # ------------------------------------------------------------------------------------- published numbers

    def _published(self) -> dict[str, Any] | None:
        """Comparison with the published study; None where no dataset is one of the published study."""
        r = self.results
        found = compare_study(r)
        if found.empty:
            return None
        ours, published = claims(study_evidence(r)), claims(published_evidence())
        return {
            "summary": compare_summary(found),
            "reference": published_tables.reference(),
            "cells": self.add_table(cells_table(r, found)),
            "gains": self.add_table(gains_table(r, found)),
            "refused": self.add_table(refused_table(r, found)),
            "claims": self.add_table(claims_table(ours, published)),
            "verdicts": [(own.text, own.verdict, other.verdict) for own, other in zip(ours, published, strict=True)],
            "foreign": [r.names.dataset.get(name, name) for name in found.foreign],
            "shortened": sorted(r.shortened),
        }


def audit_summary(findings: Sequence[Finding]) -> str:
    """Counts of verdicts per group of rules: `Pitfalls: 2 pass, 1 partly, 2 fail. Statistics: ...`."""
    sentences = []
    for group, own in groupby(findings, key=lambda finding: finding.rule.group):
        verdicts = [finding.verdict for finding in own]
        counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in verdicts]
        sentences.append(f"{group}: {', '.join(counts)}.")
    return " ".join(sentences)


def _key_figures(r: StudyResults) -> list[tuple[str, str, str]]:
    """(name, value, unit) of the numbers at the head of the page."""
    done = sum(run.complete for run in r.runs)
    seeds = {run.spec.seed for run in r.runs}
    queried = int(r.frame["queried"].sum()) if len(r.frame) else 0
    return [
        ("Runs", str(done), f"of {len(r.runs)}"),
        ("Settings", str(len(r.store.study.settings)), ""),
        ("Query methods", str(len(r.queries)), ""),
        ("Seeds", str(len(seeds)), number_ranges(seeds) if len(seeds) < 100 else ""),
        ("Rounds", str(len(r.frame)), ""),
        ("Labels queried", thousands(queried), ""),
        ("Compute", duration(r.seconds), ""),
    ]


def _count(frame: Any) -> str:
    n = span(frame["n"])
    return f"{n} seed{'' if n == '1' else 's'}"


def _band(frame: Any) -> str:
    most = int(frame["n"].max())
    if most < 2:
        return "no band, since one seed has no interval"
    if most < figures.BAND_SEEDS:
        return f"no band, since the 95 % t-interval of {most} seeds (see the table) is wider than the panel"
    return "band: 95 % t-interval over seeds, clipped at the panel edge"


def _extra(frame: Any) -> str:
    """Sentence on the validation labels, which are paid in addition to a budget."""
    extra = (frame["paid"] - frame["budget"]).unique()
    return f" Paid labels: {span(int(v) for v in extra)} more, for validation." if extra.any() else ""
