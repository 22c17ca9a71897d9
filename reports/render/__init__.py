"""The report of a run in four forms, all made from the run folder alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reports.model import Verdict
    from reports.store import Store


def render_all(store: Store) -> Verdict:
    """Judge the run, write report.json, report.md, report.html and junit.xml, return the verdict.

    The same folder gives the same bytes on any machine and day. If the run is sealed, the
    manifest's lines of these four files are renewed, and no others.
    """
    verdict, texts = render(store)
    for name, text in texts.items():
        store.write_text(name, text)
    store.reseal_rendered()
    return verdict


def render(store: Store) -> tuple[Verdict, Mapping[str, str]]:
    """Return the verdict of a run folder and the text of each form of its report, by file name.

    A folder whose files do not hold what the report needs raises RunError (exit code 3).
    """
    from reports.model import RunError
    from reports.render.content import gather
    from reports.render.document import document
    from reports.render.html import html
    from reports.render.junit import junit
    from reports.render.markdown import markdown
    from reports.rows import pretty

    try:
        report = gather(store)
        return report.verdict, {
            "report.json": pretty(document(report)),
            "report.md": markdown(report),
            "junit.xml": junit(report),
            "report.html": html(report),
        }
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ArithmeticError) as error:
        text = f"{store.path}: a file of this run does not hold what a report needs: {error!r}"
        raise RunError(f"{text}; `gonogo verify` names edited files", exit_code=3) from error
