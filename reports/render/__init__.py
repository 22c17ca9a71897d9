"""The report of a run in four forms, all made from the run folder alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.model import Verdict
    from reports.store import Store


def render_all(store: Store) -> Verdict:
    """Judge the run, write report.json, report.md, report.html and junit.xml, return the verdict.

    The same folder gives the same bytes on any machine and day. If the run is sealed, the
    manifest's lines of these four files are renewed, and no others.
    """
    from reports.render.content import gather
    from reports.render.document import document
    from reports.render.html import html
    from reports.render.junit import junit
    from reports.render.markdown import markdown

    report = gather(store)
    store.write_json("report.json", document(report))
    store.write_text("report.md", markdown(report))
    store.write_text("junit.xml", junit(report))
    store.write_text("report.html", html(report))
    store.reseal_rendered()
    return report.verdict
