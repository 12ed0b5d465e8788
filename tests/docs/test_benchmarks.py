"""What the docs say was measured is what is kept of the measurements."""

from __future__ import annotations

from benchmarks import report


def test_the_page_shows_what_was_measured() -> None:
    page = report.PAGE.read_text()
    assert report.BEGIN in page and report.END in page
    assert page == report.written(page), "run: cd tests && python -m benchmarks.report"


def test_the_plot_shows_what_was_measured() -> None:
    assert report.PLOT.read_text() == report.plot()
    assert report.PLOT.name in report.PAGE.read_text()
