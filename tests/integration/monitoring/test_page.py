from __future__ import annotations

from tests.unit.monitoring.test_rows import LABELS, VERDICT
from tinymlops.drift import Rules
from tinymlops.monitoring.page import drift_page
from tinymlops.monitoring.rows import rows_of_histograms


def test_the_page_says_first_where_its_rows_come_from_and_escapes_every_name() -> None:
    page = drift_page(VERDICT, (VERDICT,), rows_of_histograms(VERDICT, LABELS, seed=7), Rules()).decode()

    body = page[page.index("<body>") :]
    assert body.index("resampled out of the noisy histograms") < body.index("<script>")
    assert "it &lt;moved&gt;" in body
    assert "it <moved>" not in body
    assert "default-src 'none'" in page[: page.index("<body>")]
    assert "cdn.plot.ly" not in page
