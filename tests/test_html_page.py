"""Reports as HTML: links are links, nothing of outside becomes one that runs, and tables scroll alone on a phone."""

import pytest

from ser_tasks.html_page import html_page, markdown_text
from ser_tasks.monitoring.run_report import worst_calls_table

CALL = {"call_id": "a[b](x)*c", "key": "2026-11-18/CUST_~ (1).opus", "call_date": "2026-11-18", "queue": "billing"}
CALL |= {"anger_score": 0.5, "moment_s": 3.0}


@pytest.mark.parametrize("store", ["/data/calls", "s3://bucket/calls"])
def test_the_worst_calls_link_to_the_recordings_of_a_folder_and_of_s3(store):
    page = html_page("Night", worst_calls_table([CALL], store), {})
    root = f"file://{store}" if store.startswith("/") else store
    assert f'<a href="{root}/2026-11-18/CUST_~%20%281%29.opus">a[b](x)*c</a>' in page
    assert "](" not in page.replace("a[b](x)*c", "")


def test_links_that_run_or_hold_data_stay_text():
    for address in ("javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "java&#115;cript:alert(1)"):
        assert "href=" not in html_page("t", f"[here](<{address}>)", {}), address
    for address in ("https://example.org/a:b", "other.html", "#part", "reports/a:b.html", "mailto:a@example.org"):
        assert f'href="{address}"' in html_page("t", f"[here](<{address}>)", {}), address
    assert "href=" not in html_page("t", markdown_text("[x](https://example.org)"), {})


def test_a_page_fits_a_phone_and_its_tables_scroll_alone():
    page = html_page("t", "| a | b |\n|---|---|\n| 1 | 2 |", {})
    assert "<meta name='viewport' content='width=device-width, initial-scale=1'>" in page
    assert page.count('<div class="wide"') == page.count("</table></div>") == 1
