"""The page of a report: which sections there are, and what stands in each."""

import base64
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

import fathom
from fathom.core.durations import duration
from fathom.core.records import PROTOCOL, Setting
from fathom.report import figures
from fathom.report.across_datasets import across_table
from fathom.report.audit_page import audit_section
from fathom.report.builder import PageBuilder, PageFigure
from fathom.report.compare_page import beside_published
from fathom.report.numbers import DASH
from fathom.report.paradigm_section import paradigms, training
from fathom.report.setting_tables import hparam_table, paid_table, setting_table
from fathom.report.style import styles_of
from fathom.report.summary import penalty_words, setting_facts, span, summary, warnings
from fathom.report.tables import environment_table, penalty_table, pending_table, times_table
from fathom.report.training_tables import ground_table
from fathom.results.environments import common, mixed_words
from fathom.results.names import label
from fathom.results.results import StudyResults, class_shares, of_setting
from fathom.results.roles import by_role, roles
from fathom.stats import curves

TEMPLATES = Path(__file__).parent / "templates"


class Page(PageBuilder):
    """The page in the making.

    Args:
        reading: The study's results.
    """

    def html(self) -> str:
        """The whole page."""
        r = self.reading
        script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
        html = _template().render(
            study=r.store.study,
            summary=summary(r),
            warnings=warnings(r),
            strip=_strip(r),
            method_styles=styles_of(r).values(),
            finished=str(r.frame["finished"].max())[:10] if len(r.frame) else "",
            across=[table for role in roles(r) if (table := self.add_table(across_table(r, role)))],
            sections=[self._section(number, setting, first) for number, (setting, first) in enumerate(by_role(r))],
            paradigms=paradigms(self),
            training=training(self),
            penalty=self._penalty(),
            published=beside_published(self),
            audit=audit_section(self),
            times=self.add_table(times_table(r)),
            train_split=self.add_table(ground_table(r)),
            pending=pending_table(r),
            failures=r.failures,
            retries=[(r.names.title(s), records) for s, records in r.retries.items()],
            quarantine=r.quarantine,
            damage=r.damage,
            notes=r.notes,
            environments=self.add_table(environment_table(r.environments)),
            mixed=mixed_words(r.environments),
            common=list(common(r.environments)),
            version=fathom.__version__,
            protocol=PROTOCOL,
            results="results.csv",
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
        return re.sub(r"(\d) %", "\\1\u00a0%", html)  # a number and its unit stay on one line

    # ------------------------------------------------------------------------------------------------- settings

    def _section(self, number: int, setting: Setting, first: str) -> dict[str, Any]:
        r = self.reading
        stem = _stem(number, setting)
        record, facts = r.hparams.get(setting, {}), r.facts.get(setting.dataset, {})
        return {
            "id": f"s{number}",
            "heading": first,
            "title": r.names.title(setting),
            "calls": [full for full, short in zip(setting, r.names.parts(setting), strict=True) if full != short],
            "short": r.names.brief(setting),
            "facts": setting_facts(r, setting),
            "figures": list(self._curves(stem, setting)),
            "table": self.add_table(setting_table(r, setting, stem)),
            "paid": self.add_table(paid_table(r, setting, f"{stem}-paid")),
            "bought": self._bought(stem, setting),
            "hparams": self.add_table(hparam_table(r, setting, f"{stem}-hparams")),
            "recipe": record.get("recipe", "study"),
            "source": facts.get("source", ""),
            "revision": facts.get("revision", ""),
            "role": facts.get("role", ""),
            "notes": facts.get("notes", []),
        }

    def _curves(self, stem: str, setting: Setting) -> Iterator[PageFigure]:
        r = self.reading
        frame = of_setting(r.frame, setting)
        if frame.empty:
            return
        metric, scores, notes = r.metric(setting), r.full_data(setting), r.caption_note([setting])
        means = curves.budget_curves(frame)
        text = f"Mean over {_count(means)}; {_band(means)}.{_extra(frame)}"
        if scores:
            text += f" Dashed: trained on all labels ({len(scores)} seed{'s' if len(scores) > 1 else ''})."
        figure = figures.curve_figure(f"{stem}-curves", means, styles_of(r), metric, r.full_data_score(setting))
        yield self.add_figure(figure, f"{text} {notes}".strip())
        differences = curves.gain_curves(frame, r.baseline, r.references)
        if not differences.empty:
            text = f"Gain over {label(r.baseline)} at each budget, paired by seed, {_count(differences)}; "
            text += (
                "bars: 95 % t-interval, not corrected, cut at the edge."
                if (differences["n"] > 1).any()
                else "no interval."
            )
            figure = figures.gain_figure(f"{stem}-gains", differences, styles_of(r), r.baseline, metric)
            yield self.add_figure(figure, f"{text} {notes}".strip())

    def _bought(self, stem: str, setting: Setting) -> PageFigure | None:
        bought, facts = self.reading.bought(setting), self.reading.facts.get(setting.dataset)
        if not bought or not facts:
            return None
        names, pool = facts["class_names"], class_shares(facts)
        drawing = figures.bought_figure(f"{stem}-classes", pool, bought, names, styles_of(self.reading))
        nominal = " (the nominal long tail)" if facts.get("long_tail") else ""
        text = (
            f"Bars: classes of the labels each method bought, all rounds and seeds. Line: classes of the pool{nominal}."
        )
        return self.add_figure(drawing, text)

    # --------------------------------------------------------------------------------------------------- penalty

    def _penalty(self) -> dict[str, Any] | None:
        r = self.reading
        if len(r.queries) < 2 or r.frame.empty:
            return None
        p = r.penalty
        found: dict[str, Any] = {"text": penalty_words(p), "figure": None, "table": None, "refused": []}
        found["refused"] = [f"{r.names.title(setting)}: {reason}" for setting, reason in p.refused]
        if len(p.queries) >= 2:
            caption = "Row beats column; the last line is the overall penalty of the column (lower is better)."
            if p.partial.any():
                caption += f" * compared in fewer than {len(p.seeds)} settings; {DASH} never compared."
            crossed = {
                (a, b) for a in p.queries for b in p.queries if any(c.crossed(a, b) for c in r.classifiers.values())
            }
            caption = f"{caption} {r.caption_note(r.store.study.settings)}".strip()
            found["figure"] = self.add_figure(figures.penalty_figure("penalty", p, styles_of(r), crossed), caption)
            found["table"] = self.add_table(penalty_table(r))
        return found


@cache
def _template() -> Template:
    """The page's template, read once: compiling it takes as long as filling it."""
    loader = FileSystemLoader(TEMPLATES)
    rules = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return rules.get_template("report.html.j2")


def _strip(r: StudyResults) -> list[tuple[str, str, str]]:
    done = sum(run.complete for run in r.runs)
    seeds = sorted({run.spec.seed for run in r.runs})
    queried = int(r.frame["queried"].sum()) if len(r.frame) else 0
    return [
        ("Runs", str(done), f"of {len(r.runs)}"),
        ("Settings", str(len(r.store.study.settings)), ""),
        ("Query methods", str(len(r.queries)), ""),
        ("Seeds", str(len(seeds)), ""),
        ("Rounds", str(len(r.frame)), ""),
        ("Labels queried", f"{queried:,}".replace(",", "\u202f"), ""),
        ("Compute", duration(r.seconds) if r.seconds else "0 s", ""),
    ]


def _stem(number: int, setting: Setting) -> str:
    """File stem of a setting: its names without parameters, and its number, which keeps variations apart."""
    names = [part.split("(")[0].replace("/", "-") for part in setting]
    return f"{number:02d}-" + "-".join(names)


def _count(frame: Any) -> str:
    n = span(frame["n"])
    return f"{n} seed{'' if n == '1' else 's'}"


def _band(frame: Any) -> str:
    most = int(frame["n"].max())
    if most < 2:
        return "no band, as one seed has no interval"
    if most < figures.BAND_SEEDS:
        return f"no band, as the 95 % t-interval of {most} seeds (in the table) is wider than the panel"
    return "band: 95 % t-interval over seeds, cut at the edge"


def _extra(frame: Any) -> str:
    """What paid labels add to a budget: the validation set."""
    extra = (frame["paid"] - frame["budget"]).unique()
    return f" Labels paid: add {span(int(v) for v in extra)} for validation." if extra.any() else ""
